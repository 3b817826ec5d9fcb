import dataclasses
import json
import logging
import pathlib

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import fusion as fusing
from affwild_omg.evaluation.options import FusionOptions
from tests.evaluation.test_results import column, table, write_folder

VALIDATION_LABELS = table("vvv", [0.1, 0.1], [0.2, 0.2], [0.3, 0.3])
# CCC, as worked out in tests/scoring/test_concordance.py: 1 where the two are
# equal, 4/7 where all is 0.1 higher, 4/11 where all is doubled.
VALIDATION_A = table("vvv", [0.2, 0.1], [0.3, 0.2], [0.4, 0.3])
VALIDATION_B = table("vvv", [0.1, 0.2], [0.2, 0.4], [0.3, 0.6])
TEST_LABELS = table("tt", [0.3, 0.2], [0.1, 0.1])
TEST_A = table("tt", [0.22, 0.15], [0.55, 0.3])
TEST_B = table("tt", [0.33, 0.3], [0.11, -0.15])
# Valence: A weighs 1 and B 4/11, so 11/15 and 4/15. Arousal: 4/7 and 1, so
# 4/11 and 7/11.
FUSED = table("tt", [0.29, 0.19], [0.27, 0.18])
# Where A alone has a say in valence.
FUSED_BY_A = table("tt", [0.29, 0.15], [0.27, 0.3])


def keep(options, run, name):
    """Keeps one target of a run's folders."""
    for folder in (options.validation[run], options.test[run]):
        predictions, labels = (
            column(pathlib.Path(folder, file).read_text(), name)
            for file in ("predictions.csv", "labels.csv")
        )
        write(folder, predictions, labels)


@pytest.fixture
def options(tmp_path):
    """Options of a fusion of two runs that are written by hand."""
    splits = {
        "validation": (VALIDATION_LABELS, VALIDATION_A, VALIDATION_B),
        "test": (TEST_LABELS, TEST_A, TEST_B),
    }
    folders = {}
    for split, (labels, *runs) in splits.items():
        folders[split] = []
        for name, predictions in zip("ab", runs, strict=True):
            folder = write_folder(
                tmp_path / f"{split}_{name}",
                predictions,
                labels,
                split=split,
                model=f"run_{name}",
                coverage=0.5,
                frames=7,
                records_sha256="0" * 64,
                expected=4 + len(folders[split]),
            )
            folders[split].append(str(folder))
    return FusionOptions(**folders, output=str(tmp_path / "out"))


def write(folder, predictions=None, labels=None, **metrics):
    """Changes the files of a folder; labels may be "", for none."""
    path = pathlib.Path(folder)
    known = json.loads((path / "metrics.json").read_text())
    if predictions:
        (path / "predictions.csv").write_text(predictions)
    if labels:
        (path / "labels.csv").write_text(labels)
        known["utterances"] = len(labels.splitlines()) - 1
    elif labels == "":
        (path / "labels.csv").unlink()
        known["utterances"] = 0
    (path / "metrics.json").write_text(json.dumps(known | metrics))


def written(options, name="predictions.csv"):
    return pathlib.Path(options.output, name).read_text()


def fuse(options, **how):
    """Returns what metrics.json says of a fusion."""
    fusing.fuse(options, **how)
    return json.loads(written(options, "metrics.json"))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def scores(ccc, pearson, mse):
    return {
        "ccc": pytest.approx(ccc),
        "pearson": pytest.approx(pearson),
        "mse": pytest.approx(mse),
        "rows": 2,
        "videos": 1,
    }


def test_fusion_by_hand(options, tmp_path):
    metrics = fuse(options)
    assert written(options) == FUSED
    assert written(options, "labels.csv") == TEST_LABELS
    assert names(tmp_path / "out") == [
        "histograms.png",
        "labels.csv",
        "metrics.json",
        "predictions.csv",
        "scatter.png",
    ]

    # Fused valence .19, .18 against .2, .1: covariance .05 * .005, variances
    # .0025 and .000025, means .035 apart. Arousal .29, .27 against .3, .1:
    # covariance .1 * .01, variances .01 and .0001, means .08 apart.
    assert metrics["valence"] == scores(2 / 15, 1, 0.00325)
    assert metrics["arousal"] == scores(4 / 33, 1, 0.0145)
    assert metrics["mean_ccc"] == pytest.approx((2 / 15 + 4 / 33) / 2)
    # Equal weights: valence .225, .075; covariance .05 * .075, variances
    # .0025 and .005625, the means the same.
    assert metrics["equal_weights"]["valence"] == scores(12 / 13, 1, 0.000625)
    facts = {
        "utterances": 2,
        "split": "test",
        "coverage": 0.5,
        "frames": 7,
        "records_sha256": "0" * 64,
        "level": "utterance",
    }
    assert {name: metrics[name] for name in facts} == facts
    assert "expected" not in metrics  # in which the two differ
    first, second = metrics["members"]
    assert first["validation"] == options.validation[0]
    assert first["test"] == options.test[0]
    for member, weights, ccc in (
        (first, (11 / 15, 4 / 11), (1, 4 / 7)),
        (second, (4 / 15, 7 / 11), (4 / 11, 1)),
    ):
        targets = ("valence", "arousal")
        for name, values in (("weights", weights), ("validation_ccc", ccc)):
            assert member[name] == {
                target: pytest.approx(value)
                for target, value in zip(targets, values, strict=True)
            }
    # Valence .3, -.15: covariance .05 * .225, variances .0025 and .050625,
    # means .075 apart. Arousal .33, .11: .1 * .11, .01 and .0121, .02 apart.
    assert second["scores"]["valence"] == scores(0.0225 / 0.05875, 1, 0.03625)
    assert second["scores"]["arousal"] == scores(0.022 / 0.0225, 1, 0.0005)


def test_runs_are_fused_without_their_post_processing_too(options):
    # What was A is A without post-processing, which made B's numbers of it.
    for folders, before, after in (
        (options.validation, VALIDATION_A, VALIDATION_B),
        (options.test, TEST_A, TEST_B),
    ):
        write(folders[0], predictions=after)
        pathlib.Path(folders[0], "unprocessed.csv").write_text(before)
    metrics = fuse(options)
    # B's: that of two equals.
    both = table("tt", [0.33, 0.3], [0.11, -0.15])
    assert written(options) == both
    assert written(options, "unprocessed.csv") == FUSED
    assert metrics["valence"] == scores(0.0225 / 0.05875, 1, 0.03625)
    assert metrics["unprocessed"]["valence"] == scores(2 / 15, 1, 0.00325)


def test_equal_weights_need_no_validation(options):
    both = options
    options = dataclasses.replace(options, validation=None, weights="equal")
    metrics = fuse(options)
    assert written(options) == table("tt", [0.275, 0.225], [0.33, 0.075])
    assert metrics["valence"] == scores(12 / 13, 1, 0.000625)
    assert "equal_weights" not in metrics and "best_single" not in metrics
    half = {"valence": 0.5, "arousal": 0.5}
    assert [x["weights"] for x in metrics["members"]] == [half, half]
    assert all("validation" not in x for x in metrics["members"])
    lines = fusing.table(fusing.fuse(options, overwrite=True))
    assert [line.split()[0] for line in lines[1:-1]] == [
        "fused",
        *options.test,
        "95%",
    ]
    # A run that lacks a target has no share in it; of what was post-processed
    # all is averaged without it, too.
    keep(both, 1, "arousal")
    path = pathlib.Path(options.test[0], "unprocessed.csv")
    path.write_text(table("tt", [0.02, 0.15], [0.11, 0.3]))
    metrics = fuse(options, overwrite=True)
    assert written(options) == table("tt", [0.275, 0.15], [0.33, 0.3])
    assert written(options, "unprocessed.csv") == table(
        "tt", [0.175, 0.15], [0.11, 0.3]
    )
    assert metrics["members"][1]["weights"] == {"arousal": 0.5}


def test_the_best_single_is_the_best_on_validation(options):
    metrics = fuse(options)
    first, second = metrics["members"]
    assert metrics["best_single"] == options.test[0]
    assert second["scores"]["mean_ccc"] > first["scores"]["mean_ccc"]
    turned = dataclasses.replace(
        options, validation=options.validation[::-1], test=options.test[::-1]
    )
    assert fuse(turned, overwrite=True)["best_single"] == options.test[0]


def test_the_table_shows_all_of_them(options):
    fused = fusing.fuse(options)
    lines = fusing.table(fused)
    assert lines[0].split() == (
        "CCC valence arousal mean weight in valence weight in arousal".split()
    )
    assert [line.rsplit(maxsplit=5)[0] for line in lines[1:-3]] == [
        "fused",
        "equal weights",
        *options.test,
    ]
    mean = f"{(2 / 15 + 4 / 33) / 2:.3f}"
    assert lines[1].split() == ["fused", "0.133", "0.121", mean, "-", "-"]
    weights = [x["weights"] for x in fused.provenance.members]
    assert [line.split()[-2:] for line in lines[3:5]] == [
        [f"{x['valence']:.3f}", f"{x['arousal']:.3f}"] for x in weights
    ]
    assert lines[-1] == "2 labelled utterances of test, 2 runs fused"
    none = "none (needs two videos)"
    assert lines[-3:-1] == [
        f"95% interval of fused: valence {none}, arousal {none}, mean {none}",
        f"best single on validation: {options.test[0]}",
    ]


def test_the_table_says_what_does_not_vary(options):
    for folder in options.test:
        write(folder, labels=TEST_LABELS.replace("0.1,0.1", "0.3,0.1"))
    assert fusing.table(fusing.fuse(options))[-3] == (
        "arousal: labels do not vary, so CCC is 0 by definition"
    )


def test_no_test_label_reaches_the_weights(options):
    expected = fuse(options)
    for folder in options.test:
        write(folder, labels=table("tt", [0.9, -0.7], [0.2, 0.8]))
    metrics = fuse(options, overwrite=True)
    assert written(options) == FUSED
    assert metrics["valence"] != expected["valence"]
    for one, other in zip(metrics["members"], expected["members"], strict=True):
        assert one["weights"] == other["weights"]
    assert metrics["best_single"] == expected["best_single"]

    for folder in options.test:
        write(folder, labels="")
    fused = fusing.fuse(options, overwrite=True)
    assert written(options) == FUSED
    assert names(pathlib.Path(options.output)) == [
        "metrics.json",
        "predictions.csv",
    ]
    assert fusing.table(fused) == [
        "0 labelled utterances of test, 2 runs fused"
    ]


def test_what_metrics_say_does_not_weigh(options):
    liar = {name: {"ccc": 0.01} for name in ("valence", "arousal")}
    write(options.validation[0], **liar, mean_ccc=0.01)
    fusing.fuse(options)
    assert written(options) == FUSED


def test_a_run_that_is_not_positive_has_no_say(options, caplog):
    worse = table("vvv", [0.1, 0.6], [0.2, 0.4], [0.3, 0.2])
    write(options.validation[1], worse)
    with caplog.at_level(logging.WARNING, logger="absl"):
        metrics = fuse(options)
    assert written(options) == FUSED_BY_A
    first, second = metrics["members"]
    assert first["weights"]["valence"] == 1
    assert second["weights"] == {
        "valence": 0,
        "arousal": pytest.approx(7 / 11),
    }
    # Reversed, the doubled labels have the opposite covariance, no more.
    assert second["validation_ccc"]["valence"] == pytest.approx(-4 / 11)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{options.validation[1]} has no weight in valence: its CCC on "
        "validation is -0.364"
    )


def test_no_run_has_learned_a_dimension(options, tmp_path):
    for folder in options.validation:
        write(folder, table("vvv", [0.4, 0.1], [0.3, 0.2], [0.2, 0.3]))
    before = names(tmp_path)
    with pytest.raises(UserError, match="no run has a positive CCC in arousal"):
        fusing.fuse(options)
    assert names(tmp_path) == before


def test_a_run_of_one_target_counts_in_that_one(options):
    keep(options, 1, "arousal")
    fused = fusing.fuse(options)
    # Valence is that of A alone.
    assert written(options) == FUSED_BY_A
    members = fused.provenance.members
    assert [x["weights"] for x in members] == [
        {"valence": 1, "arousal": pytest.approx(4 / 11)},
        {"arousal": pytest.approx(7 / 11)},
    ]
    assert list(members[1]["scores"].targets) == ["arousal"]
    # B alone is better in arousal, but gives no valence.
    assert fused.provenance.best_single == options.test[0]
    assert fusing.table(fused)[-4].split()[1:] == [
        *("-", "0.978", "-"),
        *("-", "0.636"),
    ]


def test_runs_of_one_target_each(options):
    keep(options, 0, "valence")
    keep(options, 1, "arousal")
    fused = fusing.fuse(options)
    both = table("tt", [0.33, 0.15], [0.11, 0.3])
    assert written(options) == both
    assert written(options, "labels.csv") == TEST_LABELS
    assert fused.provenance.best_single is None
    assert fusing.table(fused)[-2] == "best single on validation: none"


def test_all_are_scored_on_the_same_utterances(options):
    # B's records have no label for the second utterance, A's have.
    write(options.test[1], labels="\n".join(TEST_LABELS.splitlines()[:2]))
    metrics = fuse(options)
    assert metrics["utterances"] == 2
    assert metrics["arousal"]["ccc"] == pytest.approx(4 / 33)
    scored = metrics["members"][1]["scores"]["arousal"]
    assert scored["ccc"] == pytest.approx(0.022 / 0.0225)
    # Of the second, the arousal alone is known, and that to B.
    keep(options, 1, "arousal")
    write(options.test[1], labels=column(TEST_LABELS, "arousal"))
    write(options.test[0], labels="\n".join(TEST_LABELS.splitlines()[:2]))
    fused = fusing.fuse(options, overwrite=True)
    assert written(options, "labels.csv") == TEST_LABELS.replace("0.1\n", "\n")
    members = (member["scores"] for member in fused.provenance.members)
    rows = [
        {name: score.rows for name, score in scores.targets.items()}
        for scores in (fused.headline, *members)
    ]
    both = {"valence": 1, "arousal": 2}
    assert rows == [both, both, {"arousal": 2}]
    # The valence of no test utterance is known: there is no mean.
    gone = table("tt", [0.3, ""], [0.1, ""])
    for folder, labels in zip(
        options.test, (gone, column(gone, "arousal")), strict=True
    ):
        write(folder, labels=labels)
    lines = fusing.table(fusing.fuse(options, overwrite=True))
    assert lines[1].split() == ["fused", "-", "0.121", "-", "-", "-"]


def test_utterances_without_a_label_do_not_weigh(options):
    for folder in options.validation:
        write(folder, labels=VALIDATION_LABELS.replace("u3,0.3,0.3", "u3,0.3,"))
    first, second = fuse(options)["members"]
    # Of two rows, B's covariance .05 * .1, variances .0025 and .01, means .15
    # apart: CCC 2/7. A is right.
    assert second["validation_ccc"]["valence"] == pytest.approx(2 / 7)
    assert first["weights"]["valence"] == pytest.approx(7 / 9)
    assert first["weights"]["arousal"] == pytest.approx(4 / 11)


STEPS = {"estimate": "median", "targets": {"valence": {"median_window": 5}}}


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        (
            "test",
            {"predictions": TEST_B.replace("t,u2", "t,u3"), "labels": ""},
            "--test=.*test_b lacks 1 .* of --test=.*test_a and adds 1 ",
        ),
        (
            "validation",
            {"labels": table("vvv", [0.1, ""], [0.2, ""], [0.3, ""])},
            "_b holds no labels.csv of valence; weights need",
        ),
        ("validation", {"split": "test"}, "_b is of split test; weights are"),
        ("validation", {"split": "train"}, "_b is of split train; weights"),
        ("validation", {"model": "run_a"}, "differ in model: run_a and run_b;"),
        (
            "validation",
            {"postprocessing": STEPS},
            "_b must have the same steps of post-processing; evaluate test",
        ),
        (
            "test",
            {
                "predictions": column(TEST_B, "arousal"),
                "labels": column(TEST_LABELS, "arousal"),
            },
            "differ in targets: .* and \\('arousal',\\);",
        ),
    ],
)
def test_folders_that_do_not_fit_are_told(
    options, tmp_path, split, change, message
):
    write(getattr(options, split)[1], **change)
    before = names(tmp_path)
    with pytest.raises(UserError, match=message):
        fusing.fuse(options)
    assert names(tmp_path) == before


def test_steps_that_do_nothing_are_none(options):
    write(
        options.validation[1],
        postprocessing={"estimate": "median", "targets": {"valence": {}}},
    )
    fusing.fuse(options)  # test has none


def test_weights_are_not_chosen_on_what_is_scored(options):
    for folder in options.test:
        write(folder, VALIDATION_A, VALIDATION_LABELS)
    with pytest.raises(UserError, match="share 3 utterances \\(v/u1, v/u2, v/"):
        fusing.fuse(options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation": None}, "--validation is missing, .*--weights=equal"),
        ({"weights": "equal"}, "--validation is not needed for --weights=equ"),
        (
            {"weights": "equal", "validation": None, "test": ["c"]},
            "two or more, .*, not 1 and 1 folders",
        ),
        ({"validation": ["a"]}, "in the same order, .*, not 1 and 2 folders"),
        (
            {"validation": ["a", "b/../a"]},
            "--validation=b/../a is the same folder as --validation=a;",
        ),
    ],
)
def test_bad_options_are_named(changes, message):
    good = {"validation": ["a", "b"], "test": ["c", "d"], "output": "out"}
    with pytest.raises(UserError, match=message):
        FusionOptions(**good | changes)


def test_weights_of_sources_that_are_not_in_train(options):
    """The second utterance's source stands in train."""
    with pytest.raises(UserError, match="--weigh_on=disjoint needs to know"):
        fuse(dataclasses.replace(options, weigh_on="disjoint"))
    header = (
        "video,utterance,source,person,in_train,mean_arousal,mean_valence,"
        "source_mean_arousal,source_mean_valence\n"
    )
    path = pathlib.Path(options.validation[0], "facts.csv")
    rows = "v,u1,x,,0,,,,\nv,u2,y,,1,,,,\nv,u3,z,,{},,,,\n"
    path.write_text(header + rows.format(0))
    test = pathlib.Path(options.test[1], "facts.csv")
    test.write_text(header + "t,u1,x,,0,.5,.2,.5,.2\nt,u2,y,,1,.5,.2,.1,.4\n")
    options = dataclasses.replace(options, weigh_on="disjoint")
    told = "whose source does not stand in train"
    assert told in "".join(fusing.table(fusing.fuse(options)))
    metrics = fuse(options, overwrite=True)
    # Of u1 and u3. Valence: A is equal, B doubled: variances .01 and .04,
    # covariance .02, means .2 apart. Arousal: A .1 above, all others .01; B is
    # equal.
    for member, weights in zip(
        metrics["members"], ((9 / 13, 2 / 5), (4 / 13, 3 / 5)), strict=True
    ):
        for name, weight in zip(("valence", "arousal"), weights, strict=True):
            assert member["weights"][name] == pytest.approx(weight)
    # The facts of the run that has some go on.
    assert written(options, "facts.csv") == test.read_text().replace(
        ",.", ",0."
    )
    assert metrics["sources"]["not_in_train"] == 1
    path.write_text(header + rows.format(1))
    with pytest.raises(UserError, match="leaves 1 of 3 utterances, too few"):
        fuse(options, overwrite=True)
    with pytest.raises(UserError, match="changes nothing with --weights=equal"):
        dataclasses.replace(options, weights="equal", validation=None)
