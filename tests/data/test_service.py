"""What workers send is what this process would have made, or is told."""

import dataclasses
import re
import threading
import zlib

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.data import manifest
from affwild_omg.data.records import CHUNK
from affwild_omg.paper.windows import AUGMENTATIONS
from tests.conftest import serve_windows, write_records_folder

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


@pytest.fixture
def address(windows_servers):
    return windows_servers[0]


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
def sent(service, monkeypatch, address, expected):
    """Lets the service send what a function makes of its windows."""

    def send(change):
        def fetch(windows, address, count, found, ended):
            for window in change(expected):
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
    ("change", "counts"),
    [
        # With nine waiting: 1, 4, 7, 10 and 13 are late when 14 comes.
        (lambda x: [*without(x, range(1, 24, 3)), *x[1:24:3]], [5, 3]),
        # Eight of nine come after all, and do not wait for a turn.
        (lambda x: [*x[9:18], *x[:8], x[19], x[18], *x[20:]], [9]),
        # One that ended had them, which TensorFlow tells or does not.
        (lambda x: without(x, [0, 2, 20, len(x) - 1]), [2, 2]),
        (lambda x: [*without(x, [len(x) - 3, len(x) - 1]), None], [2]),
    ],
)
def test_late_windows_are_read_here(
    service, collected, sent, expected, monkeypatch, caplog, change, counts
):
    monkeypatch.setattr(service, "PATIENCE_S", 0.5)
    monkeypatch.setattr(service, "MOST", 9)
    same(collected(sent(change)), expected)
    told = re.findall(r"grpc\S+: (\d+) windows? did not come", caplog.text)
    assert list(map(int, told)) == counts


def without(windows, numbers):
    return [x for i, x in enumerate(windows) if i not in numbers]


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda x: [], 0),
        (lambda x: [None], 0),
        (lambda x: x[:-10], 10),
        (lambda x: [*x[:-11], x[-1], None], 10),
    ],
)
def test_too_many_that_do_not_come_are_told(
    service, collected, sent, numbers, monkeypatch, change, count
):
    monkeypatch.setattr(service, "PATIENCE_S", 0.5)
    # With none at all, however few there are.
    monkeypatch.setattr(service, "MOST", 9 if count else len(numbers))
    words = f"{count or len(numbers)} windows of this .* give the same"
    with pytest.raises(UserError, match=f"--data_service=grpc\\S+: {words}"):
        collected(sent(change))


@pytest.mark.parametrize(
    ("error", "words", "tried"),
    [
        ("It ended.\n2nd", "the dispatcher says: It ended.; it must be", []),
        ("from worker me: No", r"worker me fails .No., .* next 9 wind", [9]),
    ],
)
def test_errors_are_those_that_came(
    service, tf, sent, records, numbers, monkeypatch, error, words, tried
):
    monkeypatch.setattr(service, "MOST", 9)
    clips, found = records.clips("train"), []

    def here(some):
        found.append(some)
        return made(clips, some)

    def collect(error):
        windows = service.collected(
            made(clips, numbers, elsewhere=True),
            sent(lambda x: [*x[1:3], x[0], error]),
            numbers,
            here,
        )
        with records.reading("train"):
            list(windows.as_numpy_iterator())

    with pytest.raises(UserError, match=words):
        collect(tf.errors.InternalError(None, None, error))
    assert list(map(len, found)) == tried
    assert all(some == numbers[3:12].tolist() for some in found)
    with pytest.raises(tf.errors.OpError, match="TypeError: What is this"):
        collect(TypeError("What is this"))


def test_what_fails_is_told_at_once(service, collected, tf, address):
    def fail(*args, **options):
        raise TypeError("of another version")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.data.experimental.service, "distribute", fail)
        with pytest.raises(tf.errors.OpError, match="of another version"):
            collected(address)


@pytest.fixture(scope="session")
def lonely():
    """A dispatcher that outlives its reader, who would warn each second."""
    with serve_windows(0) as ([address], _, _):
        yield address


def test_a_place_without_a_dispatcher_is_told(
    service, collected, lonely, windows_servers, monkeypatch
):
    monkeypatch.setattr(service, "PATIENCE_S", 0.5)
    with pytest.raises(UserError, match="of this .* or there is no worker"):
        collected(lonely)
    with pytest.raises(UserError, match="the dispatcher says: .* it must be"):
        collected(windows_servers[1])
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
        pytest.raises(UserError, match=f"{long.path.name}: record 3 of 3 is d"),
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
