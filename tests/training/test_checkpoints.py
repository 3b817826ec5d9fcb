"""What is killed and resumed ends as what was never disturbed, to the bit."""

import dataclasses
import errno
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import to_flags
from affwild_omg.training.options import TrainingOptions
from tests.conftest import ROOT, write_records_folder
from tests.evaluation.test_results import ccc_by_hand

CLIPS = {
    "train": {"ann": [8, 8], "bob": [8, 4], "eve": [9], "fay": [8]},
    "validation": {"cat": [5], "dan": [6]},
}
# Kills itself before a step, and not by an exception, as a command line.
DRIVER = """
import os, sys
from affwild_omg import train
from affwild_omg.training import loop

class Step(loop.Step):
    left, number = int(sys.argv.pop(1)), int(sys.argv.pop(1))

    def __call__(self, batch):
        Step.left -= 1
        if not Step.left:
            os.kill(os.getpid(), self.number)
        return super().__call__(batch)

loop.Step = Step
train.main()
"""


class Killed(BaseException):
    """Stands for a kill: nothing in the code catches it."""


@pytest.fixture(scope="module")
def training(tf):
    from affwild_omg.training import loop

    return loop


def label_by_video(key, frames):
    # Those of one video are equal: some batches have nothing to compare.
    return np.full((frames, 2), ord(key[0]) / 128 - 0.8)


def small_training(root, labels=label_by_video, **changes):
    """Writes records; returns the options of a training that is traced fast."""
    settings = {
        "records": str(write_records_folder(root / "records", CLIPS, labels)),
        "workdir": str(root / "whole"),
        "taps": ["fc"],
        "depth": 1,
        "width": 0.03,
        "units": 4,
        "sequence_length": 4,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "epochs": 3,
        "steps_per_epoch": 4,
        "checkpoint_every": "3",
    }
    return TrainingOptions(**settings | changes)


@pytest.fixture(scope="module")
def options(tf, tmp_path_factory):
    return small_training(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def snapshots(training, options, tmp_path_factory):
    """Trains undisturbed; returns workdirs as they were between any two files.

    Every file comes to its place, and goes, by one call of the system, before
    which the folder is copied: {"<number> before <file>": copy}.
    """
    folder, found, seen = tmp_path_factory.mktemp("snapshots"), {}, None
    workdir = pathlib.Path(options.workdir)

    def before(function):
        def call(path, *args, **settings):
            nonlocal seen
            path = pathlib.Path(path)
            files = {
                (x, x.stat().st_ino)
                for x in workdir.rglob("*")
                if not x.name.startswith(".partial")
            }
            if workdir in path.parents and files != seen:
                seen = files
                name = f"{len(found)} before {path.name}"
                place = found[name] = folder / name
                shutil.copytree(workdir, place, copy_function=os.link)
            return function(path, *args, **settings)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", before(os.replace))
        patch.setattr(os, "unlink", before(os.unlink))
        training.train(options)
    return found


@pytest.fixture(scope="module")
def whole(options, snapshots):
    return read(options.workdir)


def read(workdir):
    """Reads all that must not depend on what happened, from the files."""
    found = {}
    for name in ("last.keras", "best.keras"):
        path = pathlib.Path(workdir, name)
        found[name] = arrays(path), timeless(state_of(path))
    text = pathlib.Path(workdir, "history.json").read_text()
    return found | {"history": timeless(json.loads(text))}


def arrays(path):
    """Reads the weights of a model file, and the optimizer's if it has any."""
    with zipfile.ZipFile(path) as archive:
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    found = {}

    def keep(place, item):
        if isinstance(item, h5py.Dataset):
            found[place] = item[()].tobytes()

    weights.visititems(keep)
    assert len(found) > 20
    return found


def state_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("training.json"))


def timeless(state):
    for entry in state.get("epochs", ()):
        assert entry.pop("frames_per_second") > 0
    for name in ("workdir", "keep_checkpoints", "data_service"):
        state.get("options", {}).pop(name, None)
    return state


def resumed(training, options, workdir):
    again = dataclasses.replace(options, workdir=str(workdir))
    training.train(again, resume=True)
    return read(workdir)


def stop_before(training, patch, step):
    """Lets the next training be killed before one of its steps."""
    taken = []

    class Step(training.Step):
        def __call__(self, batch):
            taken.append(batch)
            if len(taken) == step:
                raise Killed
            return super().__call__(batch)

    patch.setattr(training, "Step", Step)


def test_a_run_that_was_killed_ends_where_the_whole_one_does(
    training, options, whole, tmp_path, monkeypatch, caplog
):
    """Killed before any checkpoint, in the second epoch, and out of space."""
    workdir = tmp_path / "run"
    own = dataclasses.replace(options, workdir=str(workdir), keep_checkpoints=3)
    for step in (2, 7):
        with monkeypatch.context() as patch:
            stop_before(training, patch, step)
            with pytest.raises(Killed):
                training.train(own, resume=workdir.exists())
        if step == 2:
            assert not workdir.exists()
            workdir.mkdir()  # as a kill would leave it
    assert "holds no checkpoint of this training yet: it starts" in caplog.text
    # The best epoch ends with a checkpoint, whatever --checkpoint_every is.
    assert state_of(workdir / "last.keras")["step"] == 4
    with monkeypatch.context() as patch:

        def full(*args, **settings):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(zipfile.ZipFile, "writestr", full)
        with pytest.raises(UserError) as raised:
            training.train(own, resume=True)
    assert str(raised.value) == (
        f"--workdir={workdir}: step 8 cannot be saved (No space left on "
        "device); make space, and --resume goes on from step 4"
    )
    assert resumed(training, own, workdir) == whole
    # Of steps 3, 4, 8 and 12 the last three, and the best that they knew.
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {
        *(f"step_{step:09}.keras" for step in (4, 8)),
        *(f"best_{epoch:09}.keras" for epoch in (1, 2)),
    }


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_what_cannot_be_read_is_not_damaged(
    training, options, whole, tmp_path, monkeypatch, number
):
    workdir = shutil.copytree(options.workdir, tmp_path / "run")
    before = {x: x.read_bytes() for x in workdir.rglob("*.keras")}
    opened = pathlib.Path.open

    class Failing(io.FileIO):
        def readinto(self, buffer):
            raise OSError(number, os.strerror(number))

        def read(self, size=-1):
            raise OSError(number, os.strerror(number))

    def failing(path, *mode, **how):
        if path.name == "last.keras":
            return Failing(path)
        return opened(path, *mode, **how)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "open", failing)
        with pytest.raises(OSError, match=os.strerror(number)):
            resumed(training, options, workdir)
    assert {x: x.read_bytes() for x in workdir.rglob("*.keras")} == before


@pytest.mark.parametrize(
    ("number", "way_out"),
    [(errno.EDQUOT, "make space"), (errno.EROFS, "mend that")],
)
def test_a_first_checkpoint_that_fails_leaves_what_was_there(
    training, options, whole, tmp_path, monkeypatch, number, way_out
):
    """And a training that ended so is not gone on with by --resume."""
    workdir = shutil.copytree(options.workdir, tmp_path / "run")
    before = {x.name for x in workdir.iterdir()}
    own = dataclasses.replace(options, workdir=str(workdir))

    def failing(*args, **settings):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "writestr", failing)
        with pytest.raises(UserError) as raised:
            training.train(own, overwrite=True)
    why = f"step 3 cannot be saved ({os.strerror(number)}); {way_out}"
    assert str(raised.value).endswith(f"{why}, or name another folder")
    left = {x.name for x in workdir.iterdir()}
    assert left - {".partial-tensorboard"} == before
    assert resumed(training, own, workdir) == whole


def test_between_two_files_all_is_there(training, options, whole, snapshots):
    """The checkpoint and the best model are there, but not the history."""
    (workdir, *_) = (
        place
        for place in snapshots.values()
        if (place / "best.keras").is_file()
    )
    assert state_of(workdir / "last.keras")["step"] == 4
    assert not (workdir / "history.json").exists()
    own = dataclasses.replace(options, keep_checkpoints=1)
    assert resumed(training, own, workdir) == whole
    assert not any((workdir / "checkpoints").iterdir())


@pytest.mark.slow
def test_between_any_two_files_all_is_there(
    training, options, whole, snapshots
):
    assert len(snapshots) > 15
    for name, place in snapshots.items():
        assert resumed(training, options, place) == whole, name


def damage(path):
    """Changes a byte, within the weights."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # it may be linked from elsewhere
    path.write_bytes(content)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    training, options, whole, tmp_path, monkeypatch, caplog
):
    workdir = shutil.copytree(options.workdir, tmp_path / "run")
    damage(workdir / "last.keras")
    kept = arrays(workdir / "checkpoints" / "best_000000002.keras")
    with monkeypatch.context() as patch:
        stop_before(training, patch, 1)
        with pytest.raises(Killed):
            resumed(training, options, workdir)
    (line,) = [x for x in caplog.messages if "damaged" in x]
    assert line == (
        f"{workdir}/last.keras is damaged; the training goes on from the "
        "checkpoint before it, of step 8"
    )
    # All else is as it was then.
    assert state_of(workdir / "last.keras")["step"] == 8
    assert arrays(workdir / "best.keras") == kept
    history = json.loads((workdir / "history.json").read_text())
    assert (history["best_epoch"], len(history["epochs"])) == (2, 2)
    assert resumed(training, options, workdir) == whole


def test_checkpoints_that_cannot_be_used_are_named(
    training, options, whole, tmp_path, monkeypatch
):
    checkpoints = training.checkpoints
    workdir = shutil.copytree(options.workdir, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "VERSION", 0)
        with pytest.raises(UserError, match="last.keras is of a newer versio"):
            checkpoints.newest(workdir)
    # Of the best models only the last two are there.
    for epoch in (3, 2):
        checkpoints.set_best(workdir, None, None, epoch, current=False, keep=2)
        assert state_of(workdir / "best.keras") == {"epoch": epoch}
    with pytest.raises(UserError, match="best.keras is not the model of epo"):
        checkpoints.set_best(workdir, None, None, 1, current=False, keep=2)
    damage(workdir / "last.keras")
    (before,) = (workdir / "checkpoints").iterdir()
    assert checkpoints.newest(workdir).path == before
    before.write_bytes(before.read_bytes()[:999])
    with pytest.raises(UserError, match="last.keras, .*08.keras are damaged"):
        checkpoints.newest(workdir)
    # Of an earlier version.
    with zipfile.ZipFile(workdir / "last.keras", "w") as archive:
        archive.writestr("card.json", "{}")
    with pytest.raises(UserError, match="last.keras is of an earlier versio"):
        checkpoints.newest(workdir)


def test_minutes_ask_for_a_checkpoint(training, options):
    own = dataclasses.replace(options, checkpoint_every="10min")
    run = training._Run(
        own,
        training.validation.read(own),
        training.card_of(own),
        training.default_strategy(),
    )
    now = time.monotonic()
    run.unsaved, run.saved_at = 9999, now - 500
    assert not run._due()
    run.saved_at = now - 601
    assert run._due()
    run.unsaved = 0  # as after an hour of computing features
    assert not run._due()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_run_in_other_numbers_is_resumed_to_the_bit(
    training, options, tmp_path, monkeypatch, precision
):
    """Its model is one of float32 to what evaluates it."""
    from affwild_omg.evaluation import evaluator
    from affwild_omg.evaluation.options import EvaluationOptions
    from affwild_omg.weights import model_file

    whole = dataclasses.replace(
        options,
        workdir=str(tmp_path / "whole"),
        precision=precision,
        epochs=2,
        steps_per_epoch=2,
        checkpoint_every="1",
    )
    (_, last) = training.train(whole)["epochs"]
    half = dataclasses.replace(whole, workdir=str(tmp_path / "half"))
    with monkeypatch.context() as patch:
        stop_before(training, patch, 4)
        with pytest.raises(Killed):
            training.train(half)
    assert state_of(tmp_path / "half" / "last.keras")["step"] == 3
    assert resumed(training, half, half.workdir) == read(whole.workdir)
    card = model_file.read_card(tmp_path / "whole" / "last.keras", flag="")
    assert card.computation == {
        "precision": precision,
        "jit_compile": False,
        "tf32": False,
    }
    found = evaluator.evaluate(
        EvaluationOptions(
            model=f"{whole.workdir}/last.keras",
            records=whole.records,
            split="validation",
            output=str(tmp_path / "evaluation"),
        )
    )
    for i, target in enumerate(found.targets):
        ccc = ccc_by_hand(found.labels[:, i], found.predictions[:, i])
        stated = last["validation"][target]["ccc"]
        assert stated == pytest.approx(ccc, abs=0.02)


def test_what_is_overwritten_stays_until_the_first_checkpoint(
    training, options, tmp_path, monkeypatch
):
    first = dataclasses.replace(
        options, workdir=str(tmp_path / "run"), epochs=1, steps_per_epoch=3
    )
    training.train(first)
    before = read(first.workdir)
    other = dataclasses.replace(first, seed=1)
    for step, same in ((2, True), (4, False)):
        with monkeypatch.context() as patch:
            stop_before(training, patch, step)
            with pytest.raises(Killed):
                training.train(
                    dataclasses.replace(other, epochs=2), overwrite=True
                )
        assert (read(first.workdir) == before) == same


def test_what_an_overwriting_run_began_goes_on_in_its_place(
    training, options, tmp_path, monkeypatch, caplog
):
    """The earlier one, whose files are there, is not taken for it."""
    first = dataclasses.replace(
        options, workdir=str(tmp_path / "run"), epochs=1, steps_per_epoch=3
    )
    training.train(first)
    before, last = read(first.workdir), tmp_path / "run" / "last.keras"
    number = last.stat().st_ino

    def kill(options):
        with monkeypatch.context() as patch:
            stop_before(training, patch, 2)
            with pytest.raises(Killed):
                training.train(options, overwrite=True)
        assert last.stat().st_ino == number

    kill(first)
    training.train(first, resume=True)
    assert (
        "no checkpoint of this training yet: it starts anew, and what is there "
        "gives way to its first checkpoint; to go on with that, remove .partial"
    ) in caplog.text
    assert last.stat().st_ino != number and read(first.workdir) == before
    number = last.stat().st_ino
    elsewhere = tmp_path / "elsewhere"
    for changes in (
        {"seed": 1},
        {"records": str(write_records_folder(elsewhere, CLIPS))},
    ):
        kill(dataclasses.replace(first, **changes))
        for _ in range(2):  # with what the earlier one had, that goes on
            training.train(first, resume=True)
            assert last.stat().st_ino == number
    kept = [x for x in last.parent.iterdir() if x.name.startswith(".partial")]
    assert not kept and read(first.workdir) == before


@pytest.mark.parametrize("resume", [True, False])
def test_two_trainings_do_not_share_a_workdir(
    training, options, tmp_path, lock_holder, resume
):
    own = dataclasses.replace(options, workdir=str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    lock_holder(tmp_path / "run" / ".partial-lock")
    with pytest.raises(UserError, match="run: another training is at work th"):
        training.train(own, resume=resume, overwrite=not resume)


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on(options, whole, tmp_path):
    """By kill -9, again and again, in processes of their own."""
    own = dataclasses.replace(options, workdir=str(tmp_path / "run"))

    def call(step):
        return subprocess.run(
            [sys.executable, "-c", DRIVER, str(step), str(int(signal.SIGKILL))]
            + ["--resume"] * (tmp_path / "run").exists()
            + to_flags(own, defaults=False),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )

    for step in (2, 5, 3):
        assert call(step).returncode == -signal.SIGKILL
    done = call(0)
    assert done.returncode == 0, done.stderr
    assert read(own.workdir) == whole
