"""Shared fixtures: one TensorFlow, one set of small records."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests compare runs to the last digit, which a GPU does not promise.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import pytest

from affwild_omg.serving.options import ExportOptions
from affwild_omg.training.options import TrainingOptions

ROOT = pathlib.Path(__file__).resolve().parents[1]
FPS = 25.0
FRAMES = {  # utterances of the small records: frames of each
    "train": {"ann": [7, 4], "bob": [9]},
    "validation": {"cat": [5], "dan": [6]},
    "test": {"eve": [8, 3]},
}

HOLDER = """
import pathlib, sys
from affwild_omg.storage import locks

with locks.hold(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def tf():
    """TensorFlow with two logical CPUs, for tests of distribution."""
    import tensorflow

    cpu = tensorflow.config.list_physical_devices("CPU")[0]
    tensorflow.config.set_logical_device_configuration(
        cpu, [tensorflow.config.LogicalDeviceConfiguration()] * 2
    )
    mirrored = tensorflow.distribute.MirroredStrategy
    make = mirrored.__init__

    def make_apart(*args, **settings):
        # Strategies of a process share keys, and others reduce in other shapes.
        mirrored._collective_key_base += 1000
        make(*args, **settings)

    mirrored.__init__ = make_apart
    return tensorflow


def clip_seed(video: str, index: int) -> int:
    """Returns the seed of a video's clip: no other clip has its label."""
    return 100 * ord(video[0]) + index


def make_frames(frames, seed, labels=None):
    """Makes frames of noise whose label shows in their brightness.

    Args:
        frames: how many; a long clip has one frame without a face.
        seed: also of the label.
        labels: [frames, 2] in place of one label for all; NaN for none.
    """
    from affwild_omg.data import records

    random = np.random.default_rng(seed)
    valence = float(random.uniform(-0.9, 0.9))
    arousal = float(random.uniform(0.1, 0.9))
    images = random.integers(0, 60, (frames, 96, 96, 3), np.uint8)
    images[:, :48] += np.uint8(90 + 80 * valence)
    images[:, 48:] += np.uint8(150 * arousal)
    points = random.uniform(0, 96, (frames, 68, 2)).astype(np.float32)
    if labels is None:
        labels = np.tile([valence, arousal], (frames, 1))
    return [
        records.Frame(
            time_s=frame / FPS,
            image=images[frame],
            landmarks=points[frame],
            face=frame != frames // 2 or frames < 5,
            labels=tuple(np.asarray(labels[frame], float)),
        )
        for frame in range(frames)
    ]


def write_records_folder(
    root: pathlib.Path, clips=None, labels=None, crop_format="png"
):
    """Writes a records folder.

    Args:
        root: the folder.
        clips: {split: {video: [frames of each utterance]}}; by default those
            of `FRAMES`.
        labels: a function of a clip's key and frames gives its labels, see
            `make_frames`.
        crop_format: as what crops are kept.
    """
    from affwild_omg.data import records

    splits = {}
    for split, videos in (clips or FRAMES).items():
        entries = []
        for video, lengths in videos.items():
            for index, length in enumerate(lengths):
                name = f"utterance_{2 * index + 1}.mp4"
                own = labels and labels(f"{video}/{name}", length)
                frames = make_frames(length, clip_seed(video, index), own)
                path = root / split / video / f"{name}.tfrecord"
                entries.append(
                    records.write_clip(path, video, name, frames, crop_format)
                )
        splits[split] = {
            "expected": len(entries) + 1,
            "found": len(entries),
            "prepared": len(entries),
            "frames": sum(entry["frames"] for entry in entries),
            "frames_without_face": sum(
                entry["frames_without_face"] for entry in entries
            ),
            "failed": [],
            "utterances": entries,
        }
    content = {
        "schema_version": records.SCHEMA_VERSION,
        "crop_format": crop_format,
        "splits": splits,
    }
    (root / "manifest.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def small_records(tf, tmp_path_factory):
    """A records folder of three splits; to be read only."""
    return write_records_folder(tmp_path_factory.mktemp("small") / "records")


@pytest.fixture(scope="session")
def small_run(small_records, tmp_path_factory):
    """The options and the summary of a short run on the small records."""
    from affwild_omg.training import loop as training

    options = TrainingOptions(
        records=str(small_records),
        workdir=str(tmp_path_factory.mktemp("small") / "run"),
        width=0.03,
        units=4,
        sequence_length=4,
        batch_size=2,
        learning_rate=1e-3,
        epochs=3,
    )
    return options, training.train(options)


@pytest.fixture(scope="session")
def small_saved_model(small_run, tmp_path_factory):
    """The SavedModel of the short run; to be read only."""
    from affwild_omg.serving import exporting

    return exporting.export(
        ExportOptions(
            model=small_run[0].workdir,
            output=str(tmp_path_factory.mktemp("small") / "saved"),
        )
    )


@pytest.fixture(scope="session")
def clip():
    """Gives the path of a real clip by its name, or skips the test."""
    default = ROOT.parent / "shared" / "data" / "faces"
    folder = pathlib.Path(os.environ.get("AFFWILD_OMG_FACES", default))

    def path_of(name):
        path = folder / name
        if not path.exists():
            pytest.skip(
                f"the real clip {name} is not here; AFFWILD_OMG_FACES names "
                "the folder that holds it"
            )
        return path

    return path_of


@pytest.fixture
def lock_holder():
    """Starts processes that hold a lock, or a part of it."""
    processes = []

    def start(path, *part):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, path, *map(str, part)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        processes.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def s3(tf, tmp_path_factory):
    """The server of S3 for this process, and for those it starts."""
    pytest.importorskip("moto.server")
    (port,), log = free_ports(1), tmp_path_factory.mktemp("s3") / "log"
    environment = {
        "S3_ENDPOINT": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    os.environ.update(environment)
    with serve_s3(port, log) as server:
        yield server


@contextlib.contextmanager
def serve_s3(port, log):
    """Serves S3 with one bucket, named bucket, until the block ends."""
    arguments = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, *arguments], stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/bucket", method="PUT"
                )
                urllib.request.urlopen(request).close()
                break
            except OSError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield server
    finally:
        server.kill()
        server.wait()


def free_ports(count):
    """Returns ports of loopback that nobody has."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [x.getsockname()[1] for x in sockets]
    for x in sockets:
        x.close()
    return ports


@pytest.fixture(scope="session")
def windows_servers():
    """Addresses of a dispatcher and two workers, for all tests."""
    with serve_windows(2) as (addresses, _, _):
        yield addresses


@contextlib.contextmanager
def serve_windows(workers):
    """Runs a data service as docs/training.md says, until the block ends.

    Each server is a process. In one process with its dispatcher, a worker
    that ends last waits for it, keeps Python's lock, and so hangs for good.

    Yields:
        Addresses, processes, and what starts one: by number, 0 is the
        dispatcher.
    """
    page = (ROOT / "docs" / "training.md").read_text()
    dispatcher, worker = re.findall("^    (python -c .*)$", page, re.MULTILINE)
    ports, running = free_ports(1 + workers), {}

    def start(number):
        _, option, code = shlex.split(worker if number else dispatcher)
        code = re.sub(r"host\d", "localhost", code)
        code = re.sub(
            "505([01])", lambda x: str(ports[number * int(x[1])]), code
        )
        running[number] = subprocess.Popen([sys.executable, option, code])

    try:
        for number in range(1 + workers):
            start(number)
        for port in ports:
            _wait_for(port)
        yield [f"grpc://localhost:{port}" for port in ports], running, start
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def _wait_for(port):
    """Waits for a server that must import TensorFlow."""
    for _ in range(240):
        with contextlib.suppress(OSError):
            return socket.create_connection(("localhost", port)).close()
        time.sleep(0.5)
    raise TimeoutError(port)


@pytest.fixture
def bucket(s3, request):
    """A folder of the bucket that no other test has."""
    from affwild_omg.storage import remote

    return remote.path("s3://bucket") / request.node.name
