"""MediaPipe's landmarks, beside dlib's and beside their own mirror image."""

import sys
from concurrent import futures

import cv2
import numpy as np
import pytest
import skimage.data

from affwild_omg.cli.errors import UserError
from affwild_omg.data.augmentation import MIRRORED
from affwild_omg.faces import alignment, mesh
from affwild_omg.faces.tracking import faces_of_video
from affwild_omg.faces.video import Video

FACE = 181.5, 63.75, 83.0, 107.25  # MTCNN, in skimage.data.astronaut()


@pytest.fixture(scope="module")
def find(tf):
    try:
        return mesh.MeshLandmarker()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def portrait():
    return skimage.data.astronaut()


def eyes_apart(points):
    return np.linalg.norm(points[36] - points[45])


def test_it_finds_nearly_what_dlib_finds(find, landmarker, portrait):
    points, others = find(portrait, FACE), landmarker(portrait, FACE)
    assert points.shape == (68, 2) and points.dtype == np.float32
    apart = np.linalg.norm(points - others, axis=-1) / eyes_apart(others)
    assert apart.mean() < 0.06
    assert apart[36:48].mean() < 0.03  # eyes
    assert apart.max() < 0.25  # the jaw, whose points are others


def test_a_mirrored_face_has_mirrored_landmarks(find, portrait):
    points = find(portrait, FACE)
    x, y, width, height = FACE
    mirrored = find(
        np.ascontiguousarray(portrait[:, ::-1]),
        (portrait.shape[1] - x - width, y, width, height),
    )
    mirrored = mirrored[list(MIRRORED)] * (-1, 1) + (portrait.shape[1] - 1, 0)
    apart = np.linalg.norm(points - mirrored, axis=-1) / eyes_apart(points)
    assert apart.mean() < 0.03


def test_its_points_count_from_the_centres_of_pixels(find, portrait):
    # Twice as large, pixel i becomes pixels 2i and 2i + 1.
    double = cv2.resize(portrait, None, fx=2, fy=2)
    twice = find(double, tuple(2 * x for x in FACE))
    expected = 2 * find(portrait, FACE) + 0.5
    assert np.abs(twice - expected).mean() < 0.5


@pytest.mark.parametrize("angle", [-35, -20, 20, 35])
def test_a_head_that_leans_has_the_same_landmarks(find, portrait, angle):
    x, y, width, height = FACE
    middle = x + width / 2, y + height / 2
    turn = cv2.getRotationMatrix2D(middle, angle, 1)
    leaning = cv2.warpAffine(portrait, turn, (512, 512))
    expected = alignment.transform(turn, find(portrait, FACE))
    apart = np.linalg.norm(find(leaning, FACE) - expected, axis=-1)
    assert apart.mean() / eyes_apart(expected) < 0.03


def test_two_threads_do_not_mix_their_faces(find, portrait):
    small = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    given = [
        (portrait, FACE),
        (small, tuple(x / 2 for x in FACE)),
    ]
    expected = [find(*x) for x in given]
    with futures.ThreadPoolExecutor(2) as pool:
        for index, points in enumerate(
            pool.map(lambda i: find(*given[i % 2]), range(100))
        ):
            np.testing.assert_array_equal(points, expected[index % 2])


def test_where_there_is_no_face_there_are_no_landmarks(find):
    scene = cv2.resize(skimage.data.coffee(), (900, 600))
    random = np.random.default_rng(0)
    for _ in range(20):
        x, y = random.uniform(0, 600), random.uniform(0, 300)
        assert np.isnan(find(scene, (x, y, 250, 250))).all()
    assert np.isnan(find(np.zeros((96, 96, 3), np.uint8), (9, 9, 70, 70))).all()


@pytest.mark.parametrize("box", [(0, 0, 9, 0), (0, np.nan, 9, 9)])
def test_a_box_without_height_is_refused(find, portrait, box):
    with pytest.raises(ValueError, match="box: finite"):
        find(portrait, box)


def test_it_carries_a_face_through_a_film(find, detector, landmarker, clip):
    films = [
        [
            face
            for _, face in faces_of_video(
                Video(clip("single_face.mp4")),
                detector=detector,
                landmarker=own,
            )
        ]
        for own in (find, landmarker)
    ]
    assert all(face.found for film in films for face in film)
    own, others = (np.array([x.landmarks for x in film]) for film in films)
    assert np.linalg.norm(own - others, axis=-1).mean() < 2  # crop pixels
    assert max(map(alignment.turned_residual, own)) < 3
    steps = [np.abs(np.diff(x, axis=0)).mean() for x in (own, others)]
    assert steps[0] < steps[1] / 2  # it trembles less


def test_a_model_that_is_missing_or_another_is_told(monkeypatch, tmp_path):
    file = tmp_path / "mediapipe/modules/face_landmark/face_landmark.tflite"
    file.parent.mkdir(parents=True)
    (tmp_path / "mediapipe/__init__.py").touch()
    monkeypatch.delitem(sys.modules, "mediapipe", raising=False)
    for path in ([], [str(tmp_path)], [str(tmp_path)]):
        monkeypatch.setattr(sys, "path", path)
        with pytest.raises(UserError, match="pip install --no-deps mediapipe"):
            mesh.model_file()
        file.write_bytes(b"of another version")
