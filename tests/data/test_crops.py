import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.data import crops, manifest
from tests.conftest import clip_seed, make_frames


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
