import csv
import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import comparison as comparing
from affwild_omg.evaluation.options import ComparisonOptions
from affwild_omg.scoring import significance
from tests.evaluation.test_results import (
    ccc_by_hand,
    column,
    table,
    write_folder,
)

LABELS = table("aab", [0.1, 0.1], [0.2, 0.2], [0.3, 0.3])
# CCC, as worked out in tests/scoring/test_concordance.py: 1 where the two are
# equal, 4/7 where all is 0.1 higher, 4/11 where all is doubled.
FIRST = table("aab", [0.2, 0.1], [0.3, 0.2], [0.4, 0.3])
SECOND = table("baa", [0.3, 0.6], [0.1, 0.2], [0.2, 0.4])
TARGETS = ("valence", "arousal")


def options(tmp_path, **changes):
    given = {
        name: str(tmp_path / name) for name in ("first", "second", "output")
    }
    return ComparisonOptions(**given | changes)


def compare(tmp_path, first=FIRST, second=SECOND, labels=(LABELS, LABELS)):
    """Compares two folders that are written by hand."""
    write_folder(tmp_path / "first", first, labels[0], split="test")
    write_folder(tmp_path / "second", second, labels[1], split="test")
    return comparing.compare(options(tmp_path))


def written(tmp_path, name):
    return (tmp_path / "output" / name).read_text()


def test_a_comparison_by_hand(tmp_path):
    comparison = compare(tmp_path).to_dict()
    valence, arousal = (comparison.pop(name) for name in TARGETS)
    mean = comparison.pop("mean")
    assert comparison.pop("summary") == [
        # A quarter of the samples is "b" alone, one row: CCC 0 twice. A
        # quarter is "a" alone, valence .1, .2 against .2, .4: covariance .005,
        # variances .0025 and .01, means .15 apart, so 2/7; arousal against
        # .2, .3: .0025, .0025 twice, .1 apart, so 1/3.
        "valence: 1.000 against 0.364; the difference of 0.636 (95% interval "
        "0.000 to 0.714, permutation p = 0.5) is within sampling noise",
        "arousal: 0.571 against 1.000; the difference of -0.429 (95% interval "
        "-0.667 to 0.000, permutation p = 0.5) is within sampling noise",
        # 0.636 - 0.429 over 2; "b" alone 0, "a" alone 0.714 - 0.667 over 2.
        "mean: 0.786 against 0.682; the difference of 0.104 (95% interval "
        "0.000 to 0.104, permutation p = 0.5) is within sampling noise",
    ]
    # With "a" swapped alone it is (2/7 - 10/19 + 6/7 - 1/2) / 2, or 0.058.
    # The runs' own intervals are of the same samples: from "b" alone, 0, to
    # all. That of "a" alone is less, 1/3 and 2/7.
    assert mean["first"] == {
        "ccc": pytest.approx((1 + 4 / 7) / 2),
        "interval": [0, pytest.approx((1 + 4 / 7) / 2)],
    }
    assert comparison == {
        "utterances": 3,
        "videos": 2,
        "confidence": 0.95,
        "samples": 2000,
        "split": "test",
        "first": str(tmp_path / "first"),
        "second": str(tmp_path / "second"),
    }
    for found, ccc, mse in (
        (valence, (1, 4 / 11), (0, (0.01 + 0.04 + 0.09) / 3)),
        (arousal, (4 / 7, 1), (0.01, 0)),
    ):
        for i, run in enumerate(("first", "second")):
            assert found[run] == {
                "ccc": pytest.approx(ccc[i]),
                "pearson": pytest.approx(1),
                "pearson_p_value": pytest.approx(0, abs=1e-6),
                "mse": pytest.approx(mse[i]),
                "interval": [0, pytest.approx(ccc[i])],
            }
        assert found["difference"] == pytest.approx(ccc[0] - ccc[1])
        # Of the four sets of videos two have at least this difference.
        assert found["permutation_p_value"] == 0.5


def simulated(tmp_path, videos=30, better=0.0):
    """Writes two runs of videos of 5 utterances each; returns the arrays."""
    random = np.random.default_rng(0)
    labels = random.uniform([-1, 0], 1, (5 * videos, 2)).round(3)
    first, second = labels * 0.6 + random.normal(0, 0.3, (2, *labels.shape))
    first[:, 0] += better * (labels - first)[:, 0]
    clusters = np.repeat([f"v{i}" for i in range(videos)], 5)

    truth = table(clusters, *labels, targets=TARGETS)
    for name, values in (("first", first), ("second", second)):
        text = table(clusters, *values, targets=TARGETS)
        write_folder(tmp_path / name, text, truth)
    return labels, first, second, clusters


def test_scores_against_scipy_and_significance(tmp_path):
    labels, first, second, clusters = simulated(tmp_path)
    comparison = comparing.compare(options(tmp_path)).to_dict()
    for i, target in enumerate(TARGETS):
        found = comparison[target]
        x = labels[:, i]
        for run, values in (("first", first), ("second", second)):
            y = values[:, i]
            r, p_value = stats.pearsonr(x, y)
            own = significance.interval(x, y, clusters)
            assert found[run] == {
                "ccc": pytest.approx(ccc_by_hand(x, y)),
                "pearson": pytest.approx(r),
                "pearson_p_value": pytest.approx(p_value, rel=1e-6),
                "mse": pytest.approx(np.mean((x - y) ** 2)),
                "interval": [*own],
            }
        runs = (x, first[:, i], second[:, i], clusters)
        paired = significance.paired_interval(*runs)
        assert found["difference"] == (
            found["first"]["ccc"] - found["second"]["ccc"]
        )
        assert found["interval"] == [*paired]
        assert found["permutation_p_value"] == significance.permutation_test(
            *runs
        )
    for run, values in (("first", first), ("second", second)):
        own = significance.interval(labels, values, clusters)
        assert comparison["mean"][run]["interval"] == [*own]
    assert comparison["videos"] == 30
    assert comparison["split"] is None


def test_a_better_run_is_said_to_be(tmp_path):
    simulated(tmp_path, better=0.5)
    valence, arousal, mean = comparing.compare(options(tmp_path)).summary()
    assert valence.startswith("valence: 0.")
    assert valence.endswith(
        "permutation p = 0.0005) is more than sampling noise"
    )
    assert arousal.endswith(") is within sampling noise")
    assert mean.endswith(") is more than sampling noise")


def test_the_files_say_what_is_returned(tmp_path):
    comparison = compare(tmp_path).to_dict()
    assert json.loads(written(tmp_path, "comparison.json")) == comparison
    names = {path.name for path in (tmp_path / "output").iterdir()}
    assert names == {"comparison.csv", "comparison.json"}
    rows = pd.read_csv(tmp_path / "output" / "comparison.csv", index_col=0)
    assert list(rows.index) == [*TARGETS, "mean"]
    for name, row in rows.iterrows():
        found = comparison[name]
        expected = {"utterances": 3, "videos": 2}
        for prefix, part in (
            ("first_", found.pop("first")),
            ("second_", found.pop("second")),
            ("", found),
        ):
            part["low"], part["high"] = part.pop("interval")
            expected |= {prefix + column: x for column, x in part.items()}
        told = row.dropna().to_dict()
        assert told == pytest.approx(expected, rel=1e-15)


def test_the_same_folders_give_the_same_files(tmp_path):
    simulated(tmp_path)
    comparing.compare(options(tmp_path))
    before = [written(tmp_path, name) for name in comparing.FILES]
    with pytest.raises(UserError, match="--output=.* is not empty"):
        comparing.compare(options(tmp_path))
    comparing.compare(options(tmp_path), overwrite=True)
    assert [written(tmp_path, name) for name in comparing.FILES] == before


def test_the_table(tmp_path):
    comparison = compare(tmp_path)
    lines = comparing.table(comparison)
    assert lines[0].split() == (
        "CCC Pearson MSE 95% interval of CCC p of Pearson".split()
    )
    assert [" ".join(line.split()[:8]) for line in lines[1:7]] == [
        "valence first 1.000 1.000 0.000 0.000 to 1.000",
        "valence second 0.364 1.000 0.047 0.000 to 0.364",
        "arousal first 0.571 1.000 0.010 0.000 to 0.571",
        "arousal second 1.000 1.000 0.000 0.000 to 1.000",
        "mean first 0.786 0.000 to 0.786",
        "mean second 0.682 0.000 to 0.682",
    ]
    assert lines[7] == "3 labelled utterances of 2 videos of test"
    assert lines[8:] == comparison.summary()


def test_constant_predictions_are_told(tmp_path):
    constant = table("aab", [0.2, 0.1], [0.3, 0.1], [0.4, 0.1])
    comparison = compare(tmp_path, second=constant)
    stated = comparison.to_dict()
    assert stated["valence"]["second"]["ccc"] == 0
    assert stated["valence"]["second"]["constant"] == "predictions"
    # That of no CCC but 0 would look like certainty. The first run has its own.
    for name in ("valence", "mean"):
        assert stated[name]["second"]["interval"] is None
        low, high = stated[name]["first"]["interval"]
        assert low == 0 < high
    assert stated["arousal"]["second"]["interval"] is not None
    row = next(csv.DictReader(written(tmp_path, "comparison.csv").splitlines()))
    assert row["second_low"] == row["second_high"] == ""
    assert float(row["first_high"]) == 1
    lines = comparing.table(comparison)
    assert (
        "second run, valence: predictions do not vary, so CCC is 0 by "
        "definition"
    ) in lines
    assert "nan" not in "".join(lines).lower()
    assert lines[2].split()[-3:] == ["none", "(constant)", "-"]


def test_one_video_has_scores_but_no_test(tmp_path):
    one, other, truth = (
        table.replace("b,u1", "a,u3") for table in (FIRST, SECOND, LABELS)
    )
    comparison = compare(tmp_path, one, other, (truth, truth)).to_dict()
    assert comparison["valence"]["second"]["ccc"] == pytest.approx(4 / 11)
    for name in ("interval", "permutation_p_value"):
        assert comparison["valence"][name] is None
    assert comparison["summary"][0] == (
        "valence: 1.000 against 0.364; the difference of 0.636 cannot be told "
        "from sampling noise: all utterances are of one video"
    )
    row = next(csv.DictReader(written(tmp_path, "comparison.csv").splitlines()))
    assert row["low"] == row["permutation_p_value"] == ""
    assert row["first_low"] == row["second_high"] == ""
    assert comparison["mean"]["first"]["interval"] is None


def test_only_targets_that_both_have_are_compared(tmp_path):
    comparison = compare(
        tmp_path,
        second=column(SECOND, "arousal"),
        labels=(LABELS, column(LABELS, "arousal")),
    ).to_dict()
    assert "valence" not in comparison
    assert comparison["arousal"]["first"]["ccc"] == pytest.approx(4 / 7)
    assert comparison["arousal"]["second"]["ccc"] == pytest.approx(1)
    assert len(comparison["summary"]) == 1


def test_labels_of_one_folder_do_for_both(tmp_path):
    comparison = compare(tmp_path, labels=(None, LABELS)).to_dict()
    assert comparison["utterances"] == 3
    assert comparison["valence"]["first"]["ccc"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": (None, None)}, "--first=.* and --second=.* hold no labels"),
        (
            {
                "first": column(FIRST, "valence"),
                "second": column(SECOND, "arousal"),
                "labels": (None, None),
            },
            "--first=.* has valence, --second=.* arousal; they must have one",
        ),
    ],
)
def test_folders_that_do_not_fit_are_told(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        compare(tmp_path, **change)
    assert not (tmp_path / "output").exists()


def test_splits_that_differ_are_told(tmp_path):
    for name, split in (("first", "test"), ("second", "validation")):
        write_folder(tmp_path / name, FIRST, LABELS, split=split)
    with pytest.raises(
        UserError,
        match="--first=.* is of split test, --second=.* of validation",
    ):
        comparing.compare(options(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second": "a/../first"}, "--second=a/../first is the same folder as"),
        ({"output": "first"}, "--output=first is the same folder as --first"),
    ],
)
def test_bad_options_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        options(pathlib.Path(), **changes)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5834, "0.58"),
        (1 / 2001, "0.0005"),
        (0.0496, "0.0496"),
        (100 / 2001, "0.04998"),
        (0.0499999, "0.0499999"),
        (0.0501, "0.05"),
    ],
)
def test_a_p_value_is_not_rounded_across_the_line(value, text):
    assert comparing._p_value(value) == text
