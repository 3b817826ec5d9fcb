import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.data import crops, records
from tests.conftest import clip_seed, make_clip


def test_evenly_spaced_frames_of_one_utterance(small_records):
    key = "eve/utterance_1.mp4"  # 8 frames, the fifth without a face
    found = crops.read(small_records, "test", [key], 3)
    assert list(found) == [key]
    images, face = found[key]
    assert face.tolist() == [True, False, True]
    clip = make_clip("eve", "utterance_1.mp4", 8, clip_seed("eve", 0))
    np.testing.assert_array_equal(images, clip.images[[0, 4, 7]])


def test_order_of_the_keys_and_short_utterances(small_records):
    keys = ["eve/utterance_3.mp4", "eve/utterance_1.mp4"]
    found = crops.read(small_records, "test", keys, 8)
    assert list(found) == keys
    for (key, (images, _)), index in zip(found.items(), (1, 0), strict=True):
        video, name = key.split("/")
        clip = make_clip(video, name, (8, 3)[index], clip_seed(video, index))
        np.testing.assert_array_equal(images, clip.images)


def test_only_the_wanted_videos_are_read(small_records, monkeypatch):
    parse, seen = records.parse, []

    def spy(serialised):
        parsed = parse(serialised)
        seen.append(parsed["key"].numpy().decode())
        return parsed

    monkeypatch.setattr(records, "parse", spy)
    crops.read(small_records, "validation", ["dan/utterance_1.mp4"], 2)
    assert seen == ["dan/utterance_1.mp4"]


@pytest.mark.parametrize(
    ("split", "key", "message"),
    [
        ("test", "eve/utterance_2.mp4", "has no utterance eve/utterance_2.mp4"),
        ("nowhere", "eve/utterance_1.mp4", "has no utterance of split"),
    ],
)
def test_what_is_not_there_is_told(small_records, split, key, message):
    with pytest.raises(UserError, match=f"--records=.* {message}"):
        crops.read(small_records, split, [key], 2)


def test_the_split_of_some_utterances(small_records):
    key = "eve/utterance_1.mp4"
    assert crops.find_split(small_records, [key]) == "test"
    other = "dan/utterance_1.mp4"
    assert crops.find_split(small_records, [other]) == "validation"
    with pytest.raises(UserError, match="--records=.*none of .* has all of"):
        crops.find_split(small_records, [key, other])
