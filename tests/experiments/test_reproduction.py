"""Rows of tables from records to a table, at a tiny width."""

import csv
import dataclasses
import json
import pathlib
import shutil

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.experiments.options import ReproductionOptions
from affwild_omg.published import tables as experiments

TINY = [
    "width=0.03",
    "units=4",
    "fc_units=64",
    "sequence_length=4",
    "batch_size=2",
    "learning_rate=1e-3",
    "epochs=2",
]
TABLE_5 = "cnn_3rnn_conv5_3_pool5_fc"


@pytest.fixture(scope="module")
def reproducing(tf):
    from affwild_omg.experiments import reproduction as reproducing

    return reproducing


@pytest.fixture
def options(reproducing, small_records, tmp_path):
    """Makes options of one row of table 5, or of others."""

    def make(**changes):
        good = {
            "table": 5,
            "records": str(small_records),
            "output": str(tmp_path / "out"),
            "pretraining": "none",
            "rows": ["conv5_3_pool5_fc"],
            "options": TINY,
        }
        return ReproductionOptions(**good | changes)

    return make


@pytest.fixture
def calls(monkeypatch):
    """Lists the trainings and evaluations there were, and still does them."""
    from affwild_omg.evaluation import evaluator as evaluation
    from affwild_omg.evaluation import fusion as fusing
    from affwild_omg.training import loop as training

    done = []
    for module, name in (
        (training, "train"),
        (evaluation, "evaluate"),
        (fusing, "fuse"),
    ):
        function = getattr(module, name)

        def wrapped(options, *, function=function, name=name, **how):
            what = pathlib.Path(
                options.workdir if name == "train" else options.output
            )
            word = "resume" if how.get("resume") else name
            done.append(f"{word} {what.name}")
            return function(options, **how)

        monkeypatch.setattr(module, name, wrapped)
    return done


ROW = ["train workdir", "evaluate validation", "evaluate test"]


def history(workdir):
    return json.loads((workdir / "history.json").read_text())["epochs"]


def states(outcome):
    return {
        row["key"].split("/")[1]: row["state"] for row in outcome.tabulated.rows
    }


def test_a_row_end_to_end_broken_off_and_gone_on_with(
    reproducing, options, calls, monkeypatch, tmp_path
):
    from affwild_omg.training import loop as training

    whole_options = options(output=str(tmp_path / "whole"))
    outcome = reproducing.reproduce(whole_options)
    outcome.require_all()
    assert calls == ROW
    assert states(outcome)["conv5_3_pool5_fc"] == "measured"
    assert states(outcome)["pool2_pool5_fc"] == "not run"
    row = tmp_path / "whole" / f"{TABLE_5}-scratch" / "seed_0"
    assert sorted(path.name for path in row.iterdir()) == [
        "stages.json",
        "test",
        "validation",
        "workdir",
    ]
    metrics = json.loads((row / "test" / "metrics.json").read_text())
    assert metrics["split"] == "test"
    assert metrics["postprocessing"]  # that of the workdir
    assert metrics["network"]["units"] == 4
    with (tmp_path / "whole" / "table_5.csv").open(newline="") as file:
        table = {line["key"]: line for line in csv.DictReader(file)}
    line = table["table5/conv5_3_pool5_fc"]
    assert float(line["valence_measured"]) == pytest.approx(
        metrics["valence"]["ccc"], abs=1e-6
    )
    assert "not pre-trained" in line["differences"]
    assert "width 0.03, not 1.0" in line["differences"]

    # A second call has nothing to do, from wherever it is started.
    calls.clear()
    monkeypatch.chdir(tmp_path)
    reproducing.reproduce(options(output="whole"))
    assert calls == []

    # Broken off after the first of two epochs, it goes on with the second.
    broken = options(output=str(tmp_path / "broken"))
    save = training._Run._save

    def save_once(self):
        save(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "_save", save_once)
        with pytest.raises(KeyboardInterrupt):
            reproducing.reproduce(broken)
    row = tmp_path / "broken" / f"{TABLE_5}-scratch" / "seed_0"
    assert len(history(row / "workdir")) == 1
    calls.clear()
    reproducing.reproduce(broken)
    assert calls == ["resume workdir", *ROW[1:]]
    resumed = history(row / "workdir")
    other = history(
        tmp_path / "whole" / f"{TABLE_5}-scratch" / "seed_0" / "workdir"
    )
    assert [epoch["loss"] for epoch in resumed] == pytest.approx(
        [epoch["loss"] for epoch in other], abs=1e-4
    )

    # What was lost is made again, and only that.
    shutil.rmtree(row / "test")
    calls.clear()
    reproducing.reproduce(broken)
    assert calls == ["evaluate test"]


def test_a_row_is_pre_trained_where_its_corpus_is(
    reproducing, options, calls, small_records, tmp_path
):
    outcome = reproducing.reproduce(
        options(
            table=4,
            pretraining="paper",
            affwild_records=str(small_records),
            rows=["cnn_3rnn_affwild", "cnn_3rnn_affwild2"],
        )
    )
    outcome.require_all()
    assert calls == ["train pretrained", *ROW]
    place = tmp_path / "out" / "cnn_3rnn-affwild" / "seed_0"
    (report,) = json.loads((place / "workdir/initialisation.json").read_text())
    assert report["source"] == str(place / "pretrained")
    assert report["fresh"] == {} and report["left"] == {}
    assert not (place / "pretrained" / "initialisation.json").exists()
    assert states(outcome) == {
        "cnn_1rnn_scratch": "not run",
        "cnn_1rnn_affwild": "not run",
        "cnn_1rnn_affwild2": "not run",
        "cnn_3rnn_scratch": "not run",
        "cnn_3rnn_affwild": "measured",
        "cnn_3rnn_affwild2": "not run: corpus absent (--affwild2_records)",
        "model_fusion_rnn_scratch": "not run",
        "model_fusion_rnn_affwild": "not run",
        "model_fusion_rnn_affwild2": "not run",
    }


@pytest.fixture
def quick(monkeypatch):
    """Replaces training and evaluation by what writes their files at once."""
    from affwild_omg import figures as drawing
    from affwild_omg.evaluation import evaluator as evaluation
    from affwild_omg.training import loop as training
    from tests.evaluation.test_results import write_folder

    for name in ("published_against_measured", "scatter", "plane_histograms"):
        monkeypatch.setattr(drawing, name, lambda path, *_, **__: path.touch())

    class Quick:
        failing = ""

        def train(self, options, **how):
            self.trained.append(options)
            if self.failing and self.failing in options.workdir:
                raise UserError("out of\nmemory")
            workdir = pathlib.Path(options.workdir)
            workdir.mkdir(parents=True, exist_ok=True)
            for name in ("best.keras", "history.json"):
                (workdir / name).touch()

        def evaluate(self, options, **how):
            video = options.split[0]
            text = (
                "video,utterance,arousal,valence\n"
                f"{video},a,0.1,0.1\n{video},b,0.2,0.2\n{video}2,a,0.4,0.4\n"
            )
            shutil.rmtree(options.output, ignore_errors=True)
            pathlib.Path(options.output).parent.mkdir(
                parents=True, exist_ok=True
            )
            write_folder(
                pathlib.Path(options.output),
                text,
                text,
                split=options.split,
                model=options.model,
            )
            if options.choose_postprocessing:
                (pathlib.Path(options.model) / "postprocessing.json").touch()

    quick = Quick()
    quick.trained = []
    monkeypatch.setattr(training, "train", quick.train)
    monkeypatch.setattr(evaluation, "evaluate", quick.evaluate)
    return quick


def trained_folders(quick):
    return [pathlib.Path(one.workdir).parts[-3] for one in quick.trained]


def test_a_row_that_fails_is_named_and_the_others_go_on(
    reproducing, options, quick, tmp_path
):
    quick.failing = "conv4_1_pool5_fc"
    three = options(rows=None, table=5)
    outcome = reproducing.reproduce(three)
    assert len(quick.trained) == 8
    assert states(outcome)["conv4_1_pool5_fc"] == "failed: out of memory"
    assert list(states(outcome).values()).count("measured") == 7
    with pytest.raises(
        UserError, match=r"1 row.*conv4_1_pool5_fc-scratch: out of memory"
    ):
        outcome.require_all()
    # Mended, it is the only one that is left to do.
    quick.failing = ""
    quick.trained.clear()
    outcome = reproducing.reproduce(three)
    outcome.require_all()
    assert trained_folders(quick) == ["cnn_3rnn_conv4_1_pool5_fc-scratch"]
    assert set(states(outcome).values()) == {"measured"}


def test_other_options_and_other_records_are_another_run(
    reproducing, options, quick, small_records, tmp_path
):
    records = tmp_path / "records"
    shutil.copytree(small_records, records)

    def run(**changes):
        quick.trained.clear()
        reproducing.reproduce(
            options(records=str(records), **changes), overwrite=overwrite
        )
        return len(quick.trained)

    refused = pytest.raises(
        UserError,
        match=r"holds 1 training.*cnn_3rnn_conv5_3_pool5_fc-scratch/seed_0/"
        "workdir.*--overwrite",
    )
    overwrite = False
    assert run() == 1
    assert run() == 0
    with refused:
        run(options=["epochs=3"])
    assert not quick.trained
    assert run() == 0  # and it is still whole
    overwrite = True
    assert run(options=["epochs=3"]) == 1
    assert run(options=["epochs=3"]) == 0
    assert run() == 1
    manifest = records / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")  # prepared again
    overwrite = False
    with refused:
        run()
    overwrite = True
    assert run() == 1


def test_fusion_of_decisions_brings_its_members(
    reproducing, options, quick, tmp_path
):
    both = options(table=3, rows=["table3/decision_fusion"], seeds=["0", "7"])
    outcome = reproducing.reproduce(both)
    outcome.require_all()
    assert trained_folders(quick) == [
        "cnn_1rnn-scratch",
        "cnn_1rnn-scratch",
        "cnn_3rnn-scratch",
        "cnn_3rnn-scratch",
    ]
    assert [one.seed for one in quick.trained] == [0, 7, 0, 7]
    (row,) = [
        row for row in outcome.tabulated.rows if "Decision" in row["label"]
    ]
    assert row["folder"] == "decision_fusion-scratch"
    assert row["seeds"] == [0, 7]
    # Predictions are the labels: their average, too.
    assert row["measured"]["mean"]["value"] == pytest.approx(1)
    # Shared with another table, they are trained once.
    quick.trained.clear()
    reproducing.reproduce(options(table=8, rows=None, seeds=["7"]))
    assert trained_folders(quick) == ["model_fusion_rnn-scratch"]
    # A member made anew is fused anew.
    fused = tmp_path / "out/decision_fusion-scratch/seed_0/test/metrics.json"
    before = fused.stat().st_mtime_ns
    reproducing.reproduce(both)
    assert fused.stat().st_mtime_ns == before
    (tmp_path / "out/cnn_1rnn-scratch/seed_0/test/metrics.json").unlink()
    reproducing.reproduce(both)
    assert fused.stat().st_mtime_ns > before


def test_a_fusion_whose_member_fails_fails(reproducing, options, quick):
    quick.failing = "cnn_1rnn"
    outcome = reproducing.reproduce(options(table=3, rows=["decision_fusion"]))
    assert set(outcome.failed) == {
        "cnn_1rnn-scratch",
        "decision_fusion-scratch",
    }
    assert "fuses cnn_1rnn-scratch" in outcome.failed["decision_fusion-scratch"]


def test_table_4_without_pre_training_is_its_scratch_rows(
    reproducing, options, quick
):
    outcome = reproducing.reproduce(options(table=4, rows=None))
    assert trained_folders(quick) == [
        "cnn_1rnn-scratch",
        "cnn_3rnn-scratch",
        "model_fusion_rnn-scratch",
    ]
    for key, state in states(outcome).items():
        expected = "measured" if key.endswith("scratch") else "not run"
        assert state == expected


def test_without_the_corpora_nothing_is_trained(reproducing, options, quick):
    outcome = reproducing.reproduce(options(rows=None, pretraining="paper"))
    assert quick.trained == []
    assert set(states(outcome).values()) == {
        "not run: corpus absent (--affwild2_records)"
    }


def test_rows_take_the_options_that_they_have(
    reproducing, options, quick, tmp_path
):
    weights = tmp_path / "vgg.npz"
    weights.touch()
    reproducing.reproduce(
        options(
            table=3,
            rows=["vgg_face", "resnet50", "model_fusion_fc"],
            options=["width=0.5", "units=3", "fusion_units=2", "fc_units=9"],
            weights=[f"vgg_face={weights}"],
            strategy="end_to_end_slow",
        )
    )
    vgg, resnet, fusion = quick.trained
    assert (vgg.width, vgg.units, vgg.fusion_units) == (0.5, None, None)
    assert (resnet.width, resnet.fc_units) == (None, 9)
    assert (fusion.width, fusion.units, fusion.fusion_units) == (0.5, 3, 2)
    assert [one.learning_rate for one in quick.trained] == [1e-5] * 3
    assert [one.sequence_length for one in quick.trained] == [80] * 3
    assert [one.init_from for one in quick.trained] == [
        str(weights),
        None,
        str(weights),
    ]


def test_first_weights_go_to_the_pre_training(
    reproducing, options, quick, small_records, tmp_path
):
    weights = tmp_path / "vgg.npz"
    weights.touch()
    reproducing.reproduce(
        options(
            pretraining="paper",
            affwild2_records=str(small_records),
            weights=[f"vgg_face={weights}"],
        )
    )
    before, after = quick.trained
    assert before.init_from == str(weights)
    assert after.init_from == before.workdir
    assert before.network() == after.network()


def test_no_training_is_lost_unasked(
    reproducing, options, quick, small_records, tmp_path
):
    def run(overwrite=False, **changes):
        quick.trained.clear()
        reproducing.reproduce(options(**changes), overwrite=overwrite)
        return len(quick.trained)

    place = tmp_path / "out" / f"{TABLE_5}-scratch" / "seed_0"
    refused = pytest.raises(UserError, match=r"holds 1 training.*/workdir\)")
    # One that someone put there, and one whose stages were damaged.
    (place / "workdir").mkdir(parents=True)
    (place / "workdir" / "history.json").write_text("by hand")
    for damage in (None, "[]", '{"workdir": {"made": "x"}}', "{"):
        if damage is not None:
            (place / "stages.json").write_text(damage)
        with refused:
            run()
        assert not quick.trained
    assert (place / "workdir" / "history.json").read_text() == "by hand"
    assert run(overwrite=True) == 1
    assert run() == 0
    # One that was broken off: its own options go on with it, others don't.
    known = json.loads((place / "stages.json").read_text())
    known["workdir"]["made"] = None
    (place / "stages.json").write_text(json.dumps(known))
    with refused:
        run(options=[*TINY, "patience=3"])
    assert run() == 1
    # Records that lie elsewhere are the same records.
    moved = tmp_path / "moved"
    shutil.copytree(small_records, moved)
    assert run(records=str(moved)) == 0


def test_a_pre_training_that_has_served_may_be_removed(
    reproducing, options, quick, small_records, tmp_path
):
    def run(**changes):
        quick.trained.clear()
        reproducing.reproduce(
            options(
                pretraining="paper",
                affwild2_records=str(small_records),
                **changes,
            ),
        )
        return [pathlib.Path(one.workdir).name for one in quick.trained]

    assert run() == ["pretrained", "workdir"]
    place = tmp_path / "out" / f"{TABLE_5}-affwild2" / "seed_0"
    shutil.rmtree(place / "pretrained")
    assert run() == []
    # What it would be needed for again brings it back.
    (place / "workdir" / "best.keras").unlink()
    (place / "workdir" / "history.json").unlink()
    assert run() == ["pretrained", "workdir"]
    # And of other options neither is touched.
    with pytest.raises(UserError, match=r"holds 2 training.*/pretrained, "):
        run(options=[*TINY, "patience=3"])
    shutil.rmtree(place / "workdir")
    with pytest.raises(UserError, match=r"holds 1 training.*/pretrained\)"):
        run(options=[*TINY, "patience=3"])


def test_what_can_t_be_read_of_another_row_stops_no_training(
    reproducing, options, quick, tmp_path
):
    other = tmp_path / "out" / "cnn_3rnn-scratch" / "seed_0" / "test"
    other.mkdir(parents=True)
    (other / "metrics.json").write_text("{")
    two = options(rows=["conv5_3_pool5_fc", "conv4_1_pool5_fc"])
    with pytest.raises(UserError, match="cnn_3rnn-scratch.*metrics.json is no"):
        reproducing.reproduce(two)
    assert len(quick.trained) == 2


def test_an_overwriting_call_that_is_broken_off_shows_no_old_scores(
    reproducing, options, quick, monkeypatch, tmp_path
):
    from affwild_omg.evaluation import evaluator as evaluation
    from affwild_omg.experiments import tabulation as tabulating

    reproducing.reproduce(options())

    def broken(options, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "evaluate", broken)
    with pytest.raises(KeyboardInterrupt):
        reproducing.reproduce(
            options(options=[*TINY, "patience=3"]), overwrite=True
        )
    # The network is new, the scores of test beside it are not.
    (row,) = [
        row
        for row in tabulating.tabulate(5, tmp_path / "out").rows
        if row["key"].endswith("/conv5_3_pool5_fc")
    ]
    assert row["state"].startswith("unfinished")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_other_weights_under_the_same_name_are_another_run(
    reproducing, options, quick, tmp_path, kind
):
    weights = file = tmp_path / "vgg"
    if kind == "folder":
        weights.mkdir()
        file = weights / "best.keras"
    file.write_text("one")

    def run(overwrite=False):
        quick.trained.clear()
        reproducing.reproduce(
            options(weights=[f"vgg_face={weights}"]), overwrite=overwrite
        )
        return len(quick.trained)

    assert (run(), run()) == (1, 0)
    if kind == "folder":  # of a workdir the model alone counts
        (weights / "postprocessing.json").touch()
        assert run() == 0
    # Wherever they lie.
    weights = weights.rename(tmp_path / "moved")
    file = weights / "best.keras" if kind == "folder" else weights
    assert run() == 0
    file.write_text("two")
    with pytest.raises(UserError, match="holds 1 training.* or weights"):
        run()
    assert (run(overwrite=True), run()) == (1, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs=3", 3),
        ("learning_rate=1e-3", 0.001),
        ("width=1", 1.0),
        ("gru=cudnn", "cudnn"),
        ("part_learning_rates=cnn=1e-5/rnn=1e-3", ("cnn=1e-5", "rnn=1e-3")),
    ],
)
def test_options_have_the_types_of_train_py(options, text, expected):
    (value,) = options(options=[text]).overrides().values()
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": 9}, "--table must be one of 3, 4, 5, 6, 7, 8, not 9"),
        ({"pretraining": "some"}, "--pretraining must be one of paper, none"),
        ({"strategy": "fast"}, "--strategy must be one of end_to_end"),
        ({"seeds": ["0", "-1"]}, "--seeds must be whole numbers"),
        ({"seeds": ["1", "1"]}, "--seeds names one of them twice"),
        ({"rows": ["vnet"]}, "--rows must be of table 5's .*, not 'vnet'"),
        ({"weights": ["vgg_face"]}, "--weights must be like name=value"),
        ({"weights": ["vgg=x"]}, "--weights must be .* not 'vgg'"),
        ({"weights": ["vgg_face=no"]}, "--weights=vgg_face=no does not exist"),
        ({"options": ["epochs"]}, "--options must be like name=value"),
        ({"options": ["epochs=1", "epochs=2"]}, "--options gives epochs twice"),
        ({"options": ["epoch=1"]}, "--options must be .* not 'epoch'"),
        ({"options": ["epochs=1.5"]}, "epochs must be a whole number"),
        ({"options": ["width=thin"]}, "width must be a number, not 'thin'"),
        ({"options": ["taps=fc"]}, "taps cannot be set here"),
    ],
)
def test_wrong_options_are_told_before_anything(options, change, message):
    with pytest.raises(UserError, match=message):
        options(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": ["width=2"]}, "--options: table5/.* width must be"),
        (
            {"options": ["batch_size=1"], "pretraining": "paper"},
            "batch_size must be at least 2",
        ),
        ({"records": "nowhere"}, "--records=nowhere holds no manifest"),
        (
            {"affwild_records": "nowhere"},
            "--affwild_records=nowhere holds no manifest",
        ),
    ],
)
def test_nothing_is_trained_with_wrong_options(
    reproducing, options, quick, change, message, tmp_path
):
    with pytest.raises(UserError, match=message):
        reproducing.reproduce(options(**change))
    assert quick.trained == []
    assert not (tmp_path / "out").exists()


def test_every_row_of_every_table_can_be_planned(
    reproducing, options, small_records, tmp_path
):
    every = options(
        rows=None,
        pretraining="paper",
        affwild_records=str(small_records),
        affwild2_records=str(small_records),
    )
    folders = set()
    for number in experiments.TABLES:
        table = dataclasses.replace(every, table=number)
        jobs, absent = reproducing._plan(table, tmp_path)
        assert absent == {}
        folders |= {job.row.folder for job in jobs}
    assert folders == {*experiments.RUNS, "decision_fusion-affwild2"}
