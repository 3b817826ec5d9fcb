"""Labels stay true: image, landmarks, mask and labels change together."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest

from affwild_omg.data.windows import pad
from affwild_omg.paper.windows import AUGMENTATIONS


@pytest.fixture(scope="module")
def augmentation(tf):
    from affwild_omg.data import augmentation

    return augmentation


@pytest.fixture(scope="module")
def nothing(tf, augmentation):
    """A draw that changes nothing."""
    return augmentation.Draw(
        mirror=tf.constant(False),
        matrix=tf.constant([[1.0, 0, 0], [0, 1, 0]]),
        brightness=tf.constant(0.0),
        contrast=tf.constant(1.0),
        quality=tf.constant(100),
        step=tf.constant(1),
    )


def blobs(points):
    """Draws a spot on black at each point, which is its centre of mass."""
    y, x = np.mgrid[:96, :96]
    images = [
        sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in frame)
        for frame in points
    ]
    return (
        np.round(200 * np.array(images))
        .astype(np.uint8)[..., None]
        .repeat(3, -1)
    )


def window(frames, landmarks, face=None, skip=0):
    """Makes a window of eight frames, padded."""
    length = len(frames)
    face = np.ones(length, bool) if face is None else np.array(face)
    return pad(
        {
            "frames": frames,
            "landmarks": np.asarray(landmarks, np.float32),
            "mask": face,
            "labels": np.arange(2 * length, dtype=np.float32).reshape(-1, 2),
            "time_us": 40_000 * np.arange(length, dtype=np.int64),
        },
        8,
    ) | {"length": length, "skip": skip, "key": b"v/u", "start": 40}


def faces(length, seed=0):
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (length, 96, 96, 3), np.uint8)
    return window(frames, random.uniform(0, 96, (length, 68, 2)))


def equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], name)


def test_nothing_is_changed_by_nothing(augmentation, nothing):
    given = faces(6)
    kinds = [kind for kind in AUGMENTATIONS if kind != "jpeg"]
    equal(augmentation.apply(given, nothing, kinds), given)
    equal(augmentation.apply(given, nothing, []), given)


def test_the_mirror_of_a_face_is_a_face(augmentation, nothing, tf):
    """dlib finds in the mirrored picture what the mirrored landmarks say."""
    import skimage.data

    from affwild_omg.faces.landmarks import Landmarker

    picture = skimage.data.astronaut()[80:176, 176:272]
    assert picture.shape == (96, 96, 3)
    find = Landmarker()
    box = (14.0, 14.0, 68.0, 68.0)
    points = find(picture, box)
    drawn = nothing._replace(mirror=tf.constant(True))
    given = window(picture[np.newaxis], points[np.newaxis])
    found = augmentation.apply(given, drawn, ["mirror"])
    np.testing.assert_array_equal(found["frames"][0], cv2.flip(picture, 1))
    x, y, size, _ = box
    expected = find(cv2.flip(picture, 1), (95 - x - size, y, size, size))
    distance = np.linalg.norm(found["landmarks"][0] - expected, axis=-1)
    assert distance.mean() < 1.5 and distance.max() < 5
    assert sorted(augmentation.MIRRORED) == list(range(68))
    twice = augmentation.apply(found, drawn, ["mirror"])
    np.testing.assert_allclose(
        twice["landmarks"], given["landmarks"], atol=1e-4
    )


@pytest.mark.parametrize("seed", range(4))
def test_landmarks_go_where_their_pixels_go(augmentation, seed):
    """A spot of light is where its point is, after any draw."""
    for point in ((40.0, 30.0), (60.0, 55.0)):
        given = window(
            blobs([[point]] * 2), np.tile(np.float32(point), (2, 68, 1))
        )
        found = augmentation.apply(
            given, augmentation.draw((seed, 0)), ["mirror", "place"]
        )
        image = found["frames"][1].numpy()[..., 0].astype(float)
        y, x = np.mgrid[:96, :96]
        centre = [(image * x).sum(), (image * y).sum()] / image.sum()
        np.testing.assert_allclose(found["landmarks"][1, 5], centre, atol=0.1)
        assert np.linalg.norm(centre - np.array(point)) > 0.5


def test_a_place_is_shift_scale_and_rotation_about_the_middle(augmentation):
    """Of 200 draws: within the bounds, and nearly up to them."""
    drawn = [augmentation.draw((seed, 7)).matrix.numpy() for seed in range(200)]
    middle = [m @ (47.5, 47.5, 1) - 47.5 for m in drawn]
    size = [np.sqrt(np.linalg.det(m[:, :2])) for m in drawn]
    angle = [np.degrees(np.arctan2(m[1, 0], m[0, 0])) for m in drawn]
    for values, bound in ((middle, 4), (np.array(size) - 1, 0.08), (angle, 8)):
        assert 0.9 * bound < np.max(values) < bound * 1.0001
        assert -0.9 * bound > np.min(values) > -bound * 1.0001
    for m in drawn:  # no shear
        np.testing.assert_allclose(m[:, 0] @ m[:, 1], 0, atol=1e-6)


def test_light_is_changed_about_the_mean_of_all_faces(
    augmentation, nothing, tf
):
    given = faces(5)
    given["mask"] = tf.constant([True, False, True, True, True] + 3 * [False])
    drawn = nothing._replace(
        brightness=tf.constant(30.0), contrast=tf.constant(0.8)
    )
    found = augmentation.apply(given, drawn, ["light"])
    before = given["frames"].numpy().astype(float)
    mean = before[[0, 2, 3, 4]].mean()
    expected = np.clip(0.8 * (before - mean) + mean + 30, 0, 255)
    expected[[1, 5, 6, 7]] = before[[1, 5, 6, 7]]
    np.testing.assert_allclose(found["frames"], expected, atol=0.51)


def test_jpeg_costs_what_it_costs_elsewhere(augmentation, nothing, tf):
    import skimage.data

    picture = skimage.data.astronaut()[80:176, 176:272]
    given = window(np.stack([picture] * 3), np.zeros((3, 68, 2)))
    errors = []
    for quality in (40, 95):
        drawn = nothing._replace(quality=tf.constant(quality))
        found = augmentation.apply(given, drawn, ["jpeg"])["frames"].numpy()
        file = io.BytesIO()
        PIL.Image.fromarray(picture).save(file, "JPEG", quality=quality)
        # Decoders round differently, but by less than is lost.
        theirs, ours = (
            np.abs(image - picture.astype(float)).mean()
            for image in (np.array(PIL.Image.open(file)), found[2])
        )
        assert 0.85 < ours / theirs < 1.15
        assert not found[3:].any()
        errors.append(ours)
    assert errors[0] > 2 * errors[1] > 0


@pytest.mark.parametrize(
    ("skip", "kept", "left"),
    [(2, [0, 2, 4, 6], 1), (3, [1, 3, 5], 1), (6, [0, 2, 4, 6], 3)],
)
def test_dropped_frames_take_labels_and_times_along(
    augmentation, nothing, tf, skip, kept, left
):
    """The first frame that counts stays, or none might."""
    face = [True, True, False, True, True, True, True]
    given = faces(7) | {"mask": pad({"mask": np.array(face)}, 8)["mask"]}
    given["skip"] = skip
    drawn = nothing._replace(step=tf.constant(2))
    found = augmentation.apply(given, drawn, ["rate"])
    count = len(kept)
    for name in ("frames", "landmarks", "time_us", "mask"):
        values = np.array(given[name])[kept]
        np.testing.assert_array_equal(found[name][:count], values, name)
        assert not np.any(found[name][count:])
    np.testing.assert_array_equal(
        found["labels"][:count], [[2 * i, 2 * i + 1] for i in kept]
    )
    assert (found["length"], found["skip"]) == (count, left)
    assert (found["key"], found["start"]) == (b"v/u", 40 + kept[0])


def test_one_draw_is_of_all_frames(augmentation):
    still = faces(1)["frames"][0].numpy()
    points = np.random.default_rng(1).uniform(0, 96, (68, 2))
    given = window(np.stack([still] * 8), np.stack([points] * 8))
    kinds = [kind for kind in AUGMENTATIONS if kind != "rate"]
    found = augmentation.apply(given, augmentation.draw((3, 1)), kinds)
    assert np.any(found["frames"][0] != still)
    for frame in range(1, 8):
        for name in ("frames", "landmarks"):
            np.testing.assert_array_equal(found[name][frame], found[name][0])


def test_a_frame_without_a_face_stays_as_it_is(augmentation):
    face = np.arange(6) % 3 != 1
    given = faces(6)
    given = given | {"mask": pad({"mask": face}, 8)["mask"]}
    kinds = [kind for kind in AUGMENTATIONS if kind != "rate"]
    found = augmentation.apply(given, augmentation.draw((5, 1)), kinds)
    for name in ("frames", "landmarks"):
        kept = [1, 4, 6, 7]
        np.testing.assert_array_equal(
            found[name].numpy()[kept], given[name].numpy()[kept]
        )
        for frame in (0, 2, 3, 5):
            assert np.any(found[name][frame] != given[name][frame])
    for name in ("mask", "labels", "time_us", "length", "skip"):
        np.testing.assert_array_equal(found[name], given[name])


def test_in_tf_data_as_eagerly(tf, augmentation):
    given = [
        faces(length, seed=length) | {"number": np.int64(number)}
        for number, length in enumerate((8, 5, 8, 3, 7))
    ]
    dataset = tf.data.Dataset.from_tensor_slices(
        {name: tf.stack([x[name] for x in given]) for name in given[0]}
    )
    assert len(augmentation.augment(dataset, ["light"], 0)) == 5
    drawn = []
    for kinds in (AUGMENTATIONS, ["mirror"], ["place"], []):
        found = list(augmentation.augment(dataset, kinds, 11))
        again = list(augmentation.augment(dataset, kinds, 11))
        for index, one in enumerate(found):
            draw = augmentation.draw((11, index))
            equal(one, augmentation.apply(given[index], draw, kinds))
            equal(one, again[index])
            drawn.append(draw.brightness.numpy())
    assert len(set(drawn)) == 5  # another for each window
    draw = augmentation.draw((12, 0))
    assert draw.brightness.numpy() not in drawn
    with pytest.raises(ValueError, match="colour"):
        augmentation.augment(dataset, ["colour"], 0)


def test_windows_of_records_stay_windows(augmentation, small_records):
    from affwild_omg.data import manifest, pipeline

    clips = manifest.read(small_records).clips("train")
    dataset = pipeline.windows(clips, sequence_length=4, tail="overlap")
    found = augmentation.augment(dataset, AUGMENTATIONS, 0)
    assert found.element_spec == dataset.element_spec
    assert len(found) == len(dataset)
    shown = [(one["key"], one["start"]) for one in found]
    assert shown == [(one["key"], one["start"]) for one in dataset]


def test_draws_of_halves_and_ranges(augmentation):
    drawn = [augmentation.draw((1, index)) for index in range(400)]
    mirror, steps = (
        [getattr(x, n).numpy() for x in drawn] for n in ("mirror", "step")
    )
    # Five standard deviations of 400 halves are 0.125.
    assert 0.375 < np.mean(mirror) < 0.625
    assert 0.375 < np.mean(np.array(steps) == 2) < 0.625
    assert set(steps) == {1, 2}
    quality = [int(x.quality) for x in drawn]
    assert 40 <= min(quality) < 44 and 92 < max(quality) <= 95
    for name, middle, bound in (("brightness", 0, 32), ("contrast", 1, 0.25)):
        values = np.array([getattr(x, name).numpy() for x in drawn]) - middle
        assert 0.95 * bound < np.abs(values).max() <= bound * 1.0001
        assert abs(values.mean()) < bound / 8
