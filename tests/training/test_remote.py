"""Records, workdirs, results and exports on S3 are as on this machine."""

import dataclasses
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import to_flags
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.serving.options import ExportOptions
from affwild_omg.storage import files

# Stops the server before a step.
DRIVER = """
import os, signal, sys
from affwild_omg import train
from affwild_omg.training import loop

class Step(loop.Step):
    left, server = int(sys.argv.pop(1)), int(sys.argv.pop(1))

    def __call__(self, batch):
        Step.left -= 1
        if not Step.left:
            os.kill(Step.server, signal.SIGSTOP)
        return super().__call__(batch)

loop.Step = Step
train.main()
"""


def put(folder, target):
    for path in files.within(folder):
        (target / path.relative_to(folder)).put(path)
    return target


# For the session, as is the server: a worker may come back to this module.
@pytest.fixture(scope="session")
def remote_records(s3, small_records):
    from affwild_omg.storage import remote

    return put(small_records, remote.path("s3://bucket/small"))


@pytest.fixture(scope="session")
def remote_run(remote_records, small_run):
    """The short run on S3, in two parts: its options and summary."""
    from affwild_omg.training import loop

    options = dataclasses.replace(
        small_run[0],
        records=str(remote_records),
        workdir="s3://bucket/small_run",
        epochs=2,
    )
    loop.train(options)
    options = dataclasses.replace(options, epochs=3)
    return options, loop.train(options, resume=True)


def weights(workdir):
    from affwild_omg.storage import remote
    from affwild_omg.weights import model_file

    found = {}
    for name in ("best.keras", "last.keras"):
        model, _ = model_file.load_model(remote.path(workdir) / name)
        found |= {(name, x.path): x.numpy() for x in model.weights}
    return found


def test_records_are_read_as_on_this_machine(remote_records, small_records):
    from affwild_omg.data import manifest, pipeline

    batches = []
    for folder in (small_records, remote_records):
        records = manifest.read(folder)
        records.check("train", labels=["valence"])
        for elsewhere in (False, True):  # as a worker of a service reads
            windows = pipeline.windows(
                records.clips("train"),
                sequence_length=4,
                tail="pad",
                elsewhere=elsewhere,
            )
            batches.append(list(windows.as_numpy_iterator()))
        assert [x.damage() for x in records.clips("test")] == [None, None]
    for other in batches[1:]:
        keras.tree.map_structure(
            np.testing.assert_array_equal, batches[0], other
        )


def test_damage_is_told_from_a_file_that_is_gone(bucket, small_records):
    from affwild_omg.data import manifest

    put(small_records, bucket)
    records = manifest.read(bucket)
    one, other = records.clips("test")
    data = bytearray(one.path.read_bytes())
    data[100] ^= 1
    with files.whole(one.path) as unfinished:
        unfinished.write_bytes(data)
    assert f"{one.path}: record 1 of 1 damaged" in one.damage()
    other.path.unlink()
    with pytest.raises(UserError, match=f"{other.path} is missing although"):
        records.check("test")
    with pytest.raises(UserError, match=f"--records={bucket}x holds no"):
        manifest.read(f"{bucket}x")


def test_a_server_that_fails_is_no_damage(
    tf, remote_records, bucket, monkeypatch
):
    from affwild_omg.data import manifest, pipeline
    from affwild_omg.training import checkpoints
    from affwild_omg.weights import model_file

    records = manifest.read(remote_records)
    files.write_text(bucket / "last.keras", "a checkpoint" * 99)

    class Down:
        def __init__(self, *_):
            pass

        def seek(self, place):
            raise tf.errors.UnknownError(None, None, ": is down")

        read = seek

        def close(self):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

    monkeypatch.setattr(tf.io.gfile, "GFile", Down)
    windows = pipeline.windows(
        records.clips("train"), sequence_length=4, tail="pad"
    )
    with (
        pytest.raises(
            ConnectionError, match="^s3:.*: it cannot be reached .is down.$"
        ),
        records.reading("train"),
    ):
        list(windows)
    for ask in (
        lambda: manifest.read(remote_records),
        lambda: records.clips("train")[0].damage(),
        lambda: checkpoints.newest(bucket),
        lambda: model_file.read_card(bucket / "last.keras"),
        lambda: model_file.load_weights(None, bucket / "last.keras"),
    ):
        with pytest.raises(ConnectionError, match="is down"):
            ask()


def test_a_resumed_training_is_the_same_to_the_bit(small_run, remote_run):
    for here, there in zip(
        *(x[1]["epochs"] for x in (small_run, remote_run)), strict=True
    ):
        assert here["loss"] == there["loss"]
        assert here["validation"] == there["validation"]
    for key in ("best_epoch", "records_sha256"):
        assert small_run[1][key] == remote_run[1][key]
    here, there = (weights(x[0].workdir) for x in (small_run, remote_run))
    assert here.keys() == there.keys()
    for name in here:
        np.testing.assert_array_equal(here[name], there[name], str(name))


def test_the_workdir_holds_the_same_files(small_run, remote_run):
    from affwild_omg.storage import remote

    held = []
    for options, _ in (small_run, remote_run):
        workdir = remote.path(options.workdir)
        names = [str(x.relative_to(workdir)) for x in files.within(workdir)]
        held.append([x for x in names if not x.startswith("tensorboard/")])
        assert len(names) > len(held[-1])  # its events
    assert held[0] == held[1]


def test_events_can_be_read_there(tf, remote_run):
    from affwild_omg.storage import remote

    steps = set()
    workdir = remote.path(remote_run[0].workdir)
    for path in files.within(workdir / "tensorboard"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            steps |= {
                event.step for x in event.summary.value if x.tag == "loss"
            }
    assert steps == {1, 2, 3}


def test_results_and_exports_are_the_same(
    bucket, small_run, remote_run, remote_records, small_saved_model, tmp_path
):
    from affwild_omg.evaluation import evaluator, results
    from affwild_omg.inference.predictor import load_predictor
    from affwild_omg.serving import exporting
    from affwild_omg.storage import remote

    tables = []
    for options, output in (
        (small_run[0], tmp_path / "results"),
        (remote_run[0], bucket / "results"),
    ):
        evaluator.evaluate(
            EvaluationOptions(
                model=options.workdir,
                records=options.records,
                output=str(output),
            )
        )
        assert results.read(output, flag="--results", frames=True).frames
        output = remote.path(output)
        tables.append(
            {
                name: (output / name).read_bytes()
                for name in ("predictions.csv", "frames.csv", "scatter.png")
            }
        )
    assert tables[0] == tables[1]
    exported = exporting.export(
        ExportOptions(
            model=remote_run[0].workdir,
            output=str(bucket / "export"),
            format=["saved_model", "onnx"],
            results=str(bucket / "results"),
        ),
        metrics=results.read(bucket / "results", flag="--results").to_dict(),
    )
    assert exported == bucket / "export"
    random = np.random.default_rng(0)
    inputs = {
        "frames": random.integers(0, 255, (1, 4, 96, 96, 3), np.uint8),
        "landmarks": random.uniform(0, 96, (1, 4, 68, 2)).astype(np.float32),
        "mask": np.ones((1, 4), bool),
    }
    expected = load_predictor(small_saved_model).predict(inputs)
    np.testing.assert_array_equal(
        load_predictor(exported).predict(inputs), expected
    )
    np.testing.assert_allclose(
        load_predictor(exported, runtime="onnxruntime").predict(inputs),
        expected,
        atol=1e-5,
    )


def run(*command, **environment):
    """Runs a command line: its exit code and its lines."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.slow
def test_a_server_that_stops_answering_is_an_interruption(
    s3, bucket, small_run, remote_run
):
    options = dataclasses.replace(
        remote_run[0], workdir=str(bucket), checkpoint_every="1"
    )
    # In the second epoch.
    steps = len(small_run[1]["epochs"]) and 6
    try:
        code, lines = run(
            *("-c", DRIVER, steps, s3.pid, *to_flags(options)),
            S3_REQUEST_TIMEOUT_MSEC="1000",
            AWS_MAX_ATTEMPTS="1",
        )
    finally:
        s3.send_signal(signal.SIGCONT)
    assert code == 2, lines
    assert lines[-1].startswith("error: ")
    assert "it cannot be reached" in lines[-1] and "--resume" in lines[-1]
    code, lines = run("train.py", "--resume", *to_flags(options))
    assert code == 0, lines
    here, there = (weights(x) for x in (small_run[0].workdir, bucket))
    for name in here:
        np.testing.assert_array_equal(here[name], there[name], str(name))


@pytest.mark.slow
def test_command_lines_end_with_0(bucket, small_run, remote_records):
    records = str(remote_records)
    options = dataclasses.replace(
        small_run[0], records=records, workdir=str(bucket / "run"), epochs=1
    )
    more = dataclasses.replace(options, epochs=2)
    evaluated = EvaluationOptions(
        model=options.workdir,
        records=options.records,
        output=str(bucket / "results"),
    )
    exported = ExportOptions(
        model=options.workdir,
        output=str(bucket / "export"),
        results=evaluated.output,
    )
    validated = dataclasses.replace(evaluated, split="validation")
    for command in (
        ("train.py", *to_flags(options)),
        ("train.py", "--resume", *to_flags(more)),
        ("evaluate.py", *to_flags(evaluated)),
        ("evaluate.py", "--overwrite", *to_flags(validated)),
        ("evaluate.py", "--overwrite", *to_flags(evaluated)),
        ("export.py", *to_flags(exported)),
        ("-m", "affwild_omg.prepare", "--verify", f"--records={records}"),
    ):
        code, lines = run(*command)
        assert code == 0, lines
    assert (bucket / "export" / "saved_model.pb").is_file()
    code, lines = run("train.py", *to_flags(options))
    assert code == 2
    assert f"--workdir={bucket}/run is not empty" in lines[-1]
