"""A training whose windows come from workers is the one without them."""

import contextlib
import dataclasses
import itertools
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.paper.windows import AUGMENTATIONS
from tests.conftest import ROOT, write_records_folder
from tests.training.test_checkpoints import read, small_training
from tests.training.test_cluster import free_ports

CLIPS = {
    "train": {name: [64] for name in ("ann", "bob", "eve", "fay")},
    "validation": {"cat": [5], "dan": [6]},
}


@pytest.fixture(scope="module")
def options(tf, tmp_path_factory):
    root = tmp_path_factory.mktemp("data_service")
    return dataclasses.replace(
        small_training(root),
        records=str(write_records_folder(root / "long", CLIPS)),
        stride=1,
        augment=list(AUGMENTATIONS),
        batch_size=8,
        steps_per_epoch=0,
        epochs=2,
    )


@pytest.fixture
def servers():
    """Starts servers as the documentation says, each as a process."""
    page = (ROOT / "docs" / "training.md").read_text()
    dispatcher, worker = re.findall("^    (python -c .*)$", page, re.MULTILINE)
    ports, running = (
        dict(zip((5050, 5051, 5052), free_ports(3), strict=True)),
        {},
    )

    def start(port):
        _, *command = shlex.split(dispatcher if port == 5050 else worker)
        text = " ".join(command).replace("port=5051", f"port={ports[port]}")
        text = text.replace("host1:5051", f"localhost:{ports[port]}")
        text = text.replace("host0:5050", f"localhost:{ports[5050]}")
        text = text.replace("port=5050", f"port={ports[5050]}")
        option, code = text.split(" ", 1)
        running[port] = subprocess.Popen([sys.executable, option, code])
        return running[port]

    for port in ports:
        start(port)
    for port in ports.values():
        wait_for(port)
    yield f"grpc://localhost:{ports[5050]}", running, start
    for process in running.values():
        process.kill()
        process.wait()


def wait_for(port):
    """Waits for a server that must import TensorFlow."""
    for _ in range(240):
        with contextlib.suppress(OSError):
            return socket.create_connection(("localhost", port)).close()
        time.sleep(0.5)
    raise TimeoutError(port)


def test_batches_are_those_of_one_process(tf, options):
    from affwild_omg.training import validation
    from affwild_omg.training.batches import Batches

    own = tf.data.experimental.service
    dispatcher = own.DispatchServer()
    place = dispatcher.target.removeprefix("grpc://")
    worker = own.WorkerServer(own.WorkerConfig(dispatcher_address=place))
    records, strategy = validation.read(options), tf.distribute.get_strategy()

    def batches(data_service):
        changed = dataclasses.replace(options, data_service=data_service)
        made = Batches(changed, records, ("valence", "arousal"), strategy, None)
        # From within a pass into the next one.
        return list(made.between(21, 36, 3, None))

    here, there = batches(None), batches(f"grpc://{place}")
    assert len(here) == len(there) >= 12  # some have nothing to compare
    for one, other in zip(here, there, strict=True):
        assert one.keys() == other.keys()
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name], name)
    del worker


@pytest.fixture(scope="module")
def alone(options):
    """Trains without the service; returns what its workdir holds."""
    from affwild_omg.training import loop

    loop.train(options)
    return read(options.workdir)


@pytest.fixture
def trained(options, servers, tmp_path, monkeypatch):
    """Trains with it and calls functions before steps, by their numbers.

    Returns what the workdir holds in the end.
    """
    from affwild_omg.data import service
    from affwild_omg.training import loop

    helped = dataclasses.replace(
        options, data_service=servers[0], workdir=str(tmp_path / "run")
    )

    def train(before, resume=False):
        steps = itertools.count(1)

        class Step(loop.Step):
            def __call__(self, batch):
                before.get(next(steps), lambda: None)()
                return super().__call__(batch)

        with monkeypatch.context() as patch:
            patch.setattr(service, "MOST", 24)
            patch.setattr(loop, "Step", Step)
            loop.train(helped, resume=resume)
        return read(helped.workdir)

    return train


@pytest.mark.slow
@pytest.mark.parametrize("ends", [False, True])
def test_a_worker_that_stalls_or_is_killed_loses_nothing(
    trained, alone, servers, monkeypatch, caplog, ends
):
    from affwild_omg.data import service

    _, running, _ = servers

    def stop():
        monkeypatch.setattr(service, "PATIENCE_S", 5)
        running[5051].send_signal(signal.SIGKILL if ends else signal.SIGSTOP)

    def go_on():
        running[5051].send_signal(signal.SIGCONT)

    # A pass is of 31 steps.
    before = {4: stop} | ({} if ends else {20: go_on})
    assert trained(before) == alone
    late = re.findall(r"grpc\S+: (\d+) windows? did not come", caplog.text)
    assert sum(map(int, late)) > 0


@pytest.mark.slow
def test_a_training_goes_on_once_workers_run_again(
    trained, alone, servers, monkeypatch
):
    from affwild_omg.data import service

    _, running, start = servers

    def stop():
        monkeypatch.setattr(service, "PATIENCE_S", 5)
        for port in (5051, 5052):
            running[port].kill()
            running[port].wait()

    with pytest.raises(UserError, match=r"\d windows of this pass did not"):
        trained({4: stop})
    monkeypatch.undo()
    for port in (5051, 5052):
        start(port)
    assert trained({}, resume=True) == alone
