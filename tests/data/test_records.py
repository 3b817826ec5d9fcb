"""Records hold what was written, and nothing is read but what is listed."""

import io
import json
import re
import uuid
import zlib

import numpy as np
import PIL.Image
import pytest
import skimage.data

from affwild_omg.cli.errors import UserError
from affwild_omg.paper.task import TARGETS
from affwild_omg.paper.treatment import Treatment
from tests.conftest import FPS, make_frames, write_records_folder

NAN = float("nan")


@pytest.fixture(scope="module")
def records(tf):
    from affwild_omg.data import records

    return records


@pytest.fixture(scope="module")
def manifest(tf):
    from affwild_omg.data import manifest

    return manifest


def read_records(tf, path):
    return [x.numpy() for x in tf.data.TFRecordDataset(str(path))]


@pytest.mark.parametrize("count", [1, 19, 20, 21, 47])
def test_round_trip(tf, records, tmp_path, count):
    """Chunks of 20 frames, eagerly and in tf.data, by TensorFlow's reader."""
    labels = np.random.default_rng(1).uniform(-1, 1, (count, 2))
    labels[count // 3] = NAN, 0.25
    frames = make_frames(count, 7, labels)
    path = tmp_path / "v" / "u.mp4.tfrecord"
    entry = records.write_clip(path, "v", "u.mp4", frames)
    serialised = read_records(tf, path)
    assert [len(x) for x in serialised] == [x for x, _ in entry["chunks"]]
    assert [zlib.crc32(x) for x in serialised] == [
        x for _, x in entry["chunks"]
    ]
    assert len(serialised) == -(-count // 20)
    dataset = tf.data.Dataset.from_tensors(serialised).map(records.parse)
    for parsed in (records.parse(tf.constant(serialised)), *dataset):
        rest = len(parsed["mask"]) - count
        assert 0 <= rest < 20 and (rest == 0 or count > 20)
        for i, frame in enumerate(frames):
            np.testing.assert_array_equal(
                records.decode(parsed["image"][i]), frame.image
            )
            np.testing.assert_array_equal(
                parsed["landmarks"][i], frame.landmarks
            )
            assert bool(parsed["mask"][i]) == frame.face
            assert int(parsed["time_us"][i]) == round(i / FPS * 1e6)
        np.testing.assert_allclose(parsed["labels"][:count], labels, rtol=1e-6)
        assert not np.any(parsed["mask"][count:])


def test_crops_may_be_kept_as_jpeg(tf, records, tmp_path):
    """What comes back is what another decoder makes of the file."""
    portrait = skimage.data.astronaut()[60:156, 180:276]
    frames = make_frames(21, 7)
    for frame, image in ((1, portrait), (2, 0 * portrait)):
        changed = vars(frames[frame]) | {"image": image}
        frames[frame] = records.Frame(**changed)
    path = tmp_path / "u.tfrecord"
    entry = records.write_clip(path, "v", "u", frames, "jpeg")
    serialised = read_records(tf, path)
    assert [zlib.crc32(x) for x in serialised] == [
        x for _, x in entry["chunks"]
    ]
    images = records.parse(tf.constant(serialised))["image"]
    inside = tf.data.Dataset.from_tensor_slices(images[:21]).map(records.decode)
    for frame, file, kept in zip(frames, images, inside, strict=False):
        picture = PIL.Image.open(io.BytesIO(file.numpy()))
        assert picture.format == "JPEG"
        np.testing.assert_array_equal(kept, np.asarray(picture))
        np.testing.assert_array_equal(kept, records.decode(file))
        np.testing.assert_array_equal(
            kept, records.as_kept(frame.image[np.newaxis], "jpeg")[0]
        )
    # Pillow's own file of that quality has the same tables.
    PIL.Image.fromarray(portrait).save(
        again := io.BytesIO(), "JPEG", quality=95
    )
    assert picture.quantization == PIL.Image.open(again).quantization
    error = np.abs(records.as_kept(portrait, "jpeg") - portrait.astype(int))
    assert 0 < error.mean() < 3
    # What is nothing stays nothing.
    assert not records.as_kept(0 * portrait, "jpeg").any()
    assert records.as_kept(portrait, "png") is portrait


def test_what_the_manifest_says_of_a_clip(records, tmp_path):
    # The third of five frames has no face.
    labels = [[0.5, NAN], [NAN, NAN], [0.25, NAN], [NAN, NAN], [NAN, NAN]]
    path = tmp_path / "u.tfrecord"
    entry = records.write_clip(path, "v", "u", make_frames(5, 7, labels))
    assert entry["labels"] == {
        "valence": {"frames": 2, "frames_with_face": 1, "mean": 0.375},
        "arousal": {"frames": 0, "frames_with_face": 0, "mean": None},
    }
    assert (entry["frames"], entry["frames_without_face"]) == (5, 1)
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry


def test_the_manifest_says_where_labels_vary(records, tmp_path):
    """In frames with a face alone, also if those are far from each other."""
    labels = np.full((50, 2), 0.5)
    labels[25] = 0.25  # without a face
    labels[49, 1] = 0.25
    path = tmp_path / "u.tfrecord"
    entry = records.write_clip(path, "v", "u", make_frames(50, 7, labels))
    assert "varies" not in entry["labels"]["valence"]
    assert entry["labels"]["arousal"]["varies"] is True
    assert json.loads(json.dumps(entry)) == entry


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"landmarks": np.zeros((2, 68, 2))}, r"landmarks must be \[68, 2\]"),
        ({"image": np.zeros((96, 95, 3))}, r"image must be \[96, 96, 3\]"),
        ({"time_s": 0.0}, "times must rise, but 0.0 s follows 0.04 s"),
        ({"time_s": 0.0400004}, "times must rise, but 0.0400004 s follows"),
    ],
)
def test_frames_that_break_the_schema_leave_no_file(
    records, tmp_path, change, message
):
    frames = make_frames(3, 0)
    frames[2] = records.Frame(**(vars(frames[2]) | change))
    with pytest.raises(ValueError, match=message):
        records.write_clip(tmp_path / "u.tfrecord", "v", "u", frames)
    with pytest.raises(ValueError, match="v/u has no frame"):
        records.write_clip(tmp_path / "u.tfrecord", "v", "u", [])
    assert not list(tmp_path.iterdir())


def test_frames_are_written_as_they_come(records, tmp_path):
    """A chunk of frames is held, and the one that is read meanwhile."""
    alive, most = set(), [0]

    class Image(np.ndarray):
        def __del__(self):
            alive.discard(id(self))

    def frames():
        for i, frame in enumerate(make_frames(70, 0)):
            image = np.array(frame.image).view(Image)
            alive.add(id(image))
            most[0] = max(most[0], len(alive))
            yield records.Frame(**(vars(frame) | {"image": image}))
            del image
            del frame, i

    records.write_clip(tmp_path / "u.tfrecord", "v", "u", frames())
    assert most[0] <= 2 * records.CHUNK + 1


def test_a_disk_that_is_full_is_an_operating_systems_error(
    records, tmp_path, monkeypatch
):
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=0))
    partial = tmp_path / f".partial-{32 * '0'}-u.tfrecord"
    partial.symlink_to("/dev/full")
    with pytest.raises(OSError, match="u.tfrecord"):
        records.write_clip(tmp_path / "u.tfrecord", "v", "u", make_frames(9, 0))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def folder(tf, tmp_path):
    return write_records_folder(tmp_path / "records", {"train": {"v": [47]}})


def test_any_frames_of_a_clip_can_be_read(tf, records, manifest, folder):
    (clip,) = manifest.read(folder).clips("train")
    whole = read_records(tf, clip.path)
    assert clip.size == clip.path.stat().st_size
    assert (clip.key, clip.frames) == ("v/utterance_1.mp4", 47)
    for start in range(47):
        for stop in range(start + 1, 48):
            wanted = whole[start // 20 : (stop + 19) // 20]
            assert clip.read(start, stop) == wanted


def test_the_manifest_says_as_what_crops_are_kept(manifest, folder):
    content = json.loads((folder / "manifest.json").read_text())
    for name in ("jpeg", "png"):
        content["crop_format"] = name
        (folder / "manifest.json").write_text(json.dumps(content))
        assert manifest.read(folder).treatment.crop_format == name
    del content["crop_format"]  # as earlier versions
    (folder / "manifest.json").write_text(json.dumps(content))
    assert manifest.read(folder).treatment.crop_format == "png"
    content["crop_format"] = "webp"
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="crop_format is 'webp'.*make the re"):
        manifest.read(folder)


def test_other_films_than_a_models_are_told(manifest, folder, caplog):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"landmarks": "mediapipe"}))
    records = manifest.read(folder)
    records.compare(Treatment("mediapipe"), "m")
    records.compare(None, "m")  # which is not known
    assert not caplog.messages
    records.compare(Treatment("mediapipe", 25, "jpeg"), "m")
    assert caplog.messages == [
        "m learned from at most 25 frames a second, and predict gives it such, "
        f"but --records={folder} have all frames of its films",
        "m learned from crops as jpeg, and predict gives it such, but "
        f"--records={folder} have crops as png",
    ]
    caplog.clear()
    line = "m learned from landmarks by dlib, .* have landmarks by mediapipe"
    with pytest.raises(UserError, match=f"{line}; .* or --other_landmarks"):
        records.compare(Treatment(), "m")
    with pytest.raises(UserError, match=f"{line}; give records of the same$"):
        records.compare(Treatment(), "m", other_landmarks=None)
    records.compare(Treatment(), "m", other_landmarks=True)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("schema_version", 1, "version 1;"), ("preparation", 2, "preparation 2,")],
)
def test_other_records_are_refused_in_one_line(
    manifest, folder, key, value, words
):
    content = json.loads((folder / "manifest.json").read_text())
    content[key] = value
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{words} .* affwild_omg.prepare"):
        manifest.read(folder).check("train")


RATES = b"0", b'"25"'  # which are none


@pytest.mark.parametrize(
    "content",
    [
        *(b"{", b"\xff{}", b"[]", b'{"schema_version": 2}', b"{}"),
        b'{"schema_version": 2, "splits":' + 99999 * b"[",
        *(b'{"schema_version":2,"splits":{},"max_fps":%s}' % x for x in RATES),
    ],
)
def test_what_is_no_manifest_is_refused(manifest, folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match="manifest"):
        manifest.read(folder).check("train")
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="holds no manifest.json"):
        manifest.read(folder).check("train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda part: part["utterances"].append(part["utterances"][0]),
            "listed",
        ),
        (lambda part: part["utterances"].pop(), "2 utterances prepared, 1 lis"),
        (
            lambda part: part["utterances"][0].update(frames=15),
            "52 frames prep",
        ),
        (
            lambda part: part["utterances"][0].update(frames=6.5),
            "does not list",
        ),
        (lambda part: part["utterances"][0].update(chunks=[]), "does not list"),
        (
            lambda part: part["utterances"][0]["chunks"][0].insert(0, 1),
            "does n",
        ),
        (
            lambda part: part["utterances"][0]["chunks"][0].__setitem__(
                0, 10**30
            ),
            "does not list",
        ),
        (lambda part: part.clear(), "does not list the clips of train"),
        (lambda part: part.pop("expected"), "does not list"),
        (lambda part: part.update(expected=1), "2 of 1 prepared"),
    ],
)
def test_a_manifest_is_held_against_itself(manifest, tmp_path, change, message):
    folder = write_records_folder(tmp_path / "r", {"train": {"v": [7, 45]}})
    content = json.loads((folder / "manifest.json").read_text())
    change(content["splits"]["train"])
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{message}.* make the records again"):
        manifest.read(folder).check("train")


def flip(data, place):
    data = bytearray(data)
    data[place] ^= 1
    return bytes(data)


def other_clip(folder):
    other = write_records_folder(folder / "other", {"train": {"w": [47]}})
    return (other / "train/w/utterance_1.mp4.tfrecord").read_bytes()


# What may happen to a file of 47 frames: whether its size tells it, and else
# whether reading does.
DAMAGE = {
    "cut behind a record": (lambda data, sizes, _: data[: 16 + sizes[0]], True),
    "cut in a record": (lambda data, *_: data[:-9], True),
    "empty": (lambda *_: b"", True),
    "doubled": (lambda data, *_: data * 2, True),
    "one record twice": (
        lambda data, sizes, _: data[: 16 + sizes[0]] + data,
        True,
    ),
    "a bit flipped at the start": (lambda data, *_: flip(data, 40), False),
    "a bit flipped at the end": (lambda data, *_: flip(data, -40), False),
    "foreign": (lambda data, *_: b"x" * len(data), False),
    "of other records": (lambda data, sizes, other: other, None),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_file_is_held_against_the_manifest(manifest, folder, name):
    change, size_tells = DAMAGE[name]
    (clip,) = manifest.read(folder).clips("train")
    data = clip.path.read_bytes()
    other = other_clip(folder.parent)
    clip.path.write_bytes(change(data, clip.sizes.tolist(), other))
    if size_tells is None:
        size_tells = len(other) != len(data)
    if size_tells:
        with pytest.raises(UserError, match="utterance_1.mp4.tfrecord has"):
            manifest.read(folder).check("train")
    else:
        manifest.read(folder).check("train")
        with (
            pytest.raises(UserError, match="is damaged or not the one"),
            manifest.read(folder).reading("train"),
        ):
            clip.read(0, 47)


def test_every_bit_of_a_file_is_checked(manifest, folder):
    (clip,) = manifest.read(folder).clips("train")
    data, other = clip.path.read_bytes(), other_clip(folder.parent)
    assert clip.damage() is None
    for change, _ in DAMAGE.values():
        clip.path.write_bytes(change(data, clip.sizes.tolist(), other))
        assert str(clip.path) in clip.damage()
    first, second, third = clip.sizes
    for place, words in {
        0: "between its records",  # the length of the first
        9: "between its records",  # the length's checksum
        12: "record 1 of 3 damaged",
        first + 12: "between its records",  # the first's checksum
        first + second + 27: "record 2 of 3 damaged",
        -5: "record 3 of 3 damaged",
        -1: "between its records",
    }.items():
        clip.path.write_bytes(flip(data, place))
        assert words in clip.damage()
    clip.path.write_bytes(data[: first + 16])
    fault = f"has {first + 16} bytes, but .* record 2, 3 of 3 damaged"
    assert re.search(fault, clip.damage())
    clip.path.unlink()
    assert "is missing" in clip.damage()


def test_a_missing_file_is_named(manifest, folder):
    (clip,) = manifest.read(folder).clips("train")
    clip.path.unlink()
    with pytest.raises(UserError, match="utterance_1.mp4.tfrecord is missing"):
        manifest.read(folder).check("train")


def test_unknown_split_lists_the_known(manifest, folder):
    with pytest.raises(UserError, match="'dev'; it has train$"):
        manifest.read(folder).check("dev")


def test_labels_that_a_split_lacks_are_told(manifest, tmp_path, caplog):
    """Of arousal one clip of two has none, of valence some frames."""

    def labels(key, frames):
        own = np.full((frames, 2), 0.5)
        own[1:, 0] = NAN
        if key == "ann/utterance_3.mp4":
            own[:, 1] = NAN
        return own

    clips = {"train": {"ann": [3, 3]}, "test": {"ann": [3]}}
    folder = write_records_folder(tmp_path / "some", clips, labels)
    manifest.read(folder).check("train", labels=TARGETS)
    (told,) = caplog.messages
    assert told.startswith("1 of 2 clips of train have no face with a label")
    assert told.endswith(": ann/utterance_3.mp4")
    labels = lambda _, frames: [[0.5, NAN]] * frames  # noqa: E731
    folder = write_records_folder(tmp_path / "none", clips, labels)
    manifest.read(folder).check("train", labels=("valence",))
    with pytest.raises(
        UserError, match="no frame with a face in train has a label of ar"
    ):
        manifest.read(folder).check("train", labels=TARGETS)


def test_the_networks_errors_are_not_taken_for_damage(tf, manifest, folder):
    """Measured: a mis-shaped product was called a damaged file."""
    with (
        pytest.raises(tf.errors.InvalidArgumentError),
        manifest.read(folder).reading("train"),
    ):
        tf.linalg.matmul(tf.ones([2, 3]), tf.ones([2, 3]))
