"""A training whose windows come from workers is the one without them."""

import dataclasses
import re
import shlex
import signal
import subprocess
import sys

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
    yield f"grpc://localhost:{ports[5050]}", running, start
    for process in running.values():
        process.kill()
        process.wait()


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


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(
    options, servers, tmp_path, monkeypatch
):
    from affwild_omg.data import service
    from affwild_omg.training import loop

    loop.train(options)
    address, running, start = servers
    helped = dataclasses.replace(
        options, data_service=address, workdir=str(tmp_path / "run")
    )
    with monkeypatch.context() as patch:
        # Two workers that must import TensorFlow come late.
        patch.setattr(service, "CONNECT_S", 60)
        steps = []

        class Step(loop.Step):
            def __call__(self, batch):
                steps.append(batch)
                if len(steps) == 4:
                    patch.setattr(service, "PATIENCE_S", 5)
                    running[5051].send_signal(signal.SIGKILL)
                    running[5051].wait()
                return super().__call__(batch)

        patch.setattr(loop, "Step", Step)
        with pytest.raises(UserError, match=r"\d windows? of this pass"):
            loop.train(helped)
    start(5051)
    loop.train(helped, resume=True)
    assert read(helped.workdir) == read(options.workdir)
