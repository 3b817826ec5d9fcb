"""Rows of tables from records to a table, mostly by a training that is fake."""

import dataclasses
import json
import pathlib
import shutil

import pandas as pd
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.experiments.options import ReproductionOptions
from affwild_omg.experiments.runs import Runs
from affwild_omg.published import tables

TINY = [
    "width=0.03",
    "units=4",
    "fc_units=64",
    "sequence_length=4",
    "batch_size=2",
    "learning_rate=1e-3",
    "epochs=2",
]
CHOSEN = {
    "estimate": "median",
    "targets": {
        "valence": {"median_window": 81, "smoothing_strength": 20.0},
        "arousal": {"median_window": 3, "smoothing_strength": 0.0},
    },
    "sequence_length": 80,
    "search": {},
    "model_sha256": "",
}
TABLE_5 = "cnn_3rnn_conv5_3_pool5_fc"


@pytest.fixture(scope="module")
def reproduction(tf):
    from affwild_omg.experiments import reproduction

    return reproduction


@pytest.fixture
def options(small_records, tmp_path):
    """Makes options of one row of table 5, or of others."""

    def make(**changes):
        good = {
            "table": "5",
            "records": str(small_records),
            "output": str(tmp_path / "out"),
            "pretraining": "none",
            "rows": ["conv5_3_pool5_fc"],
            "options": TINY,
        }
        return ReproductionOptions(**good | changes)

    return make


def states(outcome):
    return {row.key: row.state for row in outcome.tabulated.rows}


@pytest.mark.slow
def test_a_row_end_to_end_interrupted_and_resumed(
    reproduction, options, small_records, monkeypatch, tmp_path
):
    from affwild_omg.training import loop

    output = tmp_path / "out"
    place = output / f"{TABLE_5}-affwild2" / "seed_0"
    own = {"pretraining": "paper", "affwild2_records": str(small_records)}
    save = loop._Run._save

    def save_once(self):
        save(self)
        if self.workdir.name == "workdir":
            raise KeyboardInterrupt

    def epochs():
        history = json.loads((place / "workdir/history.json").read_text())
        return len(history["epochs"])

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_save", save_once)
        with pytest.raises(KeyboardInterrupt):
            reproduction.reproduce(options(**own))
    assert epochs() == 1
    trained = (place / "pretrained" / "best.keras").stat().st_mtime_ns
    outcome = reproduction.reproduce(options(**own))
    outcome.require_all()
    assert epochs() == 2
    assert (place / "pretrained" / "best.keras").stat().st_mtime_ns == trained
    assert sorted(path.name for path in place.iterdir()) == [
        "pretrained",
        "stages.json",
        "test",
        "validation",
        "workdir",
    ]
    (report,) = json.loads((place / "workdir/initialisation.json").read_text())
    assert report["source"] == str(place / "pretrained")
    assert report["fresh"] == {} and report["left"] == {}
    metrics = json.loads((place / "test" / "metrics.json").read_text())
    assert metrics["split"] == "test"
    assert metrics["postprocessing"]  # that of the workdir
    assert metrics["network"]["units"] == 4
    assert metrics["training"]["epochs"] == 2
    table = pd.read_csv(output / "table_5.csv", index_col="key")
    row = table.loc["conv5_3_pool5_fc"]
    assert row["measured_valence_value"] == pytest.approx(
        metrics["valence"]["ccc"], abs=1e-6
    )
    assert "width 0.03, not 1.0" in row["differences"]
    assert "epochs 2, not 50" in row["differences"]
    assert "random first weights" in row["differences"]


@pytest.fixture
def quick(reproduction, monkeypatch):
    """Replaces training and evaluation by what writes their files at once."""
    from affwild_omg import figures
    from affwild_omg.data import manifest
    from affwild_omg.evaluation import evaluator
    from affwild_omg.training import loop
    from tests.evaluation.test_results import write_folder

    for name in ("published_against_measured", "scatter", "plane_histograms"):
        monkeypatch.setattr(figures, name, lambda path, *_, **__: path.touch())

    class Quick:
        failing = ""
        interrupted = ""  # a folder: before it is written
        estimate = "0.2"  # of the second utterance, which is labelled 0.2

        def __init__(self):
            self.calls, self.trained, self.evaluated = [], [], []

        def train(self, options, *, overwrite=False, resume=False):
            workdir = pathlib.Path(options.workdir)
            self.calls.append(f"{'resume' * resume or 'train'} {workdir.name}")
            self.trained.append(options)
            if self.failing and self.failing in options.workdir:
                raise UserError("out of\nmemory")
            if self.interrupted == "first epoch":
                raise KeyboardInterrupt
            workdir.mkdir(parents=True, exist_ok=True)
            text = json.dumps(
                {
                    "epochs": [],
                    "options": dataclasses.asdict(options),
                    "records_sha256": manifest.read(options.records).digest,
                }
            )
            (workdir / "history.json").write_text(text)
            if self.interrupted == workdir.name:
                raise KeyboardInterrupt
            (workdir / "best.keras").write_text(text)

        def evaluate(self, options, *, overwrite):
            output = pathlib.Path(options.output)
            self.calls.append(f"evaluate {output.name}")
            if self.interrupted == output.name:
                raise KeyboardInterrupt
            video = options.split[0]
            text = (
                "video,utterance,arousal,valence\n"
                f"{video},a,0.1,0.1\n{video},b,0.2,0.2\n{video}2,a,0.4,0.4\n"
            )
            shutil.rmtree(output, ignore_errors=True)
            predicted = text.replace("0.2", self.estimate)
            write_folder(output, predicted, text, split=options.split)
            self.evaluated.append(options)
            if options.choose_postprocessing:
                path = pathlib.Path(options.model) / "postprocessing.json"
                path.write_text(json.dumps(CHOSEN))

    quick = Quick()
    # Which takes half a second, and there is nothing to clear.
    monkeypatch.setattr(reproduction.keras.utils, "clear_session", lambda: None)
    monkeypatch.setattr(loop, "train", quick.train)
    monkeypatch.setattr(evaluator, "evaluate", quick.evaluate)
    return quick


@pytest.fixture
def run(reproduction, options, quick):
    """Reproduces a row; returns what was trained and evaluated."""

    def reproduce(overwrite=False, **changes):
        quick.calls.clear()
        quick.trained.clear()
        quick.evaluated.clear()
        run.outcome = reproduction.reproduce(
            options(**changes), overwrite=overwrite
        )
        return list(quick.calls)

    run = reproduce
    return run


ROW = ["train workdir", "evaluate validation", "evaluate test"]


def trained_folders(quick):
    return [pathlib.Path(one.workdir).parts[-3] for one in quick.trained]


def test_what_is_done_is_kept(run, quick, monkeypatch, tmp_path):
    assert run() == ROW
    assert states(run.outcome)["conv5_3_pool5_fc"] == "measured"
    assert states(run.outcome)["pool2_pool5_fc"] == "not run"
    monkeypatch.chdir(tmp_path)  # from wherever it is started
    assert run(output="out") == []
    place = tmp_path / "out" / f"{TABLE_5}-scratch" / "seed_0"
    shutil.rmtree(place / "test")
    assert run() == ["evaluate test"]
    (place / "workdir" / "postprocessing.json").unlink()
    assert run() == ["evaluate validation"]


@pytest.mark.parametrize("pretraining", ["none", "paper"])
def test_an_interrupted_training_is_resumed_wherever_it_was_moved(
    run, quick, small_records, tmp_path, pretraining
):
    weights = tmp_path / "vgg.npz"
    weights.touch()
    own = {"pretraining": pretraining, "affwild2_records": str(small_records)}
    quick.interrupted = "workdir"
    with pytest.raises(KeyboardInterrupt):
        run(weights=[f"vgg_face={weights}"], **own)
    quick.interrupted = ""
    # Other options would not go on with it.
    with pytest.raises(UserError, match=r"holds what is of other .*/workdir\)"):
        run(weights=[f"vgg_face={weights}"], strategy="cnn_fixed", **own)
    (tmp_path / "out").rename(tmp_path / "moved")
    weights = weights.rename(tmp_path / "elsewhere.npz")
    own |= {"output": str(tmp_path / "moved")}
    calls = run(weights=[f"vgg_face={weights}"], **own)
    assert calls == ["resume workdir", *ROW[1:]]


def test_why_a_training_starts_anew_is_told(run, quick, tmp_path, caplog):
    quick.interrupted = "workdir"
    with pytest.raises(KeyboardInterrupt):
        run()
    quick.interrupted = ""
    workdir = tmp_path / "out" / f"{TABLE_5}-scratch" / "seed_0" / "workdir"
    (workdir / "history.json").write_text("{")
    assert run() == ROW
    (told,) = [x for x in caplog.records if x.levelname == "WARNING"]
    assert "history.json is damaged" in told.message
    assert "anew" in told.message and "\n" not in told.message


def test_a_user_s_own_results_are_not_replaced_unasked(run, quick, tmp_path):
    place = tmp_path / "out" / f"{TABLE_5}-scratch" / "seed_0" / "test"
    place.mkdir(parents=True)
    (place / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"seed_0/test\).*--overwrite"):
        run()
    assert quick.calls == []
    assert run(overwrite=True) == ROW


def test_a_row_is_pre_trained_where_its_corpus_is(
    run, quick, small_records, tmp_path
):
    weights = tmp_path / "vgg.npz"
    weights.touch()
    calls = run(
        table="4",
        pretraining="paper",
        affwild_records=str(small_records),
        rows=["cnn_3rnn_affwild", "cnn_3rnn_affwild2"],
        weights=[f"vgg_face={weights}"],
    )
    assert calls == ["train pretrained", *ROW]
    before, after = quick.trained
    assert before.init_from == str(weights)
    assert after.init_from == before.workdir
    assert before.network() == after.network()
    found = states(run.outcome)
    absent = "not run: corpus absent (--affwild2_records"
    assert found.pop("cnn_3rnn_affwild") == "measured"
    assert found.pop("cnn_3rnn_affwild2") == f"{absent})"
    assert set(found.values()) == {"not run"}
    # But for table 4, whose scratch rows are others, there is a way without.
    assert run(pretraining="paper") == []
    way_out = f"{absent}, or --pretraining=none)"
    assert states(run.outcome)["conv5_3_pool5_fc"] == way_out


def test_a_corpus_without_validation_holds_a_part_of_train_out(
    run, quick, small_records, tmp_path
):
    corpus = shutil.copytree(small_records, tmp_path / "affwild")
    path = corpus / "manifest.json"
    content = json.loads(path.read_text())
    del content["splits"]["validation"]
    path.write_text(json.dumps(content))
    own = {
        "table": "4",
        "pretraining": "paper",
        "rows": ["cnn_3rnn_affwild", "cnn_3rnn_affwild2"],
        "affwild_records": str(corpus),
        "affwild2_records": str(small_records),
    }
    run(**own)
    assert [x.holdout for x in quick.trained] == [0.1, 0, 0, 0]
    run(**own, pretrain_options=["holdout=0.3"], overwrite=True)
    assert [x.holdout for x in quick.trained] == [0.3, 0]
    # OMG-Emotion has one; its records must, too.
    with pytest.raises(UserError, match="no utterance of split 'validation'"):
        run(records=str(corpus))


def test_a_training_that_cannot_begin_is_told_before_pre_training(
    run, quick, small_records
):
    """Of each frame alone, labels of utterances are all equal."""
    tiny = [x for x in TINY if not x.startswith(("batch", "sequence"))]
    calls = run(
        table="3",
        rows=["decision_fusion"],
        pretraining="paper",
        affwild2_records=str(small_records),
        options=[
            *tiny,
            "sequence_length=1",
            "batch_size=1",
            "loss_level=frame",
        ],
        pretrain_options=["batch_size=2"],
    )
    assert calls == []
    *members, fused = run.outcome.failed.values()
    for why in members:
        assert why.startswith("--loss_level=frame compares labels of train th")
    assert fused == (
        "it fuses cnn_1rnn-affwild2, cnn_3rnn-affwild2, which failed"
    )


def test_a_row_that_fails_is_named_and_the_others_go_on(run, quick):
    quick.failing = "conv4_1_pool5_fc"
    three = ["conv3_1_pool5_fc", "conv4_1_pool5_fc", "pool2_pool5_fc"]
    run(rows=three)
    assert len(quick.trained) == 3
    assert states(run.outcome)["conv4_1_pool5_fc"] == "failed: out of memory"
    assert list(states(run.outcome).values()).count("measured") == 2
    with pytest.raises(
        UserError, match=r"1 row.*conv4_1_pool5_fc-scratch: out of memory"
    ):
        run.outcome.require_all()
    # Mended, it is the only one that is left to do.
    quick.failing = ""
    run(rows=three)
    run.outcome.require_all()
    assert trained_folders(quick) == ["cnn_3rnn_conv4_1_pool5_fc-scratch"]
    assert list(states(run.outcome).values()).count("measured") == 3


def test_other_options_and_other_records_are_another_training(
    run, quick, small_records, tmp_path
):
    records = tmp_path / "records"
    shutil.copytree(small_records, records)
    own = {"records": str(records)}
    refused = pytest.raises(
        UserError,
        match=r"holds what.*\(cnn_3rnn_conv5_3_pool5_fc-scratch/seed_0/"
        r"workdir\).*--overwrite",
    )
    assert run(**own) == ROW
    with refused:
        run(options=["epochs=3"], **own)
    assert quick.calls == []
    assert run(**own) == []  # and it is still there
    assert run(options=["epochs=3"], overwrite=True, **own) == ROW
    assert run(options=["epochs=3"], **own) == []
    # Records that lie elsewhere are the same records; prepared again, not.
    own = {"records": str(records.rename(tmp_path / "moved"))}
    assert run(options=["epochs=3"], **own) == []
    manifest = tmp_path / "moved" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with refused:
        run(options=["epochs=3"], **own)
    assert run(options=["epochs=3"], overwrite=True, **own) == ROW


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_other_weights_under_the_same_name_are_another_training(
    run, quick, tmp_path, kind
):
    weights = file = tmp_path / "vgg"
    if kind == "folder":
        weights.mkdir()
        file = weights / "best.keras"
    file.write_text("one")
    own = {"weights": [f"vgg_face={weights}"]}
    assert run(**own) == ROW
    if kind == "folder":  # of a workdir the model alone counts
        (weights / "postprocessing.json").touch()
    assert run(**own) == []
    # Wherever they lie.
    moved = weights.rename(tmp_path / "moved")
    assert run(weights=[f"vgg_face={moved}"]) == []
    moved.rename(weights)
    file.write_text("two")
    with pytest.raises(UserError, match="holds what .* or weights"):
        run(**own)
    # Interrupted in its first epoch, it does not resume the earlier one.
    quick.interrupted = "first epoch"
    (last,) = tmp_path.glob("out/*/seed_0/workdir")
    last = last / "last.keras"
    last.touch()
    with pytest.raises(KeyboardInterrupt):
        run(overwrite=True, **own)
    assert not last.exists()
    quick.interrupted = ""
    assert run(**own) == ["train workdir"]  # which gives the same model here


def test_no_training_is_lost_unasked(run, quick, tmp_path):
    place = tmp_path / "out" / f"{TABLE_5}-scratch" / "seed_0"
    refused = pytest.raises(
        UserError, match=r"holds what is of other .*/workdir\)"
    )
    # One that someone put there, and one whose stages were damaged.
    (place / "workdir").mkdir(parents=True)
    (place / "workdir" / "history.json").write_text("by hand")
    for damage in (None, "{"):
        if damage is not None:
            (place / "stages.json").write_text(damage)
        with refused:
            run()
        assert quick.calls == []
    assert (place / "workdir" / "history.json").read_text() == "by hand"
    assert run(overwrite=True) == ROW
    assert run() == []
    # One that someone went on with.
    (place / "workdir" / "best.keras").write_text("after more epochs")
    with refused:
        run()
    assert quick.calls == []


def test_a_pre_training_that_has_served_may_be_removed(
    run, quick, small_records, tmp_path
):
    corpus = shutil.copytree(small_records, tmp_path / "affwild2")
    own = {"pretraining": "paper", "affwild2_records": str(corpus)}
    assert run(**own) == ["train pretrained", *ROW]
    place = tmp_path / "out" / f"{TABLE_5}-affwild2" / "seed_0"
    shutil.rmtree(place / "pretrained")
    assert run(**own) == []
    # With other options or another corpus the training is not the wanted one.
    refused = pytest.raises(UserError, match=r"holds what .*/workdir\)")
    with refused:
        run(options=[*TINY, "patience=3"], **own)
    manifest = corpus / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with refused:
        run(**own)
    assert quick.calls == []
    # What it is needed for again brings it back.
    (place / "workdir" / "best.keras").unlink()
    both = ["train pretrained", "train workdir"]
    assert run(overwrite=True, **own) == both


def test_fusion_of_decisions_brings_its_members(run, quick, tmp_path):
    both = {"table": "3", "rows": ["decision_fusion"], "seeds": ["0", "7"]}
    run(**both)
    run.outcome.require_all()
    assert [
        (folder, one.seed)
        for folder, one in zip(
            trained_folders(quick), quick.trained, strict=True
        )
    ] == [
        ("cnn_1rnn-scratch", 0),
        ("cnn_1rnn-scratch", 7),
        ("cnn_3rnn-scratch", 0),
        ("cnn_3rnn-scratch", 7),
    ]
    (row,) = [x for x in run.outcome.tabulated.rows if "Decision" in x.label]
    assert (row.folder, row.seeds) == ("decision_fusion-scratch", [0, 7])
    # Predictions are the labels: their average, too.
    assert row.measured["mean"].value == pytest.approx(1)
    # Shared with another table, they are trained once.
    run(table="8", rows=None, seeds=["7"])
    assert trained_folders(quick) == ["model_fusion_rnn-scratch"]
    # Predictions that are not what was written are not replaced unasked.
    fused = tmp_path / "out/decision_fusion-scratch/seed_0/test/metrics.json"
    before = fused.stat().st_mtime_ns
    assert run(**both) == []
    assert fused.stat().st_mtime_ns == before
    table = tmp_path / "out/cnn_1rnn-scratch/seed_0/test/predictions.csv"
    written = table.read_text()
    table.write_text(written.replace("0.2", "0.3"))
    with pytest.raises(UserError, match=r"seed_0/test\).*--overwrite"):
        run(**both)
    assert run(overwrite=True, **both) == ["evaluate test"]
    assert table.read_text() == written
    assert fused.stat().st_mtime_ns == before
    # Those of a member that was evaluated anew are fused anew.
    quick.estimate = "0.3"
    table.unlink()
    assert run(**both) == ["evaluate test"]
    assert fused.stat().st_mtime_ns > before


def test_a_fusion_whose_member_fails_fails(run, quick):
    quick.failing = "cnn_1rnn"
    run(table="3", rows=["decision_fusion"])
    failed = run.outcome.failed
    assert set(failed) == {"cnn_1rnn-scratch", "decision_fusion-scratch"}
    assert "fuses cnn_1rnn-scratch" in failed["decision_fusion-scratch"]


def averaged(output, folder):
    """Returns what a run averages, by folder, and the weights of each."""
    text = (output / folder / "seed_0/test/metrics.json").read_text()
    return {
        str(pathlib.Path(x["test"]).relative_to(output)): x["weights"]
        for x in json.loads(text)["members"]
    }


def equal(share):
    return pytest.approx({"valence": share, "arousal": share})


def test_repeated_trainings_are_averaged(run, quick, tmp_path):
    own = {"table": "trainings", "rows": ["repeated"]}
    assert run(**own) == []
    absent = "not run: one seed alone (--seeds)"
    assert states(run.outcome)["repeated"] == absent
    run(seeds=["0", "5"], **own)
    assert trained_folders(quick) == ["cnn_3rnn-scratch"] * 2
    assert [x.seed for x in quick.trained] == [0, 5]
    out = tmp_path / "out"
    assert averaged(out, "cnn_3rnn-over_seeds-scratch") == {
        f"cnn_3rnn-scratch/seed_{seed}/test": equal(1 / 2) for seed in (0, 5)
    }
    (row,) = [x for x in run.outcome.tabulated.rows if x.key == "repeated"]
    assert row.state == "measured" and row.published is None
    assert "network not recorded" in row.differences  # its members'
    # The trainings are those of the row that stands alone.
    assert run(table="3", rows=["cnn_3rnn"], seeds=["5"]) == []
    # While one of them is made anew, the average is not what it says.
    table = out / "cnn_3rnn-scratch/seed_5/test/predictions.csv"
    table.write_text(table.read_text().replace("0.4", "0.3"))
    from affwild_omg.experiments import tabulation

    rows = tabulation.tabulate("trainings", out).rows
    assert {x.key: x.state.split(":")[0] for x in rows} == {
        "once": "measured",
        "repeated": "unfinished",
        "cross_validated": "not run",
    }


def test_ten_folds_are_trained_after_one_pre_training(
    run, quick, tmp_path, monkeypatch
):
    from affwild_omg.data import manifest
    from tests.conftest import FRAMES, write_records_folder

    monkeypatch.setattr(tables, "FOLDS", 3)  # of two utterances each
    clips = FRAMES | {"train": {"ann": [7, 4], "bob": [9, 3]}}
    records = write_records_folder(tmp_path / "records", clips)
    own = {
        "table": "trainings",
        "rows": ["once", "cross_validated"],
        "records": str(records),
        "pretraining": "paper",
        "affwild2_records": str(records),
    }
    calls = run(**own)
    assert calls.count("train pretrained") == 1
    assert calls.count("train workdir") == 4
    folders = [f"cnn_3rnn-fold_{x}-affwild2" for x in range(3)]
    out = tmp_path / "out"
    assert averaged(out, "cnn_3rnn-over_folds-affwild2") == {
        f"{folder}/seed_0/test": equal(1 / 3) for folder in folders
    }
    for number, folder in enumerate(folders):
        training = quick.trained[2 + number]
        place = out / folder / "seed_0"
        assert training.init_from == str(place / "pretrained")
        assert (place / "pretrained" / "best.keras").is_file()
        fold = out / "folds" / "video" / str(number)
        assert training.records == str(fold)
        validation, test = quick.evaluated[2 + 2 * number : 4 + 2 * number]
        assert (validation.records, test.records) == (str(fold), str(records))
        manifest.read(fold).check("validation")  # its files are there
    assert run(**own) == []
    # Each holds its own, which may go once it has served.
    for folder in ("cnn_3rnn-affwild2", *folders):
        shutil.rmtree(out / folder / "seed_0" / "pretrained")
    assert run(**own) == []
    with pytest.raises(UserError, match="have no source in manifest.json"):
        run(folds_by="source", **own)


def test_uni_task_networks_make_one_row(run, quick, tmp_path):
    run(table="tasks", rows=["uni_task"])
    assert [x.targets for x in quick.trained] == [("valence",), ("arousal",)]
    assert trained_folders(quick) == [
        "cnn_3rnn-targets_valence-scratch",
        "cnn_3rnn-targets_arousal-scratch",
    ]
    assert states(run.outcome)["uni_task"] == "measured"


def test_submissions_differ_in_their_post_processing(run, quick, tmp_path):
    calls = run(table="submissions", rows=None)
    assert calls.count("train workdir") == 2
    assert [x.architecture for x in quick.trained] == [
        "cnn2_to_1rnn",
        "cnn_3rnn_conv5_3_pool5_fc",
    ]
    out = tmp_path / "out"
    steps = {"_none": "none", "": "", "_median": "median_filter.json"}
    for options in quick.evaluated:
        split, _, _ = pathlib.Path(options.output).name.partition("_")
        assert options.split == split
        ending = pathlib.Path(options.output).name.removeprefix(split)
        assert pathlib.Path(options.postprocessing).name == steps[ending]
        assert options.choose_postprocessing == (
            split == "validation" and not ending
        )
    assert len(quick.evaluated) == 2 * 3 * 2
    names = [f"{x.architecture}-scratch/seed_0" for x in quick.trained]
    for number, ending in enumerate(("_none", "_median", ""), start=1):
        folder = f"submission_{number}-scratch"
        assert list(averaged(out, folder)) == [
            f"{name}/test{ending}" for name in names
        ]
    kept = json.loads((out / names[0] / "median_filter.json").read_text())
    assert kept["targets"] == {
        "valence": {"median_window": 81, "smoothing_strength": 0.0},
        "arousal": {"median_window": 3, "smoothing_strength": 0.0},
    }
    assert kept["sequence_length"] == 80
    assert run(table="submissions", rows=None) == []


@pytest.mark.parametrize(
    ("table", "name", "values"),
    [
        ("lengths", "sequence_length", [40, 60, 80, 100]),
        ("encoders", "landmark_units", [None, 512, 1024, 2048]),
    ],
)
def test_comparisons_differ_in_one_option(run, quick, table, name, values):
    run(table=table, rows=None, options=["epochs=2"])
    assert [getattr(x, name) for x in quick.trained] == values
    alike = [
        dataclasses.replace(x, **{name: values[-1]}, workdir="")
        for x in quick.trained
    ]
    assert alike == alike[-1:] * len(values)


def test_table_4_without_pre_training_is_its_scratch_rows(run, quick):
    run(table="4", rows=None)
    assert trained_folders(quick) == [
        "cnn_1rnn-scratch",
        "cnn_3rnn-scratch",
        "model_fusion_rnn-scratch",
    ]
    for key, state in states(run.outcome).items():
        expected = "measured" if key.endswith("scratch") else "not run"
        assert state == expected


def test_rows_take_the_options_that_they_have(run, quick, tmp_path):
    weights = tmp_path / "vgg.npz"
    weights.touch()
    run(
        table="3",
        rows=["vgg_face", "resnet50", "model_fusion_fc"],
        options=["width=0.5", "units=3", "fusion_units=2", "fc_units=9"],
        weights=[f"vgg_face={weights}"],
        strategy="end_to_end_slow",
    )
    vgg, resnet, fusion = quick.trained
    assert (vgg.width, vgg.units, vgg.fusion_units) == (0.5, None, None)
    assert (resnet.width, resnet.fc_units) == (None, 9)
    assert (fusion.width, fusion.units, fusion.fusion_units) == (0.5, 3, 2)
    # CNNs have the rate of section 6.1.
    assert [one.learning_rate for one in quick.trained] == [1e-4, 1e-4, 1e-5]
    assert [one.sequence_length for one in quick.trained] == [80] * 3
    assert [one.init_from for one in quick.trained] == [
        str(weights),
        None,
        str(weights),
    ]


def test_records_of_other_landmarks_are_refused_at_once(
    run, quick, small_records, tmp_path
):
    other = shutil.copytree(small_records, tmp_path / "mesh")
    content = json.loads((other / "manifest.json").read_text())
    text = json.dumps(content | {"landmarks": "mediapipe"})
    (other / "manifest.json").write_text(text)
    with pytest.raises(
        UserError,
        match=f"--affwild2_records={other} has landmarks by mediapipe, and "
        f"--records={small_records} by dlib; prepare all with the same",
    ):
        run(pretraining="paper", affwild2_records=str(other))
    assert not quick.trained


def test_a_fixed_cnn_learns_in_pre_training(run, quick, small_records):
    run(
        table="3",
        rows=["cnn_3rnn", "vgg_face"],
        pretraining="paper",
        affwild2_records=str(small_records),
        strategy="cnn_fixed",
        # The small records have three windows of the default length.
        options=["epochs=9", "freeze_batch_norm=false", "batch_size=2"],
        pretrain_options=["epochs=3", "learning_rate=2e-5", "loss_level=frame"],
    )
    assert [
        (x.architecture, x.train, x.learning_rate, x.epochs, x.loss_level)
        for x in quick.trained
    ] == [
        ("vgg_face", "all", 2e-5, 3, "frame"),
        ("vgg_face", "all", 1e-4, 9, "sequence"),
        ("cnn_3rnn", "all", 2e-5, 3, "frame"),
        ("cnn_3rnn", "head", 1e-3, 9, "sequence"),
    ]
    assert not any(x.freeze_batch_norm for x in quick.trained)
    assert not quick.trained[0].init_from


def test_an_overwriting_call_that_is_interrupted_shows_no_old_scores(
    run, quick, tmp_path
):
    from affwild_omg.experiments import tabulation

    run()
    quick.interrupted = "validation"
    with pytest.raises(KeyboardInterrupt):
        run(options=[*TINY, "patience=3"], overwrite=True)
    # The network is new, the scores of test beside it are not.
    rows = tabulation.tabulate("5", tmp_path / "out").rows
    (row,) = [x for x in rows if x.key == "conv5_3_pool5_fc"]
    assert row.state.startswith("unfinished")


def test_options_have_the_types_of_train_py(options):
    texts = ["epochs=3", "width=1", "gru=cudnn", "part_learning_rates=cnn=1/a"]
    found = options(options=texts).overrides()
    assert found == {
        "epochs": 3,
        "width": 1.0,
        "gru": "cudnn",
        "part_learning_rates": ("cnn=1", "a"),
    }
    assert type(found["width"]) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ["0", "-1"]}, "--seeds must be whole numbers"),
        ({"rows": ["vnet"]}, "--rows must be of --table=5: .*, not 'vnet'"),
        (
            {"table": "lengths", "rows": None},
            "--options=sequence_length is what .*--table=lengths compares",
        ),
        (
            {
                "table": "encoders",
                "rows": None,
                "options": ["landmark_units=9"],
            },
            "--options=landmark_units is what .*--table=encoders compares",
        ),
        (
            {
                "table": "lengths",
                "rows": None,
                "options": ["epochs=9"],
                "pretraining": "paper",
                "pretrain_options": ["sequence_length=20"],
            },
            "--pretrain_options=sequence_length is what",
        ),
        ({"weights": ["vgg=x"]}, "--weights must be .* not 'vgg'"),
        ({"weights": ["vgg_face=no"]}, "--weights=vgg_face=no does not exist"),
        ({"options": ["seed=1"]}, "--options=seed cannot be set here"),
        ({"options": ["holdout=0.1"]}, "--options=holdout cannot be set"),
        ({"options": ["epochs=1.5"]}, "epochs must be a whole number"),
        ({"options": ["width=thin"]}, "width must be a number, not 'thin'"),
        ({"options": ["freeze_batch_norm=no"]}, "must be true or false, not"),
        (
            {"pretrain_options": ["width=1"], "pretraining": "paper"},
            "--pretrain_options=width cannot be set here",
        ),
        ({"pretrain_options": ["epochs=1"]}, "no row is pre-trained"),
        (
            {"weights": [f"resnet50={__file__}"]},
            "--weights=resnet50=FILE changes nothing, .* from vgg_face",
        ),
        ({"folds_by": "person"}, "--folds_by=person changes nothing"),
        (
            {
                "table": "4",
                "rows": ["cnn_3rnn_scratch"],
                "pretraining": "paper",
                "pretrain_options": ["epochs=1"],
            },
            "no row is pre-trained",
        ),
        (
            {"strategy": "cnn_fixed"},
            "conv5_3_pool5_fc: a CNN that is fixed .* must have weights; give "
            "--weights=vgg_face=FILE",
        ),
        ({"options": ["width=2"]}, "--options: conv5_3_pool5_fc: width must"),
        (
            {"affwild_records": "nowhere"},
            "--affwild_records=nowhere holds no manifest",
        ),
    ],
)
def test_nothing_is_trained_with_wrong_options(
    run, quick, change, message, tmp_path
):
    with pytest.raises(UserError, match=message):
        run(**change)
    assert quick.calls == []
    assert not (tmp_path / "out").exists()


def test_every_row_of_every_table_can_be_planned(
    reproduction, options, small_records, tmp_path
):
    from affwild_omg.data import manifest

    every = options(
        rows=None,
        options=["width=0.03"],
        pretraining="paper",
        affwild_records=str(small_records),
        affwild2_records=str(small_records),
    )
    folders, known = set(), manifest.read(small_records)
    for name in tables.TABLES:
        jobs, absent = reproduction.list_jobs(
            dataclasses.replace(every, table=name, seeds=["0", "1"]),
            Runs(tmp_path),
            {f"{x}_records": known for x in ("affwild", "affwild2")},
        )
        assert absent == []
        folders |= {job.row.folder for job in jobs}
    rows = [row for table in tables.TABLES.values() for row in table.rows]
    rows += [part for row in rows for part in row.fused]
    assert folders == {row.folder for row in rows if row.folder}
    assert not list(tmp_path.iterdir())
