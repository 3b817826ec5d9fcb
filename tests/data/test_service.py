"""What workers send is what this process would have made, or is told."""

import dataclasses
import threading
import zlib

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.data import manifest
from affwild_omg.data.records import CHUNK
from affwild_omg.paper.windows import AUGMENTATIONS
from tests.conftest import write_records_folder

CLIPS = {"train": {"ann": [47, 4], "bob": [20, 1], "eve": [33]}}
HOW = {"sequence_length": 7, "tail": "overlap", "stride": 3}


@pytest.fixture(scope="module")
def service(tf):
    from affwild_omg.data import service

    return service


@pytest.fixture(scope="module")
def records(tf, tmp_path_factory):
    root = tmp_path_factory.mktemp("service") / "records"
    return manifest.read(write_records_folder(root, CLIPS))


@pytest.fixture(scope="module")
def address(tf):
    """A dispatcher with two workers, in this process."""
    own = tf.data.experimental.service
    dispatcher = own.DispatchServer()
    place = dispatcher.target.removeprefix("grpc://")
    workers = [
        own.WorkerServer(own.WorkerConfig(dispatcher_address=place))
        for _ in range(2)
    ]
    yield f"grpc://{place}"
    del workers


@pytest.fixture(scope="module")
def numbers(records):
    """Some windows of a pass, in another order than theirs."""
    from affwild_omg.data import pipeline

    count = pipeline.count(records.clips("train"), *HOW.values())
    return np.random.default_rng(1).permutation(count)[3:]


def made(clips, numbers, elsewhere=False):
    from affwild_omg.data import augmentation, pipeline

    windows = pipeline.windows(
        clips, **HOW, order=numbers, numbers=numbers, elsewhere=elsewhere
    )
    return augmentation.augment(windows, AUGMENTATIONS, 5)


@pytest.fixture(scope="module")
def expected(records, numbers):
    """What this process makes of them."""
    return list(made(records.clips("train"), numbers).as_numpy_iterator())


@pytest.fixture
def collected(service, records, numbers):
    """Collects windows of some clips, which are those of the records here."""

    def collect(address, clips=None):
        here = records.clips("train")
        windows = service.collected(
            made(clips or here, numbers, elsewhere=True),
            address,
            numbers,
            lambda some: made(here, some),
        )
        assert len(windows) == len(numbers)
        with records.reading("train"):
            return list(windows.as_numpy_iterator())

    return collect


def clip_of(tf, path, records):
    """Writes records, whatever they hold, and what a manifest says of them."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return manifest.Clip(
        video="ann",
        utterance=path.stem,
        path=path,
        frames=CHUNK * len(records),
        labels=np.zeros(2),
        labelled=np.zeros(2),
        varies=np.zeros(2, bool),
        sizes=np.array([len(record) for record in records]),
        checksums=np.array([zlib.crc32(record) for record in records]),
    )


def test_records_are_read_and_checked_by_ops_alone(service, tf, tmp_path):
    random = np.random.default_rng(0)
    contents = [  # a block of gzip ends at 65,535 bytes
        [random.bytes(size) for size in sizes]
        for sizes in ([65_535, 1, 65_536], [131_070], [300_000, 131_071])
    ]
    clips = [
        clip_of(tf, tmp_path / f"{number}.tfrecord", content)
        for number, content in enumerate(contents)
    ]
    reader = service.reader(clips)

    def read(*place):
        return reader(*(tf.constant(x, tf.int64) for x in place)).numpy()

    for number, content in enumerate(contents):
        for first in range(len(content)):
            for last in range(first, len(content)):
                found = read(number, CHUNK * first + 3, CHUNK * last + 4)
                assert found.tolist() == content[first : last + 1]
    path, (first, second) = clips[2].path, contents[2]
    for records, error in (
        ([first, second[:-1] + b"?"], tf.errors.DataLossError),
        ([first, second + b"?"], tf.errors.InvalidArgumentError),
        ([first], tf.errors.InvalidArgumentError),
    ):
        clip_of(tf, path, records)  # sound, but not those of the manifest
        with pytest.raises(error):
            read(2, 0, 2 * CHUNK)
    path.unlink()
    with pytest.raises(tf.errors.NotFoundError, match="2.tfrecord"):
        read(2, 0, 1)


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name], name)


def test_two_workers_make_what_this_process_makes(
    collected, address, expected, numbers
):
    found = collected(address)
    assert [x["number"] for x in found] == numbers.tolist()
    same(found, expected)


@pytest.fixture
def sent(service, monkeypatch, address):
    """Lets the service send what a function makes of its windows."""

    def send(change):
        def fetch(windows, address, count, found, ended):
            for window in change(list(windows)):
                found.put(window)

        monkeypatch.setattr(service, "_fetch", fetch)
        return address

    return send


@pytest.mark.parametrize("step", [-1, 5])
def test_the_order_does_not_hang_on_the_workers(
    collected, sent, expected, step
):
    def change(windows):
        return [x for i in range(abs(step)) for x in windows[i :: abs(step)]][
            :: np.sign(step)
        ]

    same(collected(sent(change)), expected)


@pytest.mark.parametrize(
    ("change", "patience", "words"),
    [
        (
            lambda x: [*x[:-3], *x[-2:], None],
            60,
            "its workers ended, and 1 win",
        ),
        (lambda x: [*x[:2], *x[4:6]], 0.2, r"no window came for 0.2 s, and \d"),
        (lambda x: x[1:], 60, "9 windows came before one, and .* --resume goe"),
    ],
)
def test_a_window_that_does_not_come_is_told(
    service, collected, sent, monkeypatch, change, patience, words
):
    monkeypatch.setattr(service, "PATIENCE_S", patience)
    monkeypatch.setattr(service, "MOST", 9)
    with pytest.raises(UserError, match=f"--data_service=grpc.*: {words}"):
        collected(sent(change))


def test_a_place_without_a_dispatcher_is_told(
    service, tf, collected, monkeypatch
):
    own = tf.data.experimental.service
    dispatcher = own.DispatchServer()
    place = dispatcher.target
    monkeypatch.setattr(service, "PATIENCE_S", 0.5)
    with pytest.raises(UserError, match="0.5 s, and .* or there is no worker"):
        collected(place)
    worker = own.WorkerServer(
        own.WorkerConfig(dispatcher_address=place.removeprefix("grpc://"))
    )
    with pytest.raises(UserError, match="is not a dispatcher"):
        collected(f"grpc://{worker._address}")
    with pytest.raises(UserError, match="nobody answers there .Connection ref"):
        collected("grpc://localhost:1")


def test_records_that_workers_lack_are_told(collected, records, address):
    clips = [
        dataclasses.replace(clip, path=clip.path.with_name("elsewhere"))
        for clip in records.clips("train")
    ]
    with pytest.raises(UserError, match="at the same path") as raised:
        collected(address, clips)
    assert "/elsewhere; No such file" in str(raised.value)


def test_damage_is_told_as_here(service, tf, address, tmp_path, numbers):
    records = manifest.read(write_records_folder(tmp_path / "records", CLIPS))
    clips = records.clips("train")
    (long, *_) = (clip for clip in clips if clip.frames == 47)
    data = bytearray(long.path.read_bytes())
    data[-1000] ^= 1
    long.path.write_bytes(data)
    windows = service.collected(
        made(clips, numbers, elsewhere=True),
        address,
        numbers,
        lambda some: made(clips, some),
    )
    with (
        pytest.raises(UserError, match=f"{long.path.name}: record 2 of 3 is d"),
        records.reading("train"),
    ):
        list(windows.as_numpy_iterator())


def test_a_reader_that_stops_early_ends_its_thread(
    service, records, numbers, address
):
    before = set(threading.enumerate())
    windows = service.collected(
        made(records.clips("train"), numbers, elsewhere=True),
        address,
        numbers,
        None,
    )
    assert len(list(windows.take(2))) == 2
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive()
