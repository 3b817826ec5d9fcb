import string
import types

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.data import crops, manifest
from tests.conftest import clip_seed, make_frames, write_records_folder


def test_evenly_spaced_frames_of_one_utterance(small_records):
    key = "eve/utterance_1.mp4"  # 8 frames, the fifth without a face
    found = crops.read(manifest.read(small_records), "test", [key], 3)
    assert list(found) == [key]
    images, face = found[key]
    assert face.tolist() == [True, False, True]
    frames = make_frames(8, clip_seed("eve", 0))
    wanted = [frames[i].image for i in (0, 4, 7)]
    np.testing.assert_array_equal(images, wanted)


def test_order_of_the_keys_and_short_utterances(small_records):
    keys = ["eve/utterance_3.mp4", "eve/utterance_1.mp4"]
    found = crops.read(manifest.read(small_records), "test", keys, 8)
    assert list(found) == keys
    for (images, _), index in zip(found.values(), (1, 0), strict=True):
        frames = make_frames((8, 3)[index], clip_seed("eve", index))
        np.testing.assert_array_equal(images, [x.image for x in frames])


def test_only_the_wanted_clips_are_read(small_records, monkeypatch):
    read, seen = manifest.Clip.read, []

    def spy(clip, start, stop):
        seen.append(clip.key)
        return read(clip, start, stop)

    monkeypatch.setattr(manifest.Clip, "read", spy)
    crops.read(
        manifest.read(small_records), "validation", ["dan/utterance_1.mp4"], 2
    )
    assert set(seen) == {"dan/utterance_1.mp4"}


@pytest.mark.parametrize(
    ("split", "key", "message"),
    [
        ("test", "eve/utterance_2.mp4", "has no utterance eve/utterance_2.mp4"),
        ("nowhere", "eve/utterance_1.mp4", "has no utterance of split"),
    ],
)
def test_what_is_not_there_is_told(small_records, split, key, message):
    with pytest.raises(UserError, match=f"--records=.* {message}"):
        crops.read(manifest.read(small_records), split, [key], 2)


def test_the_split_of_some_utterances(small_records):
    key = "eve/utterance_1.mp4"
    records = manifest.read(small_records)
    assert crops.find_split(records, [key]) == "test"
    other = "dan/utterance_1.mp4"
    assert crops.find_split(records, [other]) == "validation"
    with pytest.raises(UserError, match="--records=.*none of .* has all of"):
        crops.find_split(records, [key, other])


def test_a_malformed_manifest_is_told(tmp_path):
    content = '{"schema_version": 2, "splits": {"train": {}}}'
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match="does not list the clips of train"):
        manifest.read(tmp_path)


def test_ranges_are_those_of_the_crops_themselves(tf, tmp_path):
    names = string.ascii_letters[:39]
    clips = {"train": {name: [5, 4] for name in names}}
    records = manifest.read(write_records_folder(tmp_path / "r", clips))
    found = crops.ranges(records.clips("train"))
    medians = []
    for name in names:
        grey = [
            (x.image.astype(float) @ [0.299, 0.587, 0.114])[20:88, 18:78]
            for x in make_frames(4, clip_seed(name, 1))
        ]
        medians.append(
            [
                np.median([np.mean(x) for x in grey]),
                np.median([np.std(x) for x in grey]),
            ]
        )
    for name, own in zip(
        ("brightness", "contrast"), np.transpose(medians), strict=True
    ):
        # Grey values are whole numbers there.
        np.testing.assert_allclose(found[name], (min(own), max(own)), atol=0.1)
    assert 0 < found["blur"][0] < found["blur"][1] < 1
    # One video less is too few.
    assert crops.ranges(records.clips("train")[:-2]) is None


def test_ranges_are_left_as_often_as_they_promise(monkeypatch):
    """Two in a hundred of what is drawn from anywhere, here a normal one."""
    random = np.random.default_rng(0)
    monkeypatch.setattr(
        crops, "_pick", lambda clip, _: (clip.image, np.array([True]))
    )
    monkeypatch.setattr(
        crops.quality, "measure_crop", lambda image: {"brightness": image}
    )

    def clips(count):
        return [
            types.SimpleNamespace(group=n, image=random.normal(size=1))
            for n in range(count)
        ]

    for count, rate in ((39, 0.05), (99, 0.02), (250, 4 / 251)):
        outside = [
            not low <= random.normal() <= high
            for low, high in (
                crops.ranges(clips(count))["brightness"] for _ in range(4000)
            )
        ]
        assert np.mean(outside) == pytest.approx(rate, abs=0.008)
