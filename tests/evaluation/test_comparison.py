import json

import numpy as np
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


def written(tmp_path):
    return json.loads((tmp_path / "output" / "comparison.json").read_text())


def test_a_comparison_by_hand(tmp_path):
    lines = comparing.table(compare(tmp_path))
    assert lines[0].split() == (
        "CCC Pearson MSE 95% interval of CCC p of Pearson".split()
    )
    # A quarter of the samples is "b" alone, one row: CCC 0 twice. The runs'
    # own intervals are of the same samples: from there to all.
    assert [" ".join(line.split()[:8]) for line in lines[1:7]] == [
        "valence first 1.000 1.000 0.000 0.000 to 1.000",
        "valence second 0.364 1.000 0.047 0.000 to 0.364",
        "arousal first 0.571 1.000 0.010 0.000 to 0.571",
        "arousal second 1.000 1.000 0.000 0.000 to 1.000",
        "mean first 0.786 0.000 to 0.786",
        "mean second 0.682 0.000 to 0.682",
    ]
    narrow = "95% intervals drawn from 2 videos alone are too narrow"
    assert lines[7].startswith(narrow)
    assert lines[8:] == [
        "3 labelled utterances of 2 videos of test",
        # A quarter is "a" alone, valence .1, .2 against .2, .4: covariance
        # .005, variances .0025 and .01, means .15 apart, so 2/7; arousal
        # against .2, .3: .0025, .0025 twice, .1 apart, so 1/3. Of the four
        # sets of videos two have at least this difference.
        "valence: the difference of 0.636 (95% interval 0.000 to 0.714, "
        "permutation p = 0.5) is within sampling noise",
        "arousal: the difference of -0.429 (95% interval -0.667 to 0.000, "
        "permutation p = 0.5) is within sampling noise",
        # 0.636 - 0.429 over 2; "b" alone 0, "a" alone 0.714 - 0.667 over 2.
        # With "a" swapped alone it is (2/7 - 10/19 + 6/7 - 1/2) / 2, or 0.058.
        "mean: the difference of 0.104 (95% interval 0.000 to 0.104, "
        "permutation p = 0.5) is within sampling noise",
    ]
    stated = written(tmp_path)
    first = stated["first"]
    assert first["folder"] == str(tmp_path / "first")
    assert (stated["split"], first["rows"]) == ("test", 3)
    assert first["valence"] == {
        "ccc": pytest.approx(1),
        "pearson": pytest.approx(1),
        "pearson_p_value": pytest.approx(0, abs=1e-6),
        "mse": 0,
        "rows": 3,
        "videos": 2,
    }
    assert first["intervals"]["mean"] == [0, pytest.approx((1 + 4 / 7) / 2)]
    assert stated["differences"]["valence"]["value"] == pytest.approx(7 / 11)


def simulated(tmp_path, videos=30, better=0.0, gaps=0.0):
    """Writes two runs of videos of 5 utterances each; returns the arrays."""
    random = np.random.default_rng(0)
    labels = random.uniform([-1, 0], 1, (5 * videos, 2)).round(3)
    known = random.random(labels.shape) >= gaps
    known[:, 0] |= ~known[:, 1]  # a table has who has a label
    first, second = labels * 0.6 + random.normal(0, 0.3, (2, *labels.shape))
    first[:, 0] += better * (labels - first)[:, 0]
    clusters = np.repeat([f"v{i}" for i in range(videos)], 5)

    cells = np.where(known, labels, "")
    truth = table(clusters, *cells, targets=TARGETS)
    for name, values in (("first", first), ("second", second)):
        text = table(clusters, *values, targets=TARGETS)
        write_folder(tmp_path / name, text, truth)
    return np.where(known, labels, np.nan), first, second, clusters


def test_scores_against_scipy_and_significance(tmp_path):
    data = simulated(tmp_path, gaps=0.3)
    comparing.compare(options(tmp_path))
    stated = written(tmp_path)
    for i, target in enumerate(TARGETS):
        known = np.isfinite(data[0][:, i])
        labels, first, second, clusters = (x[known] for x in data)
        x = labels[:, i]
        for run, values in (("first", first), ("second", second)):
            y = values[:, i]
            r, p_value = stats.pearsonr(x, y)
            assert stated[run][target] == {
                "ccc": pytest.approx(ccc_by_hand(x, y)),
                "pearson": pytest.approx(r),
                "pearson_p_value": pytest.approx(p_value, rel=1e-6),
                "mse": pytest.approx(np.mean((x - y) ** 2)),
                "rows": known.sum(),
                "videos": len(set(clusters)),
            }
            own = significance.interval(x, y, clusters)
            assert stated[run]["intervals"][target] == [*own]
        runs = (x, first[:, i], second[:, i], clusters)
        assert stated["differences"][target] == {
            "value": stated["first"][target]["ccc"]
            - stated["second"][target]["ccc"],
            "interval": [*significance.paired_interval(*runs)],
            "p_value": significance.permutation_test(*runs),
        }
    assert stated["first"]["intervals"]["videos"] == 30
    assert stated["split"] is None
    # The same folders give the same file.
    with pytest.raises(UserError, match="--output=.* is not empty"):
        comparing.compare(options(tmp_path))
    comparing.compare(options(tmp_path), overwrite=True)
    assert written(tmp_path) == stated


def test_a_better_run_is_said_to_be(tmp_path):
    simulated(tmp_path, better=0.5)
    compared = comparing.compare(options(tmp_path)).differences
    valence, arousal, mean = map(str, compared.values())
    assert valence.endswith("p = 0.0005) is more than sampling noise")
    assert arousal.endswith(") is within sampling noise")
    assert mean.endswith(") is more than sampling noise")


def test_constant_predictions_are_told(tmp_path):
    constant = table("aab", [0.2, 0.1], [0.3, 0.1], [0.4, 0.1])
    comparison = compare(tmp_path, second=constant)
    stated = written(tmp_path)
    assert stated["second"]["valence"]["ccc"] == 0
    assert stated["second"]["valence"]["constant"] == "predictions"
    # That of no CCC but 0 would look like certainty. The first run has its own.
    intervals = [stated[run]["intervals"].keys() for run in ("first", "second")]
    assert intervals[0] - intervals[1] == {"valence", "mean"}
    lines = comparing.table(comparison)
    assert (
        "second run, valence: predictions do not vary, so CCC is 0 by "
        "definition"
    ) in lines
    assert "nan" not in "".join(lines).lower()
    assert lines[2].split()[-3:] == ["none", "(constant)", "-"]


def test_one_video_has_scores_but_no_test(tmp_path):
    # The valence of "b" is not known.
    truth = LABELS.replace("0.3,0.3", "0.3,")
    compared = compare(tmp_path, labels=(truth, truth)).differences
    # Of "a", as above, 1 - 2/7.
    assert written(tmp_path)["differences"]["valence"] == {
        "value": pytest.approx(5 / 7),
        "interval": None,
        "p_value": None,
    }
    assert compared["arousal"].p_value == 0.5
    for name, value in (("valence", "0.714"), ("mean", "0.143")):
        assert str(compared[name]) == (
            f"the difference of {value} cannot be told from sampling noise: "
            "all labelled utterances are of one video"
        )


def test_only_targets_that_both_have_and_some_label_are_compared(tmp_path):
    comparison = compare(
        tmp_path,
        second=column(SECOND, "arousal"),
        labels=(None, column(LABELS, "arousal")),
    )
    # The labels of one folder do for both.
    cccs = [scores.cccs for scores in comparison.scores.values()]
    assert cccs == [{"arousal": pytest.approx(x)} for x in (4 / 7, 1)]
    assert comparison.differences.keys() == {"arousal"}
    gone = table("aab", [0.1, ""], [0.2, ""], [0.3, ""])
    for name, predictions in (("first", FIRST), ("second", SECOND)):
        (tmp_path / name / "predictions.csv").write_text(predictions)
        (tmp_path / name / "labels.csv").write_text(gone)
        (tmp_path / name / "metrics.json").write_text('{"utterances": 3}')
    again = comparing.compare(options(tmp_path), overwrite=True)
    assert again.differences == comparison.differences


@pytest.mark.parametrize(
    "change",
    [
        {"labels": (None, None)},
        {
            "first": column(FIRST, "valence"),
            "second": column(SECOND, "arousal"),
            "labels": (None, column(LABELS, "arousal")),
        },
    ],
)
def test_nothing_to_compare_is_told(tmp_path, change):
    message = "--first=.* and --second=.* hold no labels.csv of a target that"
    with pytest.raises(UserError, match=message):
        compare(tmp_path, **change)
    assert not (tmp_path / "output").exists()


def test_splits_that_differ_are_told(tmp_path):
    for name, split in (("first", "test"), ("second", "validation")):
        write_folder(tmp_path / name, FIRST, LABELS, split=split)
    with pytest.raises(
        UserError,
        match="--first=.* and --second=.* of splits test and validation;",
    ):
        comparing.compare(options(tmp_path))


def test_whole_sources_are_drawn_and_swapped(tmp_path):
    """Thirty videos of six sources, which only the first folder knows."""
    labels, first, second, videos = simulated(tmp_path)
    sources = [f"s{int(video[1:]) % 6}" for video in videos]
    header, *rows = (tmp_path / "first/predictions.csv").read_text().split()
    empty = "," * 5
    facts = ["video,utterance,source,person,in_train,mean_arousal"]
    facts[0] += ",mean_valence,source_mean_arousal,source_mean_valence"
    for row, source in zip(rows, sources, strict=True):
        facts.append(f"{','.join(row.split(',')[:2])},{source},{empty}")
    (tmp_path / "first" / "facts.csv").write_text("\n".join([*facts, ""]))
    compared = comparing.compare(options(tmp_path))
    for i, target in enumerate(TARGETS):
        runs = labels[:, i], first[:, i], second[:, i], sources
        found = compared.differences[target]
        assert found.interval == significance.paired_interval(*runs)
        assert found.p_value == significance.permutation_test(*runs)
        own = compared.scores["second"].intervals[target]
        assert own == significance.interval(runs[0], runs[2], sources)
    lines = comparing.table(compared)
    assert "150 labelled utterances of 30 videos from 6 sources" in lines


HEADER = "link,start,end,video,utterance"  # omg_TestVideos_WithoutLabels.csv


def published(tmp_path, **changes):
    """Compares a folder with a table of predictions.

    The folder has a/u1, a/u2 and b/u1, the table another in place of a/u2.
    """
    folder = tmp_path / "first"
    if not folder.exists():
        write_folder(folder, FIRST, LABELS, split="test")
    given = options(tmp_path, second=str(tmp_path / "theirs.csv"), **changes)
    return comparing.compare(given, overwrite=True)


def check_published(tmp_path, compared):
    # Labels .1, .3 (both targets). First: valence .1, .3, arousal .2, .4:
    # variances and covariance .01, means .1 apart, so 2/3. Second: valence .2,
    # .6, variances .01, .04, covariance .02, means .2 apart, so 4/9; arousal
    # .1, .3.
    cccs = [list(x.cccs.values()) for x in compared.scores.values()]
    assert cccs == [
        pytest.approx([1, 2 / 3, 5 / 6]),
        pytest.approx([4 / 9, 1, 13 / 18]),
    ]
    lines = comparing.table(compared)
    assert lines[8:10] == [
        "2 labelled utterances of 2 videos of test",
        "left out, as only one of the two has them: 1 utterance of the "
        "first, 2 of the second",
    ]
    left_out = {"first": ["a/u2"], "second": ["c/u1", "c/u2"]}
    assert written(tmp_path)["left_out"] == left_out


def test_published_predictions_by_name(tmp_path):
    (tmp_path / "theirs.csv").write_text(
        f"{HEADER},arousal,valence\n"
        "l,0,1,b,u1,0.3,0.6\n"
        "l,0,1,c,u1,0.9,0.9\n"
        "l,0,1,a,u1 ,0.1,0.2\n"
        "l,0,1,c,u2,0.9,0.9\n"
    )
    check_published(tmp_path, published(tmp_path))
    with pytest.raises(UserError, match="theirs.csv names its rows itself"):
        published(tmp_path, table=str(tmp_path / "theirs.csv"))


def test_published_predictions_by_order(tmp_path):
    theirs, table = tmp_path / "theirs.csv", tmp_path / "table.csv"
    theirs.write_text("arousal,valence\n.3,.6\n.9,.9\n.1,.2\n.9,.9\n")
    rows = "l,0,1,b,u1\nl,0,1,c,u1\nl,0,1,a,u1\nl,0,1,c,u2\n"
    table.write_text(f"{HEADER}\n{rows}")
    check_published(tmp_path, published(tmp_path, table=str(table)))
    with pytest.raises(UserError, match="whose rows it follows by --table"):
        published(tmp_path)
    table.write_text(f"{HEADER}\n{rows}l,0,1,c,u3\n")
    with pytest.raises(UserError, match="theirs.csv has 4 rows, .* 5; it must"):
        published(tmp_path, table=str(table))
    table.write_text(rows)
    with pytest.raises(UserError, match="table.csv lacks video, utterance"):
        published(tmp_path, table=str(table))


def test_predictions_of_other_utterances_are_told(tmp_path):
    (tmp_path / "theirs.csv").write_text("video,utterance,valence\nx,u1,.1\n")
    with pytest.raises(UserError, match="a/u1, a/u2 and 1 more, .* x/u1"):
        published(tmp_path)
    write_folder(tmp_path / "second", SECOND, LABELS)
    with pytest.raises(UserError, match="--table=.* names the rows of a CSV"):
        comparing.compare(options(tmp_path, table=str(tmp_path / "theirs.csv")))
