"""A training whose windows come from workers is the one without them."""

import dataclasses
import itertools
import re
import signal

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.paper.windows import AUGMENTATIONS
from tests.conftest import serve_windows, write_records_folder
from tests.training.test_checkpoints import read, small_training

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
    """Servers that a test may end and start again."""
    with serve_windows(2) as found:
        yield found


def test_batches_are_those_of_one_process(tf, options, windows_servers):
    from affwild_omg.training import validation
    from affwild_omg.training.batches import Batches

    records, strategy = validation.read(options), tf.distribute.get_strategy()

    def batches(data_service):
        changed = dataclasses.replace(options, data_service=data_service)
        made = Batches(changed, records, ("valence", "arousal"), strategy, None)
        # From within a pass into the next one.
        return list(made.between(21, 36, 3, None))

    here, there = batches(None), batches(windows_servers[0])
    assert len(here) == len(there) >= 12  # some have nothing to compare
    for one, other in zip(here, there, strict=True):
        assert one.keys() == other.keys()
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name], name)


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
        options, data_service=servers[0][0], workdir=str(tmp_path / "run")
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
        running[1].send_signal(signal.SIGKILL if ends else signal.SIGSTOP)

    def go_on():
        running[1].send_signal(signal.SIGCONT)

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
        for number in (1, 2):
            running[number].kill()
            running[number].wait()

    with pytest.raises(UserError, match=r"\d windows of this pass did not"):
        trained({4: stop})
    monkeypatch.undo()
    for number in (1, 2):
        start(number)
    assert trained({}, resume=True) == alone
