"""The real detector and landmarker, on a portrait and on real clips."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest
import skimage.data
from matplotlib import cbook

from affwild_omg.faces import alignment, people, recognition
from affwild_omg.faces.live import LiveTracker
from affwild_omg.faces.tracking import (
    face_in_crop,
    faces_of_video,
    track_faces,
)
from affwild_omg.faces.video import Video
from affwild_omg.faces.views import ANOTHER, View
from affwild_omg.synthetic.portrait import load_portraits

# Seen by eye in skimage.data.astronaut().
LEFT_PUPIL, RIGHT_PUPIL, NOSE = (203, 101), (247, 104), (223, 127)
LEFT_CORNER, RIGHT_CORNER = (203, 140), (244, 141)


@pytest.fixture(scope="module")
def portrait():
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def empty_scene():
    """A cup of coffee, of the portrait's size."""
    return cv2.resize(skimage.data.coffee(), (512, 512))


def holds(box, point):
    x, y, width, height = box[:4]
    return x < point[0] < x + width and y < point[1] < y + height


def test_detector_finds_the_face_of_a_portrait_in_a_batch(
    detector, portrait, empty_scene
):
    black = np.zeros_like(portrait)
    (alone,) = detector([portrait])
    assert alone.shape == (1, 5) and alone.dtype == np.float32
    for point in (LEFT_PUPIL, RIGHT_PUPIL, NOSE):
        assert holds(alone[0], point)
    assert 60 < alone[0, 2] < 130 and 80 < alone[0, 3] < 160
    assert 0.9 < alone[0, 4] <= 1
    mixed = detector([empty_scene, portrait, black, portrait])
    assert [boxes.shape for boxes in mixed] == [(0, 5), (1, 5)] * 2
    np.testing.assert_allclose(mixed[1], alone, atol=0.1)
    np.testing.assert_allclose(mixed[3], alone, atol=0.1)
    none = detector([black, empty_scene])
    assert [boxes.shape for boxes in none] == [(0, 5), (0, 5)]
    assert detector([]) == []


def test_two_faces_the_surest_first(detector, portrait):
    half = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    wide = np.zeros((512, 768, 3), np.uint8)
    wide[:, :512] = portrait
    wide[:256, 512:] = half
    # Mirrored, the frame's faces have other confidences.
    for boxes, sign in zip(
        detector([wide, wide[:, ::-1]]), (1, -1), strict=True
    ):
        assert len(boxes) == 2
        assert boxes[0, 4] >= boxes[1, 4]
        middles = boxes[:, 0] + boxes[:, 2] / 2
        places = sorted(middles if sign > 0 else 767 - middles)
        assert abs(places[0] - NOSE[0]) < 20
        assert abs(places[1] - 512 - NOSE[0] / 2) < 20


def test_large_frames_give_the_same_boxes_larger(detector, portrait):
    (small,) = detector([portrait])
    large = cv2.resize(portrait, None, fx=3, fy=3)
    (boxes,) = detector([large])
    np.testing.assert_allclose(
        boxes[0, :4] / 3, small[0, :4], atol=0.04 * small[0, 3]
    )


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 64, 64, 3), np.float32),
        np.zeros((2, 64, 64), np.uint8),
        [np.zeros((64, width, 3), np.uint8) for width in (64, 63)],
    ],
    ids=["floats", "grey", "two sizes"],
)
def test_detector_refuses_other_frames(detector, frames):
    with pytest.raises(ValueError, match="must be uint8 .* of one size"):
        detector(list(frames))


def test_landmarker_finds_the_features_of_a_portrait(landmarker, portrait):
    points = landmarker(portrait, (175, 76, 91, 91))
    assert points.shape == (68, 2) and points.dtype == np.float32
    seen = [LEFT_PUPIL, RIGHT_PUPIL, NOSE, LEFT_CORNER, RIGHT_CORNER]
    distances = np.linalg.norm(alignment.anchors(points) - seen, axis=1)
    assert distances.max() < 5


def test_landmarks_are_dlibs_own_to_its_whole_pixels(landmarker, portrait):
    import dlib
    import face_recognition_models as models

    box = dlib.get_frontal_face_detector()(portrait)[0]
    predictor = dlib.shape_predictor(models.pose_predictor_model_location())
    shape = predictor(portrait, box)
    expected = np.array([(p.x, p.y) for p in shape.parts()])
    points = landmarker(
        portrait, (box.left(), box.top(), box.width(), box.height())
    )
    distances = np.linalg.norm(points - expected, axis=1)
    assert np.median(distances) < 1
    assert abs((points - expected).mean(axis=0)).max() < 0.5


def test_landmarks_follow_shift_and_scale(landmarker, portrait):
    box = (175, 76, 91, 91)
    points = landmarker(portrait, box)
    shifted = np.roll(portrait, (9, 17), axis=(0, 1))
    np.testing.assert_allclose(
        landmarker(shifted, (192, 85, 91, 91)), points + (17, 9), atol=0.01
    )
    tripled = cv2.resize(portrait, None, fx=3, fy=3)
    large = landmarker(tripled, (525, 228, 273, 273))
    # Pixel centres: 3 (x + 1/2) - 1/2.
    distances = np.linalg.norm((large - 1) / 3 - points, axis=1)
    assert np.median(distances) < 0.7


@pytest.mark.parametrize("box", [(1, 2, 30, 0), (np.nan, 2, 30, 30)])
def test_landmarker_refuses_an_empty_box(landmarker, portrait, box):
    with pytest.raises(ValueError, match="box"):
        landmarker(portrait, box)


def first_faces(path, count, detector, landmarker):
    with Video(path) as video:
        faces = faces_of_video(video, detector=detector, landmarker=landmarker)
        return [face for _, face in itertools.islice(faces, count)]


@pytest.mark.parametrize(
    ("name", "eyes"),
    [
        # Between the eyes in the first frame, seen by eye.
        ("cap13_edit2.mp4", (206, 160)),
        ("single_face.mp4", (295, 170)),
        ("asl_yes.mkv", (307, 115)),
    ],
)
def test_real_clips_are_found_in_every_frame(
    clip, detector, landmarker, name, eyes
):
    path = clip(name)
    faces = first_faces(path, 40, detector, landmarker)
    assert len(faces) == 40
    assert all(face.found for face in faces)
    assert holds(faces[0].box, eyes)
    assert min(face.confidence for face in faces) > 0.7
    frames = [frame for _, frame in itertools.islice(Video(path), 40)]
    for number in (11, 39):
        # The same face by detection in this very frame.
        face = faces[number]
        (boxes,) = detector([frames[number]])
        points = landmarker(frames[number], boxes[0, :4])
        _, expected = alignment.align(frames[number], points)
        distances = np.linalg.norm(face.landmarks - expected, axis=1)
        assert np.median(distances) < 1.0
        # Upright and whole: brows, jaw and chin inside the crop.
        assert face.landmarks.min() > 2 and face.landmarks.max() < 94


def test_real_scene_cut_and_gap(detector, landmarker, portrait, empty_scene):
    moved = np.roll(portrait, 200, axis=1)
    frames = [portrait] * 5 + [moved] * 5 + [empty_scene] * 5 + [portrait] * 3
    faces = list(track_faces(frames, detector=detector, landmarker=landmarker))
    assert [f.found for f in faces] == [True] * 10 + [False] * 5 + [True] * 3
    for face in faces[:5] + faces[15:]:
        assert holds(face.box, NOSE)
    for face in faces[5:10]:
        assert holds(face.box, (NOSE[0] + 200, NOSE[1]))


@pytest.fixture(scope="module")
def other_portrait():
    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return cv2.resize(picture[:512, :512], (512, 512))


def test_people_are_told_apart(detector, landmarker, portrait, other_portrait):
    def crop(picture):
        (face,) = track_faces(
            [picture], detector=detector, landmarker=landmarker
        )
        return face.crop

    one, other = crop(portrait), crop(other_portrait)
    dark = cv2.convertScaleAbs(cv2.GaussianBlur(one, (0, 0), 1), alpha=0.6)
    descriptors = [
        recognition.describe(x) for x in (one, dark, one[:, ::-1].copy(), other)
    ]
    distances = [np.linalg.norm(descriptors[0] - x) for x in descriptors[1:]]
    assert max(distances[:2]) < 0.75 * recognition.MAX_DISTANCE
    assert distances[2] > 1.1 * recognition.MAX_DISTANCE


def test_chip_has_the_eyes_where_dlibs_own_has_them(landmarker, portrait):
    import dlib

    points = landmarker(portrait, (175, 76, 91, 91))
    shape = dlib.full_object_detection(
        dlib.rectangle(175, 76, 265, 166),
        [dlib.point(int(x), int(y)) for x, y in np.round(points)],
    )
    expected = dlib.get_face_chip(portrait, shape, size=150, padding=0.25)
    crop, _ = alignment.align(portrait, points)
    chip = cv2.warpAffine(crop, recognition.TO_CHIP, (150, 150))
    # Eyes and mouth coincide, up to what 5 anchors and 68 landmarks differ by.
    shift, _ = cv2.phaseCorrelate(
        *(
            cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[20:130, 20:130].astype(float)
            for x in (chip, expected)
        )
    )
    assert np.hypot(*shift) < 6


def test_a_clip_shows_one_of_two_people(
    detector, landmarker, portrait, other_portrait, empty_scene
):
    """She is hidden for a while beside him, and a cut shows him alone."""
    shape = {"interpolation": cv2.INTER_AREA}
    beside = np.zeros((512, 256, 3), np.uint8)
    beside[:160, :160] = cv2.resize(other_portrait, (160, 160), **shape)
    both = np.hstack([portrait, beside])
    hidden = np.hstack([empty_scene, beside])
    mirrored = both[:, ::-1].copy()
    alone = np.hstack([empty_scene, beside])
    alone[250:506, 250:506] = cv2.resize(other_portrait, (256, 256), **shape)
    alone[:, 512:] = 0
    shots = [both] * 9 + [hidden] * 4 + [mirrored] * 4 + [alone] * 2
    faces = list(
        track_faces(
            shots, detector=detector, landmarker=landmarker, detect_every=3
        )
    )
    here = [""] * 9 + [ANOTHER] * 4 + [""] * 4 + [ANOTHER] * 2
    assert [face.reason for face in faces] == here
    for face in faces[:9]:
        assert holds(face.box, NOSE)
    for face in faces[13:17]:
        assert holds(face.box, (767 - NOSE[0], NOSE[1]))


@pytest.mark.parametrize("offset", [0, 12, 24, 36])
@pytest.mark.parametrize("second", ["asl_yes.mkv", "cap13_edit2.mp4"])
def test_a_cut_to_another_face_at_the_same_place(
    clip, detector, landmarker, second, offset
):
    """As between speakers who are filmed alike; each is shown shortly."""
    first, count = "asl_yes.mkv", offset + 12
    one, other = (
        [
            dataclasses.replace(face, box=(0.0, 0.0, side, side))
            for face in first_faces(clip(name), count, detector, landmarker)
        ][offset:]
        for name, side in ((first, 90.0), (second, 80.0))
    )
    views = [View("", {0: face}) for face in one]
    views += [View("", {1: face}) for face in other]
    shown = people.main_faces(views, recognition.describe, len(views))
    same = second == first
    assert [face.found for face in shown] == [True] * 12 + [same] * 12


def test_one_of_two_people_is_followed(detector, landmarker, portrait):
    """They stand side by side, and have changed places in one of nine."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        data = np.frombuffer(file.read(), np.uint8)
    hopper = cv2.cvtColor(cv2.imdecode(data, 1), cv2.COLOR_BGR2RGB)
    two = [portrait, cv2.resize(hopper[:512], (512, 512))]
    usual, changed = np.hstack(two), np.hstack(two[::-1])
    frames = [usual] * 4 + [changed] + [usual] * 4
    faces = {
        side: list(
            track_faces(
                frames,
                detector=detector,
                landmarker=landmarker,
                detect_every=1,
                side=side,
            )
        )
        for side in ("left", "right")
    }
    for side in faces:
        where = [face.box[0] > 512 - 56 for face in faces[side]]
        right = side == "right"
        assert where == [right] * 4 + [not right] + [right] * 4
        assert all(face.found for face in faces[side])


@pytest.mark.parametrize("order", [1, -1])
def test_two_people_who_cross_keep_their_names(detector, landmarker, order):
    """One passes behind the other, on paths that are known."""
    width, height = 640, 360
    scene = cv2.resize(skimage.data.coffee(), (width, height))
    people = load_portraits()[::order]

    def draw(frame, person, x):
        low, high = person.landmarks.min(axis=0), person.landmarks.max(axis=0)
        scale = 90 / (high[1] - low[1])
        shift = (x, 150) - scale * (low + high) / 2
        matrix = np.column_stack([scale * np.eye(2), shift])
        picture, cover = (
            cv2.warpAffine(layer, matrix, (width, height))
            for layer in (person.image, person.cover[..., :1])
        )
        return np.uint8(frame + (picture - 1.0 * frame) * cover[..., None])

    tracker = LiveTracker(detector=detector, landmarker=landmarker, faces=2)
    paths, found = [], []
    for x in range(110, width - 110, 10):
        paths.append((x, width - x))
        frame = draw(draw(scene, people[0], x), people[1], width - x)
        faces = tracker.step(frame)
        found.append({n: f.box[0] + f.box[2] / 2 for n, f in faces.items()})
    behind, front = sorted(found[0], key=found[0].get)
    assert set(found[-1]) == {behind, front}
    for (x, other_x), seen in zip(paths, found, strict=True):
        assert abs(seen[front] - other_x) < 5
        if abs(x - other_x) > 100:  # all of the face is seen, or none
            assert abs(seen.pop(behind, x) - x) < 5
            assert len(seen) == 1


# Eyes, nose and corners of the mouth in Aff-Wild2's crops of 112 pixels.
IN_READY_CROPS = np.array(
    [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]]
)


@pytest.mark.parametrize("name", ["portrait", "single_face.mp4"])
def test_a_ready_crop_gives_the_face_of_its_frame(
    detector, landmarker, portrait, clip, name
):
    if name == "portrait":
        frames = [portrait]
    else:
        with Video(clip(name)) as video:
            frames = [frame for _, frame in itertools.islice(video, 9)]
    found = track_faces(frames, detector=detector, landmarker=landmarker)
    for frame, face in zip(frames, found, strict=True):
        points = landmarker(frame, face.box)
        matrix = alignment.estimate_similarity(
            alignment.anchors(points), IN_READY_CROPS
        )
        ready = alignment.warp(frame, matrix, 112)
        seen = face_in_crop(ready, landmarker)
        assert seen.found and seen.confidence == 1
        # Those of brows, eyes, nose and mouth: the jaw's are less sure.
        apart = np.abs(seen.landmarks - face.landmarks)[17:]
        assert apart.mean() < 0.5
        inner = slice(24, 72)
        grey = np.abs(
            seen.crop[inner, inner].astype(int) - face.crop[inner, inner]
        )
        assert grey.mean() < 6


# Width of a crossing face's landmarks, and where the noses go, in pixels.
CROSSING, HEIGHT, SIDE = 56, 90, (90, 470)


def crossing(front, frames=80):
    """Draws two people who change sides; one passes before the other.

    Returns:
        The frames, and where the two noses are from left to right, [2, frames].
    """
    paths = np.array([np.linspace(*x, frames) for x in (SIDE, SIDE[::-1])])
    people = []
    for person in load_portraits():
        scale = CROSSING / np.ptp(person.landmarks[:, 0])
        image, cover = (
            cv2.resize(x, None, fx=scale, fy=scale, interpolation=3)
            for x in (person.image, person.cover[..., 0].copy())
        )
        people.append((image, cover, person.landmarks[30] * scale))
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(
        rng.integers(60, 200, (200, 560, 3), np.uint8), (0, 0), 6
    )
    drawn = []
    for number in range(frames):
        frame = scene.copy()
        for one in (1 - front, front):
            image, cover, nose = people[one]
            move = np.float32(
                [
                    [1, 0, round(paths[one, number] - nose[0])],
                    [0, 1, round(HEIGHT - nose[1])],
                ]
            )
            share, over = (
                cv2.warpAffine(x, move, (560, 200)) for x in (cover, image)
            )
            share = share[..., np.newaxis]
            frame = (share * over + (1 - share) * frame).astype(np.uint8)
        drawn.append(frame)
    return drawn, paths


@pytest.mark.parametrize("front", [0, 1])
def test_two_people_who_cross_do_not_swap(detector, landmarker, front):
    frames, paths = crossing(front)
    views = list(
        track_faces(frames, detector=detector, landmarker=landmarker, most=2)
    )
    # Who is hidden for a while is the smaller of the two.
    order = [front, 1 - front]
    for number, view in enumerate(views):
        for track, face in view.faces.items():
            middle = face.box[0] + face.box[2] / 2
            assert abs(middle - paths[order[track - 1], number]) < 5
    seen = [[track in view.faces for view in views] for track in (1, 2)]
    assert all(seen[0])
    gone = np.flatnonzero(np.logical_not(seen[1]))
    assert 5 < len(gone) < 25  # under a second, at the crossing
    assert 30 < gone.min() and gone.max() < 50
