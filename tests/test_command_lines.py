"""The doorways as a user meets them: flags, help, and errors in one line."""

import dataclasses
import json
import pathlib
import runpy
import shutil
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from absl import flags, logging

from affwild_omg.cli import app as cli
from affwild_omg.cli import progress
from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import VGG_BLOCKS, VGG_CONVS
from tests.conftest import make_clip, write_records_folder
from tests.evaluation.test_results import write_folder

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOORWAYS = {
    "train": "train.py",
    "evaluate": "evaluate.py",
    "export": "export.py",
    "prepare": "affwild_omg/prepare.py",
    "predict": "affwild_omg/predict.py",
    "fuse": "affwild_omg/fuse.py",
    "compare": "affwild_omg/compare.py",
    "demo": "affwild_omg/demo.py",
    "reproduce": "affwild_omg/reproduce.py",
    "reporting": "affwild_omg/reporting.py",
    "tf1": "affwild_omg/import_tf1.py",
}
HEAVY = {
    "cv2",
    "dlib",
    "keras",
    "matplotlib",
    "mtcnn",
    "numpy",
    "tensorflow",
}


@pytest.fixture
def open_doorway(monkeypatch):
    """Defines one doorway's flags, and no other's; returns its names."""
    own = flags.FLAGS
    verbosity = logging.get_verbosity()
    defined = flags.FlagValues()
    defined.append_flag_values(own)  # absl's own, such as --verbosity
    monkeypatch.setattr(flags, "FLAGS", defined)
    for kind in ("string", "integer", "float", "bool", "enum", "list"):
        define = getattr(flags, f"DEFINE_{kind}")

        def with_values(*arguments, define=define, **settings):
            return define(*arguments, flag_values=defined, **settings)

        monkeypatch.setattr(flags, f"DEFINE_{kind}", with_values)
    validator = flags.register_multi_flags_validator

    def validate(*arguments, **settings):
        return validator(*arguments, flag_values=defined, **settings)

    monkeypatch.setattr(flags, "register_multi_flags_validator", validate)
    yield lambda name: runpy.run_path(str(ROOT / DOORWAYS[name]))
    defined.unparse_flags()
    logging.set_verbosity(verbosity)


@pytest.fixture
def call(open_doorway, capfd):
    """Runs a doorway in this process: (exit code, stdout, stderr)."""

    def call(name, *arguments):
        main = open_doorway(name)["main"]
        capfd.readouterr()
        code = 0
        try:
            cli.guarded(main, cli.parse([name, *map(str, arguments)]))
        except SystemExit as error:
            code = error.code
        return code, *capfd.readouterr()

    return call


def assert_one_line(outcome, code, *words):
    assert outcome[0] == code
    assert outcome[1] == ""
    lines = outcome[2].splitlines()
    # A progress bar may stand above.
    assert len([line for line in lines if "error" in line]) == 1, outcome
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in outcome[2]
    for word in words:
        assert word in lines[-1]


@pytest.mark.parametrize("name", DOORWAYS)
def test_help_is_quick_and_complete(name):
    program = (
        "import runpy, sys\n"
        "sys.argv = [sys.argv[1], '--help']\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n"
        "    print('imported', *sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, DOORWAYS[name]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *text, imported = done.stdout.splitlines()
    imported = set(imported.split())
    assert "absl.flags" in imported
    assert not HEAVY & imported
    overwrites = any("--[no]overwrite" in line for line in text)
    assert overwrites == (name != "demo")


def test_an_installed_module_shows_its_help_too():
    done = subprocess.run(
        [sys.executable, "-m", "affwild_omg.prepare", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0
    for flag in ("--corpus", "--source", "--records", "--[no]overwrite"):
        assert flag in done.stdout


@pytest.mark.parametrize("name", [name for name in DOORWAYS if name != "demo"])
def test_flags_are_the_options_and_their_defaults(tf, open_doorway, name):
    from affwild_omg.evaluation import comparison as comparing
    from affwild_omg.evaluation import evaluator as evaluation
    from affwild_omg.evaluation import fusion as fusing
    from affwild_omg.experiments import reproduction as reproducing
    from affwild_omg.experiments import tabulation as tabulating
    from affwild_omg.inference import video as predicting
    from affwild_omg.preparation import engine as preparing
    from affwild_omg.reports import report as run_report
    from affwild_omg.serving import saved_model as exporting
    from affwild_omg.training import loop as training
    from affwild_omg.weights import tf1 as tf1_checkpoint

    options = {
        "train": training.Options,
        "evaluate": evaluation.Options,
        "export": exporting.Options,
        "prepare": preparing.Options,
        "predict": predicting.Options,
        "fuse": fusing.Options,
        "compare": comparing.Options,
        "reproduce": reproducing.Options,
        "reporting": tabulating.Options,
        "tf1": tf1_checkpoint.Options,
    }[name]
    before = set(flags.FLAGS)
    open_doorway(name)
    fields = {field.name: field for field in dataclasses.fields(options)}
    extra = {"overwrite"}
    if name == "train":
        extra |= {"resume", "list_architectures"}
    if name == "evaluate":
        extra |= {"predictions", "annotations", "match"}
    if name == "reporting":  # of a run, in the place of a table
        report = dataclasses.fields(run_report.Options)
        extra |= {field.name for field in report} - fields.keys()
        for field in report:
            if field.default is not dataclasses.MISSING:
                assert flags.FLAGS[field.name].default == field.default
    assert set(flags.FLAGS) - before == fields.keys() | extra
    for field in fields.values():
        flag = flags.FLAGS[field.name]
        if field.default is dataclasses.MISSING:
            assert flag.default is None
        else:
            assert flag.default == field.default
            assert type(flag.default) is type(field.default)


def test_all_networks_are_listed_with_nothing_else_given(call):
    from affwild_omg.published.networks import NETWORKS

    code, out, err = call("train", "--list_architectures")
    assert (code, err) == (0, "")
    header, *rows = out.splitlines()
    assert header.split()[:5] == [
        "name",
        "backbone",
        "taps",
        "recurrence",
        "parameters",
    ]
    assert [row.split()[0] for row in rows] == list(NETWORKS)
    (row,) = [row for row in rows if row.startswith("cnn_3rnn ")]
    for cell in (
        "vgg_face",
        "pool2, pool5, fc",
        "3 GRU stacks",
        "66,249,538",
        "0.472 0.329 0.401",
        "tables 3 and 5",
    ):
        assert cell in row


@pytest.mark.parametrize("name", DOORWAYS)
def test_every_flag_is_explained(open_doorway, name):
    before = set(flags.FLAGS)
    open_doorway(name)
    for flag in set(flags.FLAGS) - before:
        text = flags.FLAGS[flag].help
        assert len(text.split()) > 1 and text.endswith("."), flag


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--workdir=w"], ["--records is missing; see --help"]),
        (["evaluate", "--model=m", "--output=o"], ["--records is missing"]),
        (["evaluate", "--model=m", "--records=r"], ["--output is missing"]),
        (["export", "--modle=m"], ["'modle'", "model"]),
        (
            ["train", "--records=r", "--workdir=w", "--epochs=many"],
            ["--epochs=many"],
        ),
        (
            ["prepare", "--corpus=aff", "--source=s", "--records=r"],
            ["--corpus=aff", "omg|demo"],
        ),
        (
            ["train", "--records=r", "--workdir=w", "--width=half"],
            ["--width=half"],
        ),
        (["train", "--flagfile=nowhere.cfg"], ["nowhere.cfg"]),
        (
            ["reporting", "--output=o"],
            ["error: --table or --results must be given, and not both"],
        ),
        (
            ["reporting", "--output=o", "--table=5", "--results=r"],
            ["--table or --results", "not both"],
        ),
        (
            ["reporting", "--output=o", "--table=5"],
            ["error: --runs goes with --table"],
        ),
        (
            ["reporting", "--output=o", "--table=9", "--runs=r"],
            ["--table=9", "[3, 8]"],
        ),
        (["reproduce", "--output=o", "--table=5"], ["--records is missing"]),
        (
            ["compare", "--first=a"],
            ["--second is missing", "--output is missing"],
        ),
        (
            ["fuse", "--test=t,u"],
            ["--validation is missing", "--output is missing"],
        ),
    ],
)
def test_wrong_flags_are_told_in_a_line(call, arguments, words):
    assert_one_line(call(*arguments), 1, *words)


def test_a_stray_word_is_no_flag(call):
    outcome = call("export", "model", "--model=m", "--output=o")
    assert_one_line(outcome, 2, "'model' is no flag")


@pytest.fixture(scope="module")
def shelf(small_run, small_records, small_saved_model, tmp_path_factory):
    """A folder with good and bad input for every doorway, by short names."""
    shelf = tmp_path_factory.mktemp("shelf")
    workdir = pathlib.Path(small_run[0].workdir)
    (shelf / "workdir").symlink_to(workdir)
    (shelf / "saved").symlink_to(small_saved_model)
    (shelf / "records").symlink_to(small_records)
    (shelf / "text.keras").write_text("this is no model")
    model = (workdir / "best.keras").read_bytes()
    (shelf / "half.keras").write_bytes(model[: len(model) // 2])
    _write_uni_task(workdir / "best.keras", shelf / "uni.keras")
    (shelf / "unfinished").mkdir()
    (shelf / "unfinished" / "flags.cfg").touch()
    shutil.copytree(small_saved_model, shelf / "broken_saved")
    (shelf / "broken_saved" / "saved_model.pb").write_bytes(b"broken")

    (shelf / "full").mkdir()
    (shelf / "full" / "file").touch()
    (shelf / "empty").mkdir()
    (shelf / "text.mp4").write_text("this is no video")
    header = "link,start,end,video,utterance,arousal,valence\n"
    for name, text in {
        "no_arousal": header.replace("arousal,", "") + "x,0,1,v,u.mp4,0\n",
        "bad_label": header + "x,0,1,v,u.mp4,1.5,0\n",
        "no_clips": header + "x,0,1,v,u.mp4,0.5,0\n",
    }.items():
        (shelf / name).mkdir()
        (shelf / name / "omg_TrainVideos.csv").write_text(text)
    shutil.copytree(shelf / "no_clips", shelf / "no_video")
    (shelf / "no_video" / "v").mkdir()
    (shelf / "no_video" / "v" / "u.mp4").write_text("this is no video")

    from affwild_omg.data import records

    shutil.copytree(small_records, shelf / "other_manifest")
    manifest = json.loads((small_records / "manifest.json").read_text())
    (shelf / "other_manifest" / "manifest.json").write_text(
        json.dumps(manifest | {"schema_version": 0})
    )
    shutil.copytree(small_records, shelf / "other_record")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "SCHEMA_VERSION", 2)
        records.write_records(
            shelf / "other_record" / "test" / "eve.tfrecord",
            [make_clip("eve", "u", 2, 0)],
        )
    write_records_folder(shelf / "bare", valence=[], arousal=[])
    _write_vgg_face(shelf / "fitting.npz", lambda size: round(0.03 * size))
    _write_vgg_face(shelf / "wide.npz", lambda size: 3)
    _write_results(shelf)
    run = shelf / "runs" / "cnn_3rnn-scratch" / "seed_0" / "test"
    run.mkdir(parents=True)
    (run / "metrics.json").write_text('{"utterances": 0}')
    return shelf


def _write_uni_task(model, path):
    """Writes a model file whose card says that it predicts valence alone."""
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "card.json":
                card = json.loads(content)
                card["architecture"]["targets"] = ["valence"]
                content = json.dumps(card)
            new.writestr(name, content)


def _write_vgg_face(path, channels):
    """Writes VGG-Face's convolutions with so many channels each."""
    arrays, inputs = {}, 3
    sizes = [size for block in VGG_BLOCKS for size in block]
    for name, size in zip(VGG_CONVS, sizes, strict=True):
        outputs = channels(size)
        arrays[f"{name}_W"] = np.zeros((3, 3, inputs, outputs), "f")
        arrays[f"{name}_b"] = np.zeros(outputs, "f")
        inputs = outputs
    np.savez(path, **arrays)


def _write_results(shelf):
    """Writes the results of two runs, and some to be refused."""
    header = "video,utterance,arousal,valence\n"
    rows = "{0},u1,0.1,0.1\n{0},u2,0.2,0.2\n"
    for name, split, video in (
        ("val_a", "validation", "v"),
        ("val_b", "validation", "v"),
        ("test_a", "test", "t"),
        ("test_b", "test", "t"),
        ("test_of_others", "test", "o"),
    ):
        text = header + rows.format(video)
        write_folder(shelf / name, text, text, split=split)
    text = header + rows.format("v")
    bad = text.replace("0.2\n", "high\n")
    write_folder(shelf / "val_text", bad, text, split="validation")
    write_folder(shelf / "val_twice", text + "v,u1,0,0\n", text)
    write_folder(shelf / "val_bare", text, split="validation")
    turned = header + "v,u1,0.2,0.1\nv,u2,0.1,0.2\n"
    for name in ("val_bad_a", "val_bad_b"):
        write_folder(shelf / name, turned, text, split="validation")


def shelved(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prepare --source=nowhere", ["--source=nowhere is no folder"]),
        ("prepare --source=empty", ["omg_TrainVideos.csv"]),
        ("prepare --source=no_arousal", ["lacks column arousal"]),
        ("prepare --source=bad_label", ["line 2: arousal '1.5'", "[0, 1]"]),
        ("prepare --source=no_clips", ["none of the tables' 1 clips"]),
        ("prepare --source=no_clips --records=full", ["--overwrite"]),
        ("prepare --source=no_clips --records=text.mp4", ["is a file"]),
        ("prepare --source=no_video", ["not one clip", "u.mp4: no video"]),
        ("prepare --source=full --corpus=demo", ["full"]),
        ("prepare --source=empty --detect_every=0", ["at least 1, not 0"]),
        ("evaluate --model=nowhere", ["--model=nowhere does not exist"]),
        ("evaluate --model=unfinished", ["has finished an epoch"]),
        ("evaluate --model=text.keras", ["no model file of this project"]),
        ("evaluate --model=half.keras", ["--model=half.keras is damaged"]),
        ("evaluate --model=broken_saved", ["--model=broken_saved is damaged"]),
        ("evaluate --records=nowhere", ["manifest.json", "prepare"]),
        ("evaluate --records=other_manifest", ["schema version 0"]),
        ("evaluate --records=other_record", ["schema version 2", "again"]),
        ("evaluate --output=full", ["--output=full is not empty"]),
        ("evaluate --output=text.mp4/out", ["text.mp4/out", "another place"]),
        ("evaluate --batch_size=0", ["--batch_size must be at least 1"]),
        ("evaluate --predictions=text.mp4", ["--annotations", "neither"]),
        (
            "evaluate --model= --records= --annotations=text.mp4",
            ["--predictions goes with --annotations"],
        ),
        (
            "evaluate --model= --records= --predictions=text.mp4 "
            "--annotations=text.mp4 --level=frame",
            ["--level goes with --model", "leave it out"],
        ),
        (
            "evaluate --match=order",
            ["--match goes with --predictions", "leave it out"],
        ),
        ("export --model=saved", ["is a SavedModel", "workdir"]),
        ("export --model=half.keras", ["--model=half.keras is damaged"]),
        ("export --model=empty", ["holds no best.keras"]),
        ("export --output=full", ["--overwrite"]),
        ("predict --video=nowhere.mp4", ["nowhere.mp4: no such video"]),
        ("predict --video=text.mp4", ["text.mp4: no video"]),
        ("predict --video=empty", ["a directory"]),
        ("predict --output=text.mp4", ["--output=text.mp4 is a file"]),
        ("predict --output=full", ["--output=full is not empty"]),
        ("predict --sequence_length=-1", ["at least 0, not -1"]),
        ("train --architecture=cnn_9rnn", ["cnn_3rnn", "'cnn_9rnn'"]),
        ("train --records=bare", ["have no labels"]),
        ("train --records=other_manifest", ["schema version 0"]),
        ("train --workdir=full", ["--workdir=full is not empty"]),
        ("train --workdir=text.mp4/run", ["text.mp4/run"]),
        ("train --width=0", ["width must be in (0, 1]"]),
        ("train --seed=-1", ["--seed must be in [0, 2^32), not -1"]),
        ("train --resume", ["holds no run"]),
        ("train --taps=pool2,pool9", ["vgg_face, not 'pool9'"]),
        ("train --taps=fc,fc", ["taps names one of them twice"]),
        ("train --backbone=resnet50", ["resnet50, not 'pool2'"]),
        (
            "train --members=vgg_face,cnn_1rnn",
            ["--members is for model_fusion"],
        ),
        (
            "train --architecture=model_fusion_fc --members=workdir,nowhere",
            ["--members=nowhere does not exist"],
        ),
        (
            "train --architecture=model_fusion_fc --members=workdir,uni.keras",
            ["--members must have the same targets", "against valence"],
        ),
        ("train --init_from=nowhere", ["--init_from=nowhere does not exist"]),
        ("train --init_from=empty", ["--init_from=empty holds no best.keras"]),
        (
            "train --init_from=text.mp4",
            ["not a weight file", "VGG-Face as Oxford"],
        ),
        ("train --init_from=half.keras", ["--init_from=half.keras", "damaged"]),
        (
            "train --width=0.03 --init_from=wide.npz",
            ["no weight of wide.npz", "conv1_1: kernel 3x3x3x3 there"],
        ),
        (
            "train --width=0.03 --init_from=fitting.npz --init_strict",
            ["not every weight of fitting.npz", "only here: fc, pool2_gru1"],
        ),
        ("train --init_strict", ["nothing without --init_from"]),
        ("tf1 --checkpoint=nowhere", ["nowhere: no such checkpoint"]),
        ("tf1 --output=model.h5", ["--output=model.h5 must end in .keras"]),
        ("tf1 --output=text.keras", ["--output=text.keras exists"]),
        ("fuse --validation=val_a --test=test_a", ["1 run;", "two or more"]),
        ("fuse --validation=val_a", ["1 folders and --test 2", "same order"]),
        ("fuse --test=test_a,test_a", ["--test=test_a is the same folder"]),
        ("fuse --test=test_a,", ["--test has an empty place"]),
        ("fuse --output=val_a", ["is the same folder as --validation=val_a"]),
        ("fuse --output=full", ["--output=full is not empty"]),
        ("fuse --output=text.mp4/out", ["text.mp4/out", "another place"]),
        ("fuse --test=test_a,nowhere", ["--test=nowhere is no folder"]),
        ("fuse --test=test_a,empty", ["--test=empty holds no metrics.json"]),
        ("fuse --test=test_a,test_of_others", ["lacks 2 (t/u1, t/u2)"]),
        ("fuse --validation=val_a,val_text", ["line 3: valence 'high'"]),
        ("fuse --validation=val_a,val_twice", ["line 4: v/u1", "in line 2"]),
        ("fuse --validation=val_a,val_bare", ["holds no labels.csv"]),
        ("fuse --validation=test_of_others,val_b", ["is of split test"]),
        ("fuse --validation=val_bad_a,val_bad_b", ["CCC in arousal", "(-1)"]),
        ("reporting --runs=nowhere", ["--runs=nowhere is no folder"]),
        ("reporting --runs=runs", ["--runs=runs/", "holds no predictions.csv"]),
        ("reporting --output=text.mp4", ["--output=text.mp4 is a file"]),
        ("reproduce --rows=vnet", ["--rows must be of table 5's", "'vnet'"]),
        ("reproduce --options=epoch=1", ["of train.py's", "not 'epoch'"]),
        ("reproduce --options=width=2", ["width must be in (0, 1], not 2.0"]),
        ("reproduce --records=nowhere", ["--records=nowhere holds no manif"]),
        ("reproduce --records=bare", ["have no labels"]),
        (
            "reproduce --affwild2_records=nowhere",
            ["--affwild2_records=nowhere holds no manifest.json"],
        ),
        ("reproduce --output=text.mp4", ["--output=text.mp4 is a file"]),
        ("compare --second=test_a", ["--second=test_a is the same folder"]),
        ("compare --output=test_b", ["is the same folder as --second=test_b"]),
        ("compare --output=full", ["--output=full is not empty"]),
        ("compare --first=nowhere", ["--first=nowhere is no folder"]),
        ("compare --second=empty", ["--second=empty holds no metrics.json"]),
        ("compare --second=val_b", ["of split test, --second=val_b of valid"]),
        ("compare --second=test_of_others", ["lacks 2 (t/u1, t/u2)", "adds 2"]),
        ("compare --first=val_text", ["line 3: valence 'high'"]),
    ],
)
def test_bad_input_is_told_in_a_line(shelf, call, monkeypatch, line, words):
    good = {
        "prepare": "--corpus=omg --records=new/records",
        "evaluate": "--model=workdir --records=records --output=new/out",
        "export": "--model=workdir --output=new/saved",
        "predict": "--model=workdir --video=text.mp4 --output=new/out",
        "train": "--records=records --workdir=new",
        "tf1": "--checkpoint=text.mp4 --output=new.keras",
        "fuse": "--validation=val_a,val_b --test=test_a,test_b --output=new",
        "compare": "--first=test_a --second=test_b --output=new",
        "reporting": "--table=5 --runs=empty --output=new",
        "reproduce": "--table=5 --records=records --output=new",
    }
    monkeypatch.chdir(shelf)
    before = shelved(shelf)
    name, *changes = line.split()
    assert_one_line(call(name, *good[name].split(), *changes), 2, *words)
    assert shelved(shelf) == before


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("first\n  second"), 2, "error: first second"),
        (
            PermissionError(13, "Permission denied", "/out"),
            2,
            "error: /out: Permission denied; name another place, or see to "
            "its permissions and free space",
        ),
        (
            OSError("odd"),
            2,
            "error: odd; name another place, or see to its permissions and "
            "free space",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_end_below_an_open_bar(open_doorway, capfd, error, code, line):
    def main():
        bar = progress.bar(range(9), description="going", unit="step")
        for _ in bar:
            # Where log lines go.
            stream = logging.get_absl_handler().python_handler.stream
            stream.write("a line above the bar\n")
            raise error

    open_doorway("export")
    argv = cli.parse(["x", "--model=m", "--output=o"])
    capfd.readouterr()
    with pytest.raises(SystemExit) as raised:
        cli.guarded(main, argv)
    assert raised.value.code == code
    lines = capfd.readouterr().err.replace("\r", "\n").splitlines()
    assert lines[-1] == line
    assert "a line above the bar" in [text.strip() for text in lines]
    assert [text for text in lines if "going" in text][0].startswith("going")


def test_a_fault_of_the_program_keeps_its_traceback(open_doorway):
    def main():
        raise RuntimeError("a bug")

    open_doorway("export")
    with pytest.raises(RuntimeError, match="a bug"):
        cli.guarded(main, cli.parse(["x", "--model=m", "--output=o"]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_told_to_stop_is_one_line(number):
    program = (
        "import time\n"
        "from affwild_omg.cli import app\n"
        "def main():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "app.run(main)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "interrupted\n"


def test_the_flagfile_starts_the_same_run_again(small_run, tmp_path):
    options, summary = small_run
    done = subprocess.run(
        [sys.executable, "train.py"]
        + [f"--flagfile={options.workdir}/flags.cfg"]
        + [f"--workdir={tmp_path}/again"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"best epoch {summary['best_epoch']} of 3" in done.stdout
    again = json.loads((tmp_path / "again" / "history.json").read_text())
    # Another process may add in another order, no more than that.
    for one, other in zip(summary["epochs"], again["epochs"], strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-4)
        assert other["validation"]["mean_ccc"] == pytest.approx(
            one["validation"]["mean_ccc"], abs=1e-3
        )


def test_results_are_told_on_standard_output(shelf, call, tmp_path):
    code, out, _ = call(
        "evaluate",
        f"--model={shelf}/saved",
        f"--records={shelf}/records",
        f"--output={tmp_path}/out",
    )
    assert code == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert f"{metrics['arousal']['ccc']:.3f}" in out
    assert out.endswith(f"results in {tmp_path}/out\n")


def test_fused_results_are_told_on_standard_output(
    shelf, call, monkeypatch, tmp_path
):
    monkeypatch.chdir(shelf)
    code, out, _ = call(
        "fuse",
        "--validation=val_a,val_b",
        "--test=test_a,test_b",
        f"--output={tmp_path}/out",
    )
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["CCC", "valence", "arousal", "mean"],
        ["fused", "1.000", "1.000", "1.000"],
        ["equal", "weights", "1.000", "1.000", "1.000"],
        ["best", "single:", "test_a", "1.000", "1.000", "1.000"],
        ["test_a", "1.000", "1.000", "1.000"],
        ["test_b", "1.000", "1.000", "1.000"],
        "2 labelled utterances of test, 2 runs fused".split(),
        ["results", "in", f"{tmp_path}/out"],
    ]


def test_a_table_is_told_on_standard_output(call, tmp_path):
    (tmp_path / "runs").mkdir()
    code, out, _ = call(
        "reporting",
        "--table=8",
        f"--runs={tmp_path}/runs",
        f"--output={tmp_path}/out",
    )
    assert code == 0
    first, *_, last = out.splitlines()
    assert first.startswith("Table 8: Other systems")
    assert last == f"table in {tmp_path}/out/table_8.csv, .json, .md and .png"
    assert "Model-level Fusion + RNN" in out and "not run" in out


def test_compared_results_are_told_on_standard_output(shelf, call, tmp_path):
    code, out, _ = call(
        "compare",
        f"--first={shelf}/test_a",
        f"--second={shelf}/test_b",
        f"--output={tmp_path}/out",
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[1].split() == (
        ["valence", "first", "1.000", "-", "1.000", "-", "0.000"]
    )
    assert lines[-3].startswith("arousal: 1.000 against 1.000; the difference")
    assert lines[-1] == f"comparison in {tmp_path}/out"


def test_fusing_and_comparing_need_no_network():
    program = (
        "import sys\n"
        "from affwild_omg.evaluation import comparison, fusion\n"
        "print(*{'tensorflow', 'keras'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "\n")
