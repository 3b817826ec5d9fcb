"""Windows come out as if a clip were one record, each frame in one of them."""

import collections
import itertools

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.data import manifest
from tests.conftest import FPS, clip_seed, make_frames, write_records_folder

LONG = {"train": {"ann": [47, 4], "bob": [20, 1]}, "test": {"eve": [8]}}
NAN = float("nan")


def partial_labels(key, frames):
    """Labels by frame with gaps: valence rises, arousal is there and there."""
    labels = np.full((frames, 2), NAN)
    labels[:, 0] = np.arange(frames) / 100
    labels[::3, 1] = 0.5
    labels[1::4, 0] = NAN
    return labels


@pytest.fixture(scope="module")
def pipeline(tf):
    from affwild_omg.data import pipeline

    return pipeline


@pytest.fixture(scope="module")
def records(tf, tmp_path_factory):
    root = tmp_path_factory.mktemp("pipeline") / "records"
    return manifest.read(write_records_folder(root, LONG, partial_labels))


@pytest.fixture(scope="module")
def clips():
    """The frames behind the records, by key."""
    return {
        f"{video}/utterance_{2 * index + 1}.mp4": make_frames(
            length,
            clip_seed(video, index),
            partial_labels("", length),
        )
        for videos in LONG.values()
        for video, lengths in videos.items()
        for index, length in enumerate(lengths)
    }


@pytest.mark.parametrize(
    ("length", "tail", "seed"),
    [
        (1, "pad", None),
        (7, "pad", 5),
        (20, "pad", None),
        (33, "pad", 5),
        (80, "pad", 5),
        (7, "overlap", None),
        (33, "overlap", 5),
        (33, "spread", 5),
    ],
)
def test_windows_score_each_frame_exactly_once(
    pipeline, records, clips, length, tail, seed
):
    covered = collections.Counter()
    order = None
    if seed:
        number = pipeline.count(records.clips("train"), length, tail)
        order = np.random.default_rng(seed).permutation(number)
    windows = pipeline.windows(
        records.clips("train"),
        sequence_length=length,
        tail=tail,
        order=order,
    )
    count = 0
    for window in windows.as_numpy_iterator():
        count += 1
        skip = int(window["skip"])
        start, used = int(window["start"]), int(window["length"])
        frames = clips[window["key"].decode()][start : start + used]
        scored = range(start + skip, start + used)
        covered.update((window["key"], i) for i in scored)
        labels = np.array([frame.labels for frame in frames], np.float32)
        labels[:skip] = NAN  # they count in the window before
        for name, values in {
            "frames": [frame.image for frame in frames],
            "landmarks": [frame.landmarks for frame in frames],
            "mask": [frame.face for frame in frames],
            "labels": labels,
            "time_us": [round(frame.time_s * 1e6) for frame in frames],
        }.items():
            assert len(window[name]) == length
            np.testing.assert_array_equal(window[name][:used], values)
            assert not window[name][used:].any()
        if tail == "pad":
            assert start % length == 0 and not skip
        if tail == "overlap":
            assert used == min(length, len(clips[window["key"].decode()]))
    assert set(covered.values()) == {1}
    assert covered.total() == 47 + 4 + 20 + 1
    assert count == len(windows) == sum(-(-x // length) for x in (47, 4, 20, 1))


def order_of(pipeline, clips, order):
    windows = pipeline.windows(
        clips, sequence_length=20, tail="pad", order=order
    )
    return [
        (window["key"].decode(), int(window["start"]))
        for window in windows.as_numpy_iterator()
    ]


def test_windows_come_in_the_order_that_is_given(pipeline, records):
    clips = records.clips("train")
    plain = order_of(pipeline, clips, None)
    assert plain == [
        ("ann/utterance_1.mp4", 0),
        ("ann/utterance_1.mp4", 20),
        ("ann/utterance_1.mp4", 40),
        ("ann/utterance_3.mp4", 0),
        ("bob/utterance_1.mp4", 0),
        ("bob/utterance_3.mp4", 0),
    ]
    assert order_of(pipeline, clips, [4, 1, 4]) == [plain[i] for i in (4, 1, 4)]


def test_strided_windows_count_in_all_their_frames(pipeline, records, clips):
    """Of 47, 4, 20 and 1 frames: each window of 20 that begins 10 later."""
    windows = pipeline.windows(
        records.clips("train"), sequence_length=20, tail="overlap", stride=10
    )
    found = [
        (int(x["start"]), int(x["skip"]), int(x["length"]))
        for x in windows.as_numpy_iterator()
    ]
    assert found == [
        *((0, 0, 20), (10, 0, 20), (20, 0, 20), (27, 0, 20)),
        *((0, 0, 4), (0, 0, 20), (0, 0, 1)),
    ]
    (second,) = windows.skip(1).take(1).as_numpy_iterator()
    labels = [x.labels for x in clips["ann/utterance_1.mp4"][10:30]]
    np.testing.assert_array_equal(
        second["labels"], np.array(labels, np.float32)
    )


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (9, 4, [3, 3, 3]),
        (5, 4, [3, 2]),
        (8, 4, [4, 4]),
        (3, 4, [3]),
        (11, 4, [4, 4, 3]),
    ],
)
def test_batches_share_the_windows_evenly(pipeline, tf, count, size, expected):
    windows = tf.data.Dataset.range(1, count + 1).map(lambda x: {"x": x})
    batches = [
        list(batch["x"])
        for batch in pipeline.batches(
            windows, size, evenly=True
        ).as_numpy_iterator()
    ]
    assert [len(batch) for batch in batches] == [size] * len(expected)
    real = [[x for x in batch if x] for batch in batches]
    assert sum(real, []) == list(range(1, count + 1))
    assert [len(batch) for batch in real] == expected
    # The windows of some of them make the same ones.
    starts = [
        pipeline.windows_before(x, count, size)
        for x in range(len(expected) + 1)
    ]
    for first, last in itertools.combinations(range(len(starts)), 2):
        some = windows.take(starts[last]).skip(starts[first])
        again = pipeline.batches(some, size, evenly=True)
        assert [list(x["x"]) for x in again.as_numpy_iterator()] == batches[
            first:last
        ]


@pytest.mark.parametrize(
    ("size", "replicas", "at_once", "expected"),
    [
        (4, 3, 1, [[1, 4], [2, 0], [3, 0]]),
        (5, 2, 1, [[1, 3, 5], [2, 4, 0]]),
        (4, 2, 1, [[1, 3], [2, 4]]),
        (2, 3, 1, [[1], [2], [0]]),
        (5, 2, 2, [[1, 3, 5, 0], [2, 4, 0, 0]]),
        (4, 1, 3, [[1, 2, 3, 4, 0, 0]]),
    ],
)
def test_windows_are_dealt_out_to_replicas(
    pipeline, tf, size, replicas, at_once, expected
):
    windows = tf.data.Dataset.range(1, size + 1).map(lambda x: {"x": x})
    (batch,) = pipeline.batches(
        windows, size, replicas=replicas, at_once=at_once
    )
    parts = np.split(batch["x"].numpy(), replicas)
    assert [part.tolist() for part in parts] == expected


def test_last_batch_is_filled_with_windows_that_do_not_count(pipeline, records):
    windows = pipeline.windows(
        records.clips("train"), sequence_length=20, tail="pad"
    )
    batches = list(pipeline.batches(windows, 4).as_numpy_iterator())
    assert [batch["frames"].shape for batch in batches] == [
        (4, 20, 96, 96, 3)
    ] * 2
    last = batches[1]
    assert list(last["key"]) == [
        b"bob/utterance_1.mp4",
        b"bob/utterance_3.mp4",
        b"",
        b"",
    ]
    assert last["mask"][:2].any(axis=1).all()
    assert not last["mask"][2:].any()
    assert not last["length"][2:].any()


def test_labels_can_be_replaced_where_there_are_any(pipeline, records, clips):
    prepared = records.clips("train")
    changed = {x.key: np.array([i, -i]) for i, x in enumerate(prepared)}
    windows = pipeline.windows(
        prepared, sequence_length=7, tail="pad", labels=changed
    )
    for window in windows.as_numpy_iterator():
        key, start = window["key"].decode(), int(window["start"])
        used = int(window["length"])
        own = [frame.labels for frame in clips[key][start : start + used]]
        expected = np.where(np.isnan(own), NAN, changed[key])
        np.testing.assert_array_equal(window["labels"][:used], expected)


def test_mean_labels_come_from_the_manifest(records, clips):
    prepared = records.clips("train")
    assert len(prepared) == 4
    for clip in prepared:
        own = np.array([frame.labels for frame in clips[clip.key]])
        np.testing.assert_allclose(clip.labels, np.nanmean(own, axis=0))


def test_damage_is_told_while_reading(pipeline, tf, tmp_path):
    records = manifest.read(write_records_folder(tmp_path / "records"))
    (clip, *_) = records.clips("train")
    data = bytearray(clip.path.read_bytes())
    data[len(data) // 2] ^= 1
    clip.path.write_bytes(data)
    windows = pipeline.windows(
        records.clips("train"), sequence_length=4, tail="pad"
    )
    with (
        pytest.raises(UserError, match=f"{clip.path.name}: record 1 of 1 is d"),
        records.reading("train"),
    ):
        list(windows.as_numpy_iterator())


def test_times_are_those_of_the_frames(pipeline, records):
    windows = pipeline.windows(
        records.clips("test"), sequence_length=80, tail="pad"
    )
    (window,) = windows.as_numpy_iterator()
    np.testing.assert_array_equal(
        window["time_us"][:8], np.arange(8) * round(1e6 / FPS)
    )


@pytest.mark.parametrize(
    ("length", "batch_size", "at_once"),
    [(3, 5, 1), (20, 4, 1), (9, 1, 1), (3, 5, 3)],
)
def test_replicas_of_several_machines_have_the_parts_of_one(
    pipeline, records, length, batch_size, at_once
):
    """What one process deals out to three replicas, one machine with two."""
    clips = records.clips("train")

    def windows(order=None):
        how = {"sequence_length": length, "tail": "pad"}
        return pipeline.windows(clips, **how, order=order, numbers=order)

    whole = windows()
    rows = at_once * -(-batch_size // (3 * at_once))
    expected = list(
        pipeline.batches(
            whole, batch_size, evenly=True, replicas=3, at_once=at_once
        ).as_numpy_iterator()
    )
    empty = 0
    for own in ([0, 1], [2]):
        dealt = pipeline.deal(len(whole), batch_size, 3, own, at_once)
        shares = pipeline.shares(windows(dealt[dealt >= 0]), dealt)
        found = list(shares.as_numpy_iterator())
        assert len(found) == len(expected) * len(own)
        for i, share in enumerate(found):
            batch, replica = expected[i // len(own)], own[i % len(own)]
            part = slice(replica * rows, (replica + 1) * rows)
            empty += not share["mask"].any()
            for name, values in share.items():
                np.testing.assert_array_equal(values, batch[name][part], name)
    assert bool(empty) == (batch_size == 1)
