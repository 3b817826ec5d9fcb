import cv2
import numpy as np
import pytest

from affwild_omg.faces import alignment
from affwild_omg.faces.alignment import TEMPLATE_ANCHORS
from affwild_omg.faces.tracking import MAX_RESIDUAL


def template_landmarks(seed=0):
    """Makes 68 points in a crop whose five anchors are the template's."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(15, 80, (68, 2))
    for rows, anchor in ((slice(36, 42), 0), (slice(42, 48), 1)):
        ring = rng.normal(0, 3, (6, 2))
        points[rows] = TEMPLATE_ANCHORS[anchor] + ring - ring.mean(axis=0)
    points[[30, 48, 54]] = TEMPLATE_ANCHORS[2:]
    return points


def moved(points, scale, degrees, shift):
    """Turns, scales and shifts points as complex numbers."""
    z = points[:, 0] + 1j * points[:, 1]
    z = scale * np.exp(1j * np.deg2rad(degrees)) * z + complex(*shift)
    return np.stack([z.real, z.imag], axis=-1)


def test_template_is_symmetric_and_inside_the_crop():
    mirrored = TEMPLATE_ANCHORS[[1, 0, 2, 4, 3]] * (-1, 1) + (95, 0)
    np.testing.assert_allclose(mirrored, TEMPLATE_ANCHORS)
    assert TEMPLATE_ANCHORS.min() > 0
    assert TEMPLATE_ANCHORS.max() < alignment.CROP_SIZE - 1


def test_anchors_by_hand():
    landmarks = np.stack([np.arange(68.0), 100 + np.arange(68.0) ** 2], -1)
    expected = [
        [38.5, 100 + sum(i * i for i in range(36, 42)) / 6],
        [44.5, 100 + sum(i * i for i in range(42, 48)) / 6],
        [30, 1000],
        [48, 2404],
        [54, 3016],
    ]
    np.testing.assert_allclose(alignment.anchors(landmarks), expected)
    batch = np.stack([landmarks, landmarks + 1])
    assert alignment.anchors(batch).shape == (2, 5, 2)
    np.testing.assert_allclose(alignment.anchors(batch)[1], np.add(expected, 1))


def test_similarity_is_the_least_squares_solution():
    rng = np.random.default_rng(1)
    for _ in range(20):
        source = rng.normal(0, 30, (5, 2)) + rng.normal(0, 200, 2)
        target = rng.normal(0, 30, (5, 2))
        # u = a x - b y + s, v = b x + a y + t as ten linear equations.
        x, y = source.T
        one, zero = np.ones(5), np.zeros(5)
        rows = np.concatenate(
            [
                np.stack([x, -y, one, zero], axis=1),
                np.stack([y, x, zero, one], axis=1),
            ]
        )
        (a, b, s, t), *_ = np.linalg.lstsq(
            rows, np.concatenate(target.T), rcond=None
        )
        np.testing.assert_allclose(
            alignment.estimate_similarity(source, target),
            [[a, -b, s], [b, a, t]],
            rtol=1e-9,
            atol=1e-9,
        )


def test_similarity_never_reflects():
    mirrored = TEMPLATE_ANCHORS * (-1, 1)
    matrix = alignment.estimate_similarity(mirrored, TEMPLATE_ANCHORS)
    linear = matrix[:, :2]
    assert np.linalg.det(linear) > 0
    # A scaled rotation has orthogonal columns of one length.
    np.testing.assert_allclose(
        linear.T @ linear, np.eye(2) * np.linalg.det(linear), atol=1e-9
    )


@pytest.mark.parametrize(("scale", "degrees"), [(0.3, -75), (4.0, 160)])
def test_known_pose_is_undone(scale, degrees):
    points = template_landmarks()
    in_frame = moved(points, scale, degrees, (310.25, 240.5))
    frame = np.zeros((480, 640, 3), np.uint8)
    crop, in_crop = alignment.align(frame, in_frame)
    assert crop.shape == (96, 96, 3) and crop.dtype == np.uint8
    assert in_crop.shape == (68, 2) and in_crop.dtype == np.float32
    np.testing.assert_allclose(in_crop, points, atol=1e-3)
    assert alignment.residual(in_crop) < 1e-3


@pytest.mark.parametrize(("scale", "degrees"), [(0.6, 0), (1.7, -35), (4, 0)])
def test_pixels_land_where_the_landmarks_say(scale, degrees):
    points = template_landmarks()
    in_frame = moved(points, scale, degrees, (0, 0))
    in_frame += (450, 400) - in_frame.mean(axis=0)
    for row in (30, 36, 48, 54):
        x, y = in_frame[row]
        across, down = np.meshgrid(np.arange(900), np.arange(800))
        sigma = 2.5 * max(1.0, scale)
        dot = np.exp(-((across - x) ** 2 + (down - y) ** 2) / 2 / sigma**2)
        frame = np.repeat((250 * dot[..., None]).astype(np.uint8), 3, -1)
        crop, in_crop = alignment.align(frame, in_frame)
        weight = crop[..., 0].astype(float)
        v, u = np.mgrid[:96, :96]
        centroid = np.array([(u * weight).sum(), (v * weight).sum()])
        centroid /= weight.sum()
        np.testing.assert_allclose(centroid, points[row], atol=0.1)
        np.testing.assert_allclose(in_crop[row], points[row], atol=1e-3)


def test_fine_checkerboard_turns_grey():
    board = (np.indices((600, 700)).sum(axis=0) % 2 * 255).astype(np.uint8)
    frame = np.repeat(board[..., None], 3, axis=-1)
    in_frame = moved(template_landmarks(), 4.63, 7, (120, 60))
    crop, _ = alignment.align(frame, in_frame)
    assert abs(float(crop.mean()) - 127.5) < 2
    assert crop.std() < 8
    # The test bites: a bilinear sample alone makes patterns.
    matrix = alignment.estimate_similarity(
        alignment.anchors(in_frame), TEMPLATE_ANCHORS
    )
    assert cv2.warpAffine(frame, matrix, (96, 96)).std() > 25


@pytest.mark.parametrize("scale", [0.5, 1.07, 1.3, 1.9, 2.3])
def test_shrinking_does_not_shift(scale):
    # On a ramp, every pixel tells where it came from; a rising and a falling
    # one together cancel the bias of rounding halves up.
    ramp = np.tile(np.arange(256, dtype=np.uint8), (300, 1))
    in_frame = moved(template_landmarks(), scale, 0, (20.3, 30))
    rising, falling = (
        alignment.align(np.repeat(r[..., None], 3, -1), in_frame)[0][..., 1]
        for r in (ramp, 255 - ramp)
    )
    source = (rising.astype(float) - falling + 255) / 2
    difference = source - (scale * np.arange(96) + 20.3)
    assert np.abs(difference).max() < 1.01
    assert abs(difference.mean()) < 0.1


def test_beyond_the_frame_is_black():
    frame = np.full((100, 100, 3), 200, np.uint8)
    in_frame = moved(template_landmarks(), 1, 0, (-48, 0))
    crop, _ = alignment.align(frame, in_frame)
    assert (crop[:, :47] == 0).all()
    assert (crop[:, 49:] == 200).all()


@pytest.mark.parametrize(
    "landmarks",
    [np.full((68, 2), 1234.5), np.full((68, 2), np.nan), np.zeros((5, 2))],
)
def test_degenerate_landmarks_are_refused(landmarks):
    frame = np.zeros((50, 50, 3), np.uint8)
    with pytest.raises(ValueError, match="source|points|landmarks"):
        alignment.align(frame, landmarks)


def landmarks_of(points):
    """Makes 68 landmarks with five anchors [5, 2]."""
    landmarks = np.tile(points.mean(axis=0), (68, 1))
    landmarks[36:42], landmarks[42:48] = points[:2]
    landmarks[[30, 48, 54]] = points[2:]
    return landmarks


def photographed(yaw, pitch, nose=27, distance=500):
    """Projects five anchors of a head in mm through a pinhole."""
    head = np.array(
        [[-32, 0, 0], [32, 0, 0], [0, 33, nose], [-25, 67, 3], [25, 67, 3]]
    )
    turned, _ = cv2.Rodrigues(np.deg2rad([0.0, yaw, 0]))
    nodded, _ = cv2.Rodrigues(np.deg2rad([pitch, 0.0, 0]))
    x, y, z = nodded @ turned @ head.T
    return np.stack([x, y], axis=-1) / (1 - z / distance)[:, None]


@pytest.mark.parametrize("yaw", [0, 30, -45, 60, -70])
def test_a_turned_head_keeps_the_shape_of_a_face(yaw):
    for pitch in (-20, 0, 20):
        for nose in (20, 27, 34):  # from flat to long
            points = photographed(yaw, pitch, nose)
            landmarks = landmarks_of(moved(points, 0.4, 25, (300, 200)))
            assert alignment.turned_residual(landmarks) < MAX_RESIDUAL / 1.6
    aligned = alignment.align(np.zeros((9, 9, 3), np.uint8), landmarks)[1]
    # The frontal template alone would not do.
    assert alignment.residual(aligned) > MAX_RESIDUAL or abs(yaw) < 50


@pytest.mark.parametrize(
    ("yaw", "pitch"), [(0, 0), (40, 0), (-60, 10), (20, -20)]
)
def test_how_far_a_head_is_turned(yaw, pitch):
    """Positive to the right of the picture, within a step and a half."""
    points = photographed(yaw, pitch)
    landmarks = landmarks_of(moved(points, 0.4, 25, (300, 200)))
    assert alignment.yaw(landmarks) == pytest.approx(yaw, abs=7.5)


def test_what_no_head_can_look_like_is_told():
    face = TEMPLATE_ANCHORS.astype(float)
    upside_down = face[[3, 4, 2, 0, 1]]
    eye_for_mouth = face[[0, 3, 2, 1, 4]]
    for points in (upside_down, eye_for_mouth):
        landmarks = landmarks_of(points)
        assert alignment.turned_residual(landmarks) > 1.5 * MAX_RESIDUAL
    assert alignment.turned_residual(np.ones((68, 2))) == np.inf


def test_turned_residual_is_in_pixels_of_the_crop():
    # A nose 5 pixels off, the other anchors in place: least squares leaves
    # less, but turned heads cannot explain it across the face's axis.
    off = TEMPLATE_ANCHORS.astype(float)
    off[2] += (0, 9)
    alone = 9 * np.sqrt(4 / 5 / 5)  # the shift is free: 4/5 of the square
    found = alignment.turned_residual(landmarks_of(off))
    assert 0.4 * alone < found < alone
