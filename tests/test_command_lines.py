"""The commands as a user meets them: flags, help, and errors in one line."""

import fnmatch
import functools
import json
import pathlib
import runpy
import shutil
import signal
import subprocess
import sys
import zipfile

import pytest
import setuptools
from absl import flags, logging

from affwild_omg.cli import app as cli
from affwild_omg.cli import progress
from affwild_omg.cli.errors import UserError
from tests.conftest import write_records_folder
from tests.evaluation.test_results import write_folder

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "affwild_omg"
COMMANDS = sorted(
    path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"
)
REQUIRED = {
    *("annotations", "checkpoint", "corpus", "first", "model", "output"),
    *("predictions", "records", "results", "runs", "second", "source"),
    *("table", "test", "validation", "video", "workdir"),
}
NAN = float("nan")
AGAIN = "make the records again with python -m affwild_omg.prepare --overwrite"
MEND = "the command that prepared the records, without --shard or --merge,"
HEAVY = {
    "cv2",
    "dlib",
    "jinja2",
    "keras",
    "matplotlib",
    "mtcnn",
    "numpy",
    "pandas",
    "scipy",
    "tensorflow",
}


@pytest.fixture
def load(monkeypatch):
    """Runs one command's file, with its flags and no other's."""
    own = flags.FLAGS
    verbosity = logging.get_verbosity()
    define = {x: getattr(flags, x) for x in ("DEFINE_bool", "DEFINE_string")}
    every = []

    def load(name):
        # Anew each time: no flag may be defined twice.
        every.append(defined := flags.FlagValues())
        defined.append_flag_values(own)  # absl's own, such as --verbosity
        monkeypatch.setattr(flags, "FLAGS", defined)
        for kind, function in define.items():
            function = functools.partial(function, flag_values=defined)
            monkeypatch.setattr(flags, kind, function)
        return runpy.run_path(str(PACKAGE / f"{name}.py"))["main"]

    yield load
    for defined in every:
        defined.unparse_flags()
    logging.set_verbosity(verbosity)


@pytest.fixture
def call(load, capfd):
    """Runs a command in this process: (exit code, stdout, stderr)."""

    def call(name, *arguments):
        main, interrupted = load(name).args
        capfd.readouterr()
        code = 0
        try:
            argv = cli.parse([name, *map(str, arguments)])
            cli.guarded(main, argv, interrupted)
        except SystemExit as error:
            code = error.code
        return code, *capfd.readouterr()

    return call


def assert_one_line(outcome, *words):
    assert outcome[0] == 2
    assert outcome[1] == ""
    lines = outcome[2].splitlines()
    # A progress bar may stand above.
    assert len([line for line in lines if "error" in line]) == 1, outcome
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in outcome[2]
    for word in words:
        assert word in lines[-1]


def helped(*arguments):
    """Asks for help in a new process: its lines, and all that was imported."""
    program = (
        "import runpy, sys\n"
        "sys.argv = [sys.argv[1], '--help']\n"
        "try:\n"
        "    if sys.argv[0].endswith('.py'):\n"
        "        runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "    else:\n"
        "        runpy.run_module(sys.argv[0], run_name='__main__')\n"
        "finally:\n"
        "    print('imported', *sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *lines, imported = done.stdout.splitlines()
    return lines, set(imported.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_quick_and_complete(name):
    lines, imported = helped(f"affwild_omg/{name}.py")
    assert "absl.flags" in imported
    assert not HEAVY & imported
    assert f"{name}.py:" in lines  # no path
    overwrites = any("--[no]overwrite" in line for line in lines)
    assert overwrites == (name not in ("demo", "serve"))


@pytest.mark.parametrize(
    ("script", "flag"),
    [
        ("train.py", "  --[no]list_architectures: "),
        ("evaluate.py", "  --annotations: "),
        ("export.py", "  --model: "),
        ("affwild_omg.importers.tf1", "  --checkpoint: "),
    ],
)
def test_other_ways_to_a_command_show_its_help(script, flag):
    lines, _ = helped(script)
    assert any(line.startswith(flag) for line in lines)
    assert "flags:" in lines[1:7]


def test_all_commands_and_files_are_installed(monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    runpy.run_path(str(ROOT / "setup.py"))
    assert sorted(given["entry_points"]["console_scripts"]) == [
        "affwild-compare = affwild_omg.compare:main",
        "affwild-demo = affwild_omg.demo:main",
        "affwild-describe = affwild_omg.describe:main",
        "affwild-evaluate = affwild_omg.evaluate:main",
        "affwild-export = affwild_omg.export:main",
        "affwild-fuse = affwild_omg.fuse:main",
        "affwild-import-tf1 = affwild_omg.import_tf1:main",
        "affwild-predict = affwild_omg.predict:main",
        "affwild-prepare = affwild_omg.prepare:main",
        "affwild-report = affwild_omg.reporting:main",
        "affwild-reproduce = affwild_omg.reproduce:main",
        "affwild-serve = affwild_omg.serve:main",
        "affwild-train = affwild_omg.train:main",
    ]
    left_out = [
        str(path)
        for path in PACKAGE.rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc")
        and not any(
            fnmatch.fnmatch(str(path.relative_to(PACKAGE)), pattern)
            for pattern in given["package_data"]["affwild_omg"]
        )
    ]
    assert left_out == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_explained(load, name):
    before = set(flags.FLAGS)
    load(name)
    for flag in set(flags.FLAGS) - before:
        text, default = flags.FLAGS[flag].help, flags.FLAGS[flag].default
        assert len(text.split()) > 1 and text.endswith("."), flag
        # absl shows every default but None, which is that of required flags.
        shown = default is not None or "(default: " in text
        assert shown or flag in REQUIRED, flag


def test_all_networks_are_listed_with_nothing_else_given(call):
    from affwild_omg.published.networks import NETWORKS

    code, out, err = call("train", "--list_architectures")
    assert (code, err) == (0, "")
    header, *rows = out.splitlines()
    assert header.startswith("name ")
    assert [row.split()[0] for row in rows] == list(NETWORKS)
    (row,) = [row for row in rows if row.startswith("cnn_3rnn ")]
    for cell in ("pool2, pool5, fc", "66,249,538", "0.472 0.329 0.401"):
        assert cell in row


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --workdir=w", ["--records is missing; see --help"]),
        ("train --records=r --workdir=w --epochs=many", ["--epochs=many"]),
        (
            "train --records=r --workdir=w --landmarks=maybe",
            ["--landmarks=maybe: Non-boolean argument to boolean flag; see"],
        ),
        ("train --flagfile=nowhere.cfg", ["nowhere.cfg"]),
        ("export --modle=m", ["'modle'", "model"]),
        ("export word --model=m --output=o", ["'word' is not a flag; flags"]),
        (
            "prepare --corpus=aff",
            ["--corpus=aff", "<omg|affwild|affwild2|framelist|afewva>"],
        ),
        ("reporting --output=o", ["--table or --results is missing; see"]),
    ],
)
def test_wrong_flags_are_told_in_a_line(call, line, words):
    assert_one_line(call(*line.split()), *words)


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("train --workdir=w", "records init_from"),
        ("evaluate --output=o", "model records"),
        ("evaluate --output=o", "predictions annotations"),
        ("export --output=o", "model"),
        ("predict --output=o", "model video"),
        ("serve", "model"),
        ("prepare --corpus=omg --records=new", "source"),
        ("compare --output=o", "first second"),
        ("reporting --output=o", "results records"),
        ("reporting --output=o --table=5", "runs"),
        ("reproduce --output=o --table=5", "records"),
    ],
)
def test_a_path_that_does_not_exist_is_told_at_once(
    call, monkeypatch, tmp_path, line, flags
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    monkeypatch.setattr("builtins.__import__", light(__import__))
    for missing in flags.split():
        paths = [
            f"--{flag}={'nowhere' if flag == missing else 'there'}"
            for flag in flags.split()
        ]
        outcome = call(*line.split(), *paths)
        assert_one_line(outcome, f"--{missing}=nowhere does not exist")


def light(load):
    """Returns an `import` that fails on what takes seconds."""

    def find(name, *given):
        assert name.split(".")[0] not in {"tensorflow", "keras"}
        return load(name, *given)

    return find


@pytest.fixture(scope="module")
def shelf(small_run, small_records, small_saved_model, tmp_path_factory):
    """A folder with good and bad input for every command, by short names."""
    shelf = tmp_path_factory.mktemp("shelf")
    workdir = pathlib.Path(small_run[0].workdir)
    (shelf / "workdir").symlink_to(workdir)
    (shelf / "saved").symlink_to(small_saved_model)
    (shelf / "records").symlink_to(small_records)
    (shelf / "text.keras").write_text("this is not a model")
    (shelf / "text.mp4").write_text("this is not a video")
    _write_uni_task(workdir / "best.keras", shelf / "uni.keras")
    (shelf / "empty").mkdir()
    (shelf / "odd").mkdir()
    (shelf / "odd" / "omg_TrainVideos.csv").write_text("link,start,end\n")
    (shelf / "unfinished").mkdir()
    (shelf / "unfinished" / "flags.cfg").touch()
    shutil.copytree(small_saved_model, shelf / "broken_saved")
    (shelf / "broken_saved" / "saved_model.pb").write_bytes(b"broken")
    write_records_folder(shelf / "bare", labels=lambda _, n: [[NAN] * 2] * n)
    for name, change in (
        ("cut", lambda data: data[:-1]),
        ("flipped", lambda data: data[:999] + b"?" + data[1000:]),
    ):
        shutil.copytree(small_records, shelf / name)
        (clip,) = (shelf / name / "test" / "eve").glob("utterance_3*")
        clip.write_bytes(change(clip.read_bytes()))
    shutil.copytree(small_records, shelf / "foreign")
    with (shelf / "foreign" / "manifest.json").open("ab") as file:
        file.write(b"\xff")
    for name, split, video in (
        ("val_a", "validation", "v"),
        ("val_b", "validation", "v"),
        ("test_a", "test", "t"),
        ("test_b", "test", "t"),
        ("test_of_others", "test", "o"),
    ):
        text = "video,utterance,arousal,valence\n"
        text += f"{video},u1,0.1,0.1\n{video},u2,0.2,0.2\n"
        write_folder(shelf / name, text, text, split=split)
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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prepare --source=empty", ["--source=empty holds no rows of OMG"]),
        (
            "prepare --source=empty --corpus=afewva",
            ["--source=empty holds no clip of AFEW-VA"],
        ),
        ("prepare --source=empty --frames=crops", ["does not go with"]),
        ("prepare --verify", ["--corpus does not go with --verify"]),
        ("describe --source=odd --strict", ["odd/omg_TrainVideos.csv lacks"]),
        ("evaluate --model=unfinished", ["has finished an epoch"]),
        ("evaluate --model=broken_saved", ["--model=broken_saved is damaged"]),
        ("evaluate --output=text.mp4/out", ["text.mp4/out", "another path"]),
        ("export --model=empty", ["holds no best.keras"]),
        ("predict --video=text.mp4", ["text.mp4", "not a video"]),
        ("serve --model=workdir", ["--model=workdir is not a SavedModel"]),
        ("serve --model=broken_saved", ["--model=broken_saved is damaged"]),
        ("serve --host=256.0.0.1", ["--host=256.0.0.1 --port=0: ", "another"]),
        ("evaluate --records=cut", ["_3.mp4.tfrecord has ", "cut off", MEND]),
        ("evaluate --records=flipped", ["_3.mp4", "record 1 of 1 is da", MEND]),
        ("train --records=foreign", ["json is not a manifest of rec", AGAIN]),
        ("train --records=bare", ["in train has a label of valence"]),
        ("train --resume", ["holds no training"]),
        (
            "train --architecture=model_fusion_fc --members=workdir,uni.keras",
            ["--members must have the same targets", "against valence"],
        ),
        ("train --init_from=nowhere", ["--init_from=nowhere does not exist"]),
        ("import_tf1 --output=text.keras", ["--output=text.keras exists"]),
        ("fuse --test=test_a,test_of_others", ["lacks 2 (t/u1, t/u2)"]),
        ("reporting --runs=text.mp4", ["--runs=text.mp4 is no"]),
        ("reproduce --records=bare", ["has a label of valence; prepare"]),
        ("compare --second=test_of_others", ["lacks 2 (t/u1, t/u2)"]),
    ],
)
def test_bad_input_is_told_in_a_line(shelf, call, monkeypatch, line, words):
    good = {
        "prepare": "--corpus=omg --records=new/records",
        "describe": "--corpus=omg --output=new/description",
        "evaluate": "--model=workdir --records=records --output=new/out",
        "export": "--model=workdir --output=new/saved",
        "predict": "--model=workdir --video=text.mp4 --output=new/out",
        "serve": "--model=saved --port=0",
        "train": "--records=records --workdir=new --batch_size=2",
        "import_tf1": "--checkpoint=text.mp4 --output=new.keras",
        "fuse": "--validation=val_a,val_b --test=test_a,test_b --output=new",
        "compare": "--first=test_a --second=test_b --output=new",
        "reporting": "--table=5 --runs=empty --output=new",
        "reproduce": "--table=5 --records=records --output=new",
    }
    monkeypatch.chdir(shelf)
    before = sorted(shelf.rglob("*"))
    name, *changes = line.split()
    assert_one_line(call(name, *good[name].split(), *changes), *words)
    assert sorted(shelf.rglob("*")) == before


def test_a_corpus_is_described(call, tmp_path, caplog):
    header = "link,start,end,video,utterance,arousal,valence\n"
    (tmp_path / "omg_TrainVideos.csv").write_text(
        header + "x,0,1,v,u1.mp4,0.5,-0.5\nx,0,1,v,u2.mp4,0.5,-5\n"
    )
    output = tmp_path / "description"
    line = f"describe --corpus=omg --source={tmp_path} --output={output}"
    code, out, _ = call(*line.split())
    assert code == 0
    (told,) = caplog.messages
    assert "line 3: valence '-5' must be a number in [-1, 1]" in told
    *shown, last = out.splitlines()
    assert shown[1].split()[:4] == ["train", "1", "231", "1"]
    assert last == f"description in {output}"
    kept = (output / "description.txt").read_text().splitlines()
    assert kept == [*shown, told]
    assert (output / "labels.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("first\n  second"), 2, "error: first second"),
        (
            PermissionError(13, "Permission denied", "/out"),
            2,
            "error: /out: Permission denied; check its permissions and the "
            "free space, or name another path",
        ),
        (
            OSError("odd"),
            2,
            "error: odd; check its permissions and the free space, or name "
            "another path",
        ),
        (KeyboardInterrupt(), 130, "interrupted: go on"),
    ],
)
def test_errors_end_below_an_open_bar(load, capfd, error, code, line):
    def main():
        bar = progress.bar(range(9), description="going", unit="step")
        for _ in bar:
            # Where log lines go.
            stream = logging.get_absl_handler().python_handler.stream
            stream.write("a line above the bar\n")
            raise error

    load("export")
    argv = cli.parse(["x", "--model=m", "--output=o"])
    capfd.readouterr()
    with pytest.raises(SystemExit) as raised:
        cli.guarded(main, argv, "go on")
    assert raised.value.code == code
    lines = capfd.readouterr().err.replace("\r", "\n").splitlines()
    assert lines[-1] == line
    assert "a line above the bar" in [text.strip() for text in lines]
    assert [text for text in lines if "going" in text][0].startswith("going")


def test_a_fault_of_the_program_keeps_its_traceback(load):
    def main():
        raise RuntimeError("a bug")

    load("export")
    with pytest.raises(RuntimeError, match="a bug"):
        cli.guarded(main, cli.parse(["x", "--model=m", "--output=o"]), "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_told_to_stop_is_one_line(number):
    """Also where a library makes an error of its own of it, as if tracing."""
    program = (
        "import time\n"
        "from affwild_omg.cli import app\n"
        "def main():\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    except BaseException:\n"
        "        raise TypeError('in user code') from None\n"
        "app.run(main, 'go on')\n"
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
    assert errors == "interrupted: go on\n"


def test_the_flagfile_starts_the_same_run_again(small_run, call, tmp_path):
    options, summary = small_run
    code, out, _ = call(
        "train",
        f"--flagfile={options.workdir}/flags.cfg",
        f"--workdir={tmp_path}/again",
    )
    assert code == 0
    assert f"best epoch {summary['best_epoch']} of 3" in out
    again = json.loads((tmp_path / "again" / "history.json").read_text())
    for one, other in zip(summary["epochs"], again["epochs"], strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-4)


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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "compare --first=test_a --second=test_b",
            "arousal: the difference of 0.000",
        ),
        (
            "fuse --validation=val_a,val_b --test=test_a,test_b",
            "fused 1.000 1.000 1.000",
        ),
        ("reporting --table=8 --runs=empty", "Table 8: Other systems"),
    ],
)
def test_tables_are_told_on_standard_output(
    shelf, call, monkeypatch, tmp_path, line, words
):
    monkeypatch.chdir(shelf)
    code, out, _ = call(*line.split(), f"--output={tmp_path}/out")
    assert code == 0
    assert words in " ".join(out.split())
    assert f"in {tmp_path}/out" in out.splitlines()[-1]


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
