import collections

import numpy as np
import pytest

from tests.conftest import FRAMES, clip_seed, make_clip


@pytest.fixture(scope="module")
def pipeline(tf):
    from affwild_omg.data import pipeline

    return pipeline


@pytest.fixture(scope="module")
def clips():
    """The clips behind the small records, by key."""
    made = {}
    for videos in FRAMES.values():
        for video, lengths in videos.items():
            for index, length in enumerate(lengths):
                name = f"utterance_{2 * index + 1}.mp4"
                clip = make_clip(video, name, length, clip_seed(video, index))
                made[f"{video}/{name}"] = clip
    return made


@pytest.mark.parametrize("length", [1, 3, 4, 80])
@pytest.mark.parametrize("seed", [None, 5])
def test_windows_cover_each_frame_exactly_once(
    pipeline, small_records, clips, length, seed
):
    covered = collections.Counter()
    windows = pipeline.windows(
        small_records, "train", sequence_length=length, shuffle_seed=seed
    )
    count = 0
    for window in windows.as_numpy_iterator():
        count += 1
        clip = clips[window["key"].decode()]
        start, used = int(window["start"]), int(window["length"])
        frames = slice(start, start + used)
        covered.update((window["key"], i) for i in range(start, start + used))
        for name, values in [
            ("frames", clip.images),
            ("landmarks", clip.landmarks),
            ("mask", clip.face),
        ]:
            assert len(window[name]) == length
            np.testing.assert_array_equal(window[name][:used], values[frames])
            assert not window[name][used:].any()
        labels = np.array([clip.valence[0], clip.arousal[0]], np.float32)
        np.testing.assert_array_equal(
            window["labels"][:used], np.tile(labels, (used, 1))
        )
    assert set(covered.values()) == {1}
    assert covered.total() == 7 + 4 + 9
    assert count == pipeline.count_windows(small_records, "train", length)


def keys_and_starts(windows):
    return [
        (window["key"], int(window["start"]))
        for window in windows.as_numpy_iterator()
    ]


def test_order_is_kept_or_shuffled_by_the_seed(pipeline, small_records):
    def order(seed):
        return keys_and_starts(
            pipeline.windows(
                small_records, "train", sequence_length=2, shuffle_seed=seed
            )
        )

    ann, later, bob = (
        b"ann/utterance_1.mp4",
        b"ann/utterance_3.mp4",
        b"bob/utterance_1.mp4",
    )
    assert order(None) == (
        [(ann, 0), (ann, 2), (ann, 4), (ann, 6)]
        + [(later, 0), (later, 2)]
        + [(bob, 0), (bob, 2), (bob, 4), (bob, 6), (bob, 8)]
    )
    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == sorted(order(None))


def test_last_batch_is_filled_with_windows_that_do_not_count(
    pipeline, small_records
):
    windows = pipeline.windows(small_records, "train", sequence_length=4)
    batches = list(pipeline.batches(windows, 4).as_numpy_iterator())
    # ann: 2 + 1 windows, bob: 3; the second batch holds the last two.
    assert [batch["frames"].shape for batch in batches] == [
        (4, 4, 96, 96, 3)
    ] * 2
    last = batches[1]
    assert list(last["key"]) == [b"bob/utterance_1.mp4"] * 2 + [b""] * 2
    assert last["mask"][:2].any(axis=1).all()
    assert not last["mask"][2:].any()
    assert not last["length"][2:].any()


def test_labels_can_be_replaced(pipeline, small_records):
    labels = pipeline.read_labels(small_records, "train")
    changed = {key: np.array([i, -i]) for i, key in enumerate(labels)}
    windows = pipeline.windows(
        small_records, "train", sequence_length=4, labels=changed
    )
    for window in windows.as_numpy_iterator():
        expected = changed[window["key"].decode()]
        used = window["labels"][: window["length"]]
        np.testing.assert_array_equal(used, np.tile(expected, (len(used), 1)))


def test_labels_are_read_by_key(pipeline, small_records, clips):
    labels = pipeline.read_labels(small_records, "test")
    assert list(labels) == ["eve/utterance_1.mp4", "eve/utterance_3.mp4"]
    for key, (valence, arousal) in labels.items():
        assert valence == pytest.approx(clips[key].valence[0], rel=1e-6)
        assert arousal == pytest.approx(clips[key].arousal[0], rel=1e-6)
