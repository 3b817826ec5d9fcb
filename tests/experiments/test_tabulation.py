"""Tables of runs whose folders are written by hand."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.experiments import tabulation
from affwild_omg.experiments.options import TableOptions
from affwild_omg.experiments.runs import Runs
from affwild_omg.paper.task import TARGETS
from affwild_omg.published.networks import NETWORKS
from affwild_omg.published.tables import TABLES
from affwild_omg.scoring.postprocessing import Settings
from affwild_omg.storage.stages import FILE, Stages
from affwild_omg.training.options import TrainingOptions
from tests.evaluation.test_results import write_folder

PAPER = {
    "coverage": 1.0,
    "corpus": "omg",
    "split": "test",
    "postprocessing": Settings.nothing(TARGETS).to_dict(),
}
# Two videos of two utterances each: valence, arousal.
LABELS = [(0.5, 0.2), (-0.5, 0.8), (0.25, 0.6), (-0.25, 0.5)]
KEYS = ["v,a", "v,b", "w,a", "w,b"]
RUN = "cnn_3rnn-affwild2"


def network(name):
    return dataclasses.asdict(NETWORKS[name].architecture)


def training(**changes):
    """Returns what history.json says of the options of a training."""
    good = {"records": "r", "workdir": "w", "init_from": "vgg_face.mat"}
    return dataclasses.asdict(TrainingOptions(**good | changes))


def table_text(rows, keys=KEYS):
    lines = [f"{key},{a},{v}" for key, (v, a) in zip(keys, rows, strict=True)]
    return "\n".join(["video,utterance,arousal,valence", *lines]) + "\n"


def shifts(ccc):
    """Returns by how much predictions must be off, alike, to have these CCCs.

    With equal variances v, CCC is 2 v / (2 v + shift^2).
    """
    return np.sqrt(2 * np.var(LABELS, axis=0) * (1 / np.array(ccc) - 1))


def write_run(
    runs,
    folder,
    seed=0,
    predictions=None,
    keys=KEYS,
    ccc=(0.4, 0.2),
    labels=LABELS,
    **metrics,
):
    """Writes the test results of a run.

    Labels and predictions are (valence, arousal) of each of the keys; without
    predictions, such as have these CCCs. The rest is for metrics.json.
    """
    place = runs / folder / f"seed_{seed}"
    place.mkdir(parents=True)
    if predictions is None:
        predictions = (np.array(LABELS) + shifts(ccc)).tolist()
    name = folder.split("-")[0]
    described = {"network": network(name) if name in NETWORKS else None}
    write_folder(
        place / "test",
        table_text(predictions, keys),
        table_text(labels, keys),
        **PAPER | described | metrics,
    )
    return place


def write_unprocessed(place, ccc):
    """Writes predictions that have these CCCs as those not processed."""
    (place / "test" / "unprocessed.csv").write_text(
        table_text((np.array(LABELS) + shifts(ccc)).tolist())
    )


def tabulate(runs, number="3"):
    """Returns the table and {key: row}."""
    tabulated = tabulation.tabulate(number, runs)
    return tabulated, {row.key: row for row in tabulated.rows}


def row_of(runs, key, number="3"):
    return tabulate(runs, number)[1][key]


def text_of(tabulated):
    """Returns the lines for a console as one, without the wrapping."""
    return "\n".join(tabulation.lines(tabulated, "o")).replace("\n  ", " ")


def test_seeds_are_averaged_and_share_an_interval(tmp_path):
    cccs = {0: (0.40, 0.10), 3: (0.50, 0.20), 10: (0.60, 0.30)}
    for seed, ccc in cccs.items():
        place = write_run(tmp_path, RUN, seed, ccc=ccc, valence={"ccc": 0.9})
        write_unprocessed(place, (ccc[0] - 0.02, 0.1))
    (tmp_path / RUN / "seed_4").mkdir()  # nothing there yet
    row = row_of(tmp_path, "cnn_3rnn")
    assert (row.state, row.seeds) == ("measured", [0, 3, 10])
    assert row.published == {"valence": 0.472, "arousal": 0.329, "mean": 0.401}
    assert row.published_unprocessed["mean"] == 0.393
    # Of two videos a quarter of the samples has either twice: the ends.
    ends = np.mean(
        [
            [
                2 * variance / (2 * variance + shifts(ccc) ** 2)
                for variance in (
                    np.var(LABELS[:2], axis=0),
                    np.var(LABELS[2:], axis=0),
                )
            ]
            for ccc in cccs.values()
        ],
        axis=0,
    )
    for column, name in enumerate(TARGETS):
        found = row.measured[name]
        values = [ccc[column] for ccc in cccs.values()]
        assert found.value == pytest.approx(np.mean(values))
        assert found.low == pytest.approx(ends[:, column].min())
        assert found.high == pytest.approx(ends[:, column].max())
        assert found.min == pytest.approx(min(values))
        assert found.max == pytest.approx(max(values))
    assert row.measured["arousal"].high < 0.329
    mean = row.measured["mean"]
    assert mean.value == pytest.approx(0.35)
    assert (mean.low, mean.high) == pytest.approx(sorted(ends.mean(axis=1)))
    before = row.unprocessed["valence"]
    assert before.value == pytest.approx(0.48)
    assert before.low < 0.48 < before.high
    assert (row.utterances, row.coverage, row.corpus) == ([4], [1], ["omg"])
    assert row.differences == []


def test_what_has_no_interval(tmp_path):
    # A constant in one target; seeds of other utterances; a single video.
    constant = [(0.1, arousal) for _, arousal in LABELS]
    write_run(tmp_path, "vgg_face-affwild2", 0, constant)
    others = ["v,a", "v,b", "w,a", "x,b"]
    write_run(tmp_path, "resnet50-affwild2", 0)
    write_run(tmp_path, "resnet50-affwild2", 1, keys=others)
    alone = ["v,a", "v,b", "v,c", "v,d"]
    write_run(tmp_path, "affwildnet-affwild2", 0, keys=alone)
    tabulated, rows = tabulate(tmp_path)
    found = {
        key: [
            rows[key].measured[name].low is None for name in (*TARGETS, "mean")
        ]
        for key in ("vgg_face", "resnet50", "affwildnet")
    }
    assert found == {
        "vgg_face": [True, False, True],
        "resnet50": [True, True, True],
        "affwildnet": [True, True, True],
    }
    assert rows["vgg_face"].measured["valence"].value == 0
    assert rows["resnet50"].measured["valence"].value == pytest.approx(0.4)
    assert rows["resnet50"].utterances == [4]
    assert (
        "VGG-Face: valence: predictions do not vary, so CCC is 0 by definition."
    ) in tabulated.notes


def test_nothing_to_score_is_told(tmp_path, caplog):
    options = TableOptions(
        table="5", runs=str(tmp_path), output=str(tmp_path / "out")
    )
    tabulation.make(options)
    assert (
        "holds no run of --table=5; it should hold folders like" in caplog.text
    )
    place = write_run(tmp_path, RUN, utterances=0)
    (place / "test" / "labels.csv").unlink()
    assert row_of(tmp_path, "cnn_3rnn").state == "no labels"


def test_seeds_with_and_without_post_processing(tmp_path):
    place = write_run(tmp_path, RUN, 0, ccc=(0.5, 0.5))
    write_unprocessed(place, (0.3, 0.5))
    write_run(tmp_path, RUN, 1, ccc=(0.7, 0.5), postprocessing=None)
    row = row_of(tmp_path, "cnn_3rnn")
    assert row.measured["valence"].value == pytest.approx(0.6)
    assert row.unprocessed["valence"].value == pytest.approx(0.5)
    assert row.differences == ["no post-processing"]


def test_a_fusion_does_not_stand_for_what_its_members_were(tmp_path):
    """It had no weights without their post-processing."""
    for name in ("cnn_1rnn", "cnn_3rnn"):
        place = write_run(tmp_path, f"{name}-affwild2")
    write_run(tmp_path, "decision_fusion-affwild2")
    row = row_of(tmp_path, "decision_fusion")
    assert row.unprocessed == row.measured
    write_unprocessed(place, (0.3, 0.5))
    row = row_of(tmp_path, "decision_fusion")
    assert (row.state, row.unprocessed) == ("measured", None)


def test_rows_of_other_records_are_told(tmp_path):
    note = "The rows are not all of the same records."
    write_run(tmp_path, RUN, records_sha256="1")
    for digest in ("1", "2"):
        shutil.rmtree(tmp_path / "cnn_1rnn-affwild2", ignore_errors=True)
        write_run(tmp_path, "cnn_1rnn-affwild2", records_sha256=digest)
        found = text_of(tabulate(tmp_path)[0])
        assert (note in found) == (digest == "2")


def test_one_target_alone_is_not_tabulated(tmp_path):
    place = write_run(tmp_path, RUN)
    for name in ("predictions", "labels"):
        path = place / "test" / f"{name}.csv"
        cells = [line.split(",") for line in path.read_text().splitlines()]
        path.write_text("".join(f"{a},{b},{c}\n" for a, b, c, _ in cells))
    for key, number in (("cnn_3rnn", "3"), ("everywhere", "7")):
        assert row_of(tmp_path, key, number).state == "one target only"


def finish(runs, place, name, inputs=(), outputs=()):
    """Says in a run's stages file that a stage is done."""
    Stages(place / FILE, root=runs).run(
        name,
        lambda options, overwrite: None,
        TrainingOptions(records="", workdir=""),
        command="",
        inputs=inputs,
        outputs=outputs,
    )


def test_results_of_what_is_being_made_anew_are_not_shown(tmp_path):
    members = [write_run(tmp_path, f"cnn_{n}rnn-affwild2") for n in (1, 3)]
    fused = write_run(tmp_path, "decision_fusion-affwild2")
    for member in members:
        (member / "best").write_text("weights")
        finish(tmp_path, member, "workdir", outputs=[member / "best"])
        finish(tmp_path, member, "test", [member / "best"])
    predictions = members[0] / "test" / "predictions.csv"
    finish(tmp_path, fused, "test", [predictions])

    def states():
        rows = tabulate(tmp_path)[1]
        return [
            rows[key].state.partition(":")[0]
            for key in ("cnn_1rnn", "cnn_3rnn", "decision_fusion")
        ]

    assert states() == ["measured", "measured", "measured"]
    text = predictions.read_text()
    predictions.write_text(f"{text}\n")
    assert states() == ["measured", "measured", "unfinished"]
    predictions.write_text(text)
    known = (members[1] / FILE).read_text()
    (members[1] / FILE).write_text(known.replace('"done"', '"begun"'))
    assert states() == ["measured", "unfinished", "unfinished"]
    # Another seed is finished, and stands alone.
    write_run(tmp_path, RUN, 1)
    assert row_of(tmp_path, "cnn_3rnn").seeds == [1]


def test_what_is_not_there_says_why(tmp_path):
    absent = "not run: corpus absent (--affwild2_records)"
    rows = {row.key: row for row in TABLES["3"].rows}
    runs = Runs(tmp_path)
    runs.write_state(rows["cnn_1rnn"], absent)
    scratch = rows["model_fusion_rnn"].without_pretraining()
    runs.write_state(scratch, "failed: why")
    for number, expected in (
        ("3", {"vgg_face": "not run"}),
        (
            "8",
            {
                "vnet": "other system",
                "cnn_3rnn": "not run",
                "model_fusion_rnn": "failed: why",
            },
        ),
        ("4", {"cnn_1rnn_affwild2": absent, "cnn_1rnn_scratch": "not run"}),
    ):
        tabulated, rows = tabulate(tmp_path, number)
        for key, state in expected.items():
            assert rows[key].state == state
            assert rows[key].measured is None
            assert state in text_of(tabulated)
        assert tabulated.notes == []


def test_runs_without_pre_training_stand_in_and_say_so(tmp_path):
    write_run(tmp_path, "cnn_3rnn-scratch")
    tabulated, rows = tabulate(tmp_path, "5")
    assert rows["pool2_pool5_fc"].differences == ["not pre-trained"]
    assert tabulated.notes[0] == "Every measured row: not pre-trained."
    # In table 4 it is a row in its own right, and in no other's place.
    tabulated, rows = tabulate(tmp_path, "4")
    assert rows["cnn_3rnn_scratch"].differences == []
    assert rows["cnn_3rnn_affwild2"].state == "not run"
    assert "not pre-trained" not in text_of(tabulated)
    # Beside one that was, the row says so itself.
    write_run(tmp_path, "cnn_3rnn_conv5_3_pool5_fc-affwild2")
    tabulated, _ = tabulate(tmp_path, "5")
    assert not any("pre-trained" in note for note in tabulated.notes)
    told = "- 2nd pool + last pool + fc: not pre-trained."
    assert told in text_of(tabulated)
    # A pre-trained run comes first.
    write_run(tmp_path, RUN, ccc=(0.9, 0.9))
    row = row_of(tmp_path, "pool2_pool5_fc", "5")
    assert row.measured["mean"].value == pytest.approx(0.9)
    assert row.differences == []


def test_differences_from_the_row_are_told(tmp_path):
    place = write_run(
        tmp_path,
        RUN,
        network=network("cnn_3rnn") | {"width": 0.0625, "units": 32},
        postprocessing=None,
        sequence_estimate="mean",
        split="validation",
        training=training(
            sequence_length=20,
            learning_rate=0.001,
            epochs=2,
            units=32,
            part_learning_rates=["cnn=1e-5"],
            shuffle_labels=True,
            init_from=None,
            seed=3,
        ),
    )
    of_evaluation = [
        "split validation, not test",
        "sequence_estimate mean, not median",
        "no post-processing",
    ]
    assert row_of(tmp_path, "cnn_3rnn").differences == [
        "units 32, not 128",
        "width 0.0625, not 1.0",
        "sequence_length 20, not 80",
        "learning_rate 0.001, not 0.0001",
        "part_learning_rates cnn=1e-5, not None",
        "epochs 2, not 50",
        "shuffle_labels True, not False",
        "random first weights",
        *of_evaluation,
    ]
    # The model of an earlier version, or a SavedModel, does not tell.
    metrics = place / "test" / "metrics.json"
    content = json.loads(metrics.read_text())
    del content["training"]
    metrics.write_text(json.dumps(content | {"model": "saved_model"}))
    assert "training not recorded" in row_of(tmp_path, "cnn_3rnn").differences
    # The paper's other strategy is no difference; what a pre-training started
    # from is what counts.
    content["training"] = training(
        train="head", learning_rate=0.001, init_from=None
    )
    metrics.write_text(json.dumps(content))
    (place / "pretrained").mkdir()
    before = training(epochs=7, holdout=0.1)
    del before["tail"]  # as in an earlier version, which padded
    (place / "pretrained" / "history.json").write_text(
        json.dumps({"epochs": [], "options": before})
    )
    assert row_of(tmp_path, "cnn_3rnn").differences[2:] == [
        "pre-training: tail pad, not overlap",
        "pre-training: epochs 7, not 50",
        *of_evaluation,
    ]


def test_networks_are_compared_with_the_row_s(tmp_path):
    fusion = network("model_fusion_rnn")
    for member in fusion["members"]:
        member["width"] = 0.5
    fusion["fusion_units"] = 7
    write_run(tmp_path, "model_fusion_rnn-affwild2", network=fusion)
    narrow = network("cnn_1rnn") | {"width": 0.5}
    write_run(tmp_path, "cnn_1rnn-affwild2", network=narrow)
    write_run(tmp_path, RUN)
    write_run(tmp_path, "decision_fusion-affwild2")
    write_run(tmp_path, "resnet50-affwild2", network=fusion)
    write_run(
        tmp_path,
        "vgg_face-affwild2",
        network=None,
        postprocessing=None,
        unmatched={"predictions": [], "annotations": []},
    )
    blind = network("cnn_3rnn") | {"landmarks": False}
    write_run(tmp_path, "cnn_3rnn-landmarks_false-affwild2", network=blind)
    _, rows = tabulate(tmp_path)
    assert {key: row.differences for key, row in rows.items() if row.seeds} == {
        "vgg_face": ["network not recorded", "post-processing not known"],
        "resnet50": ["another kind of network"],
        "cnn_1rnn": ["width 0.5, not 1.0"],
        "cnn_3rnn": [],
        "decision_fusion": ["width 0.5, not 1.0"],
        "model_fusion_rnn": ["fusion_units 7, not 128", "width 0.5, not 1.0"],
    }
    row = row_of(tmp_path, "cnn_3rnn_without_landmarks", "6")
    assert row.differences == []


def test_regions_have_the_mse_of_labels_that_lie_there(tmp_path):
    # Off by 0.1 and 0.2 in the first quarter's one, and so on.
    predictions = [(0.6, 0.4), (-0.5, 0.5), (0.05, 0.6), (-0.25, 0.4)]
    write_run(tmp_path, RUN, 0, predictions)
    write_run(tmp_path, RUN, 1, LABELS)  # without any error
    tabulated, rows = tabulate(tmp_path, "7")
    found = {
        key: (
            row.utterances,
            row.measured["valence"].max,
            row.measured["arousal"].value,
        )
        for key, row in rows.items()
        if row.measured
    }
    assert found == {
        "positive_calm": ([1], pytest.approx(0.01), pytest.approx(0.02)),
        "positive_aroused": ([1], pytest.approx(0.04), 0),
        # -0.25 with arousal 0.5 is aroused: the bound is the upper region's.
        "negative_aroused": ([2], 0, pytest.approx((0.09 + 0.01) / 4)),
        "everywhere": (
            [4],
            pytest.approx((0.01 + 0.04) / 4),
            pytest.approx((0.04 + 0.09 + 0.01) / 8),
        ),
    }
    assert rows["negative_calm"].state == "no labels"
    # Both seeds err in v/b and w/a alone: whichever video is drawn.
    assert rows["positive_aroused"].measured["valence"].low is None  # w alone
    two = rows["negative_aroused"].measured["arousal"]
    assert (two.low, two.high) == pytest.approx((0.01 / 2, 0.09 / 2))
    everywhere = rows["everywhere"].measured["valence"]
    assert (everywhere.low, everywhere.high) == pytest.approx(
        (0.01 / 2 / 2, 0.04 / 2 / 2)  # v twice, w twice; of two seeds
    )
    assert all(row.p_value is None for row in rows.values())
    assert "Labels decide" in tabulated.notes[0]


def test_rows_are_tested_against_the_best(tmp_path):
    random = np.random.default_rng(5)
    labels = random.uniform(-1, 1, (12, 2)).round(3)
    keys = [f"{video},{i}" for i, video in enumerate("aabbccddeeff")]
    predictions = {}
    for row, noise in (("cnn_3rnn", 0.2), ("cnn_1rnn", 0.5), ("vgg_face", 0.9)):
        found = (labels + random.normal(0, noise, labels.shape)).round(6)
        predictions[row] = found
        write_run(
            tmp_path, f"{row}-affwild2", 0, found, keys, labels=labels.tolist()
        )
    tabulated, rows = tabulate(tmp_path)

    def cccs(x, y):
        covariance = np.mean((x - x.mean(0)) * (y - y.mean(0)), axis=0)
        pair = 2 * covariance / (x.var(0) + y.var(0) + (x - y).mean(0) ** 2)
        return np.array([*pair, pair.mean()])

    # Of each row, with each of the 64 sets of videos swapped with the best's.
    best = predictions["cnn_3rnn"]
    shares = []
    for name in ("cnn_1rnn", "vgg_face"):
        differences = []
        for swap in itertools.product([False, True], repeat=6):
            own = np.repeat(swap, 2)[:, None]
            one = cccs(labels, np.where(own, predictions[name], best))
            other = cccs(labels, np.where(own, best, predictions[name]))
            differences.append(np.abs(one - other))
        shares.append(np.mean(differences >= differences[0] - 1e-12, axis=0))
    # By Holm: the lesser one twice, the other once, but not below it.
    lesser = np.minimum(2 * np.min(shares, axis=0), 1)
    expected = np.where(
        np.array(shares) == np.min(shares, axis=0),
        lesser,
        np.maximum(lesser, np.max(shares, axis=0)),
    )
    for name, p_values in zip(("cnn_1rnn", "vgg_face"), expected, strict=True):
        assert list(rows[name].p_value.values()) == pytest.approx(p_values)
        assert rows[name].compared_with == "cnn_3rnn"
    assert rows["cnn_3rnn"].p_value is None
    (line,) = [
        x for x in tabulation.lines(tabulated, "out") if "VGG-Face " in x
    ]
    assert line.endswith("  {:.2g} {:.2g}".format(*expected[1]))
    (note,) = [note for note in tabulated.notes if "permutation" in note]
    assert "best measured one (CNN-3RNN" in note
    assert "picked from the same data" in note


def test_rows_that_cannot_be_tested_are_left_out(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.3, (4, 2))
    worse = (np.array(LABELS) + noise).round(3)
    write_run(tmp_path, RUN, 0, LABELS)
    write_run(tmp_path, "cnn_1rnn-affwild2", 0, worse)
    write_run(tmp_path, "vgg_face-affwild2", 1, worse)  # no seed in common
    others = ["v,a", "v,b", "w,a", "x,b"]
    write_run(tmp_path, "resnet50-affwild2", 0, worse, others)
    write_run(tmp_path, "affwildnet-affwild2", 0, LABELS)
    tabulated, rows = tabulate(tmp_path)
    tested = {key: row for key, row in rows.items() if row.p_value}
    # Of two that are as good, the one that stands first is the best.
    assert tested.keys() == {"cnn_1rnn", "cnn_3rnn"}
    assert {x.compared_with for x in tested.values()} == {"affwildnet"}
    alike = {"valence": 1, "arousal": 1, "mean": 1}
    assert tested["cnn_3rnn"].p_value == alike
    assert any("sampling noise" in note for note in tabulated.notes)


def test_rows_are_tested_over_the_seeds_that_both_have(tmp_path):
    # Each seed of the one is worse where the other is better.
    good, bad = LABELS, (np.array(LABELS) + [[0.3, 0.3]] * 4).tolist()
    for seed, ours, theirs in ((0, good, bad), (1, bad, good), (2, good, good)):
        write_run(tmp_path, RUN, seed, ours)
        if seed < 2:
            write_run(tmp_path, "cnn_1rnn-affwild2", seed, theirs)
    row = row_of(tmp_path, "cnn_1rnn")
    assert row.p_value == {"valence": 1, "arousal": 1, "mean": 1}


def test_another_corpus_is_not_compared(tmp_path):
    write_run(tmp_path, RUN, corpus="demo")
    tabulated, rows = tabulate(tmp_path, "5")
    assert rows["pool2_pool5_fc"].measured["valence"].low > 0
    assert not any("*" in line for line in tabulation.lines(tabulated, "out"))
    mark = "demo corpus: not comparable with the published numbers."
    assert mark in tabulated.notes
    assert f"- {mark}" in tabulation.lines(tabulated, "out")


# Which have scores without post-processing, headings, regions and long labels.
@pytest.mark.parametrize("number", "3478")
def test_files_of_a_table(tmp_path, number):
    place = write_run(tmp_path, RUN, ccc=(0.4561, 0.1))
    write_unprocessed(place, (0.4321, 0.1))
    out = tmp_path / "out"
    tabulated = tabulation.make(
        TableOptions(table=number, runs=str(tmp_path), output=str(out))
    )
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"table_{number}.{ending}" for ending in ("csv", "json", "md", "png")
    )
    assert (out / f"table_{number}.png").read_bytes()[:4] == b"\x89PNG"
    content = json.loads((out / f"table_{number}.json").read_text())
    table = pd.read_csv(out / f"table_{number}.csv")
    labels = [row.label for row in TABLES[number].rows]
    assert list(table["label"]) == labels
    assert [row["label"] for row in content["rows"]] == labels
    measured = [x for x in content["rows"] if x["state"] == "measured"]
    # One region has none of the labels.
    assert len(measured) == (4 if number == "7" else 1)
    if number == "7":  # all utterances are off alike
        value = low = high = shifts((0.4561, 0.1))[0] ** 2
    else:
        value = 0.4561  # a quarter of two videos' samples has each twice
        low, high = (
            2 * variance / (2 * variance + shifts((value, 0.1))[0] ** 2)
            for variance in (0.0625, 0.25)
        )
    in_csv = table[table["state"] == "measured"].iloc[-1]
    for part, expected in (("value", value), ("low", low), ("high", high)):
        found = measured[-1]["measured"]["valence"][part]
        assert found == pytest.approx(expected, abs=1e-6)
        assert in_csv[f"measured_valence_{part}"] == round(found, 6)
    lines = tabulation.lines(tabulated, "out")
    assert max(map(len, lines)) <= 120
    markdown = (out / f"table_{number}.md").read_text().splitlines()
    for rendered in (lines, markdown):
        cell = f"{value:.3f} [{low:.2f}, {high:.2f}]"
        (row,) = [x for x in rendered if cell in x][-1:]
        if number == "3":
            assert "0.472 0.329 0.401" in row
            assert f"{cell}*" in row and row.count("*") == 1  # not of arousal
            (below,) = [x for x in rendered if "0.463 0.322 0.393" in x]
            assert "without post-processing" in below and "0.432 [" in below


def test_a_table_gives_way_only_where_asked(tmp_path):
    options = TableOptions(
        table="3", runs=str(tmp_path), output=str(tmp_path / "out")
    )
    tabulation.make(options)
    (tmp_path / "out" / "table_3.md").write_text("old")
    with pytest.raises(UserError, match="out is not empty.*--overwrite"):
        tabulation.make(options)
    tabulation.make(options, overwrite=True)
    assert "Table 3" in (tmp_path / "out" / "table_3.md").read_text()


def test_runs_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(UserError, match="--runs=nowhere is no"):
        TableOptions(table="3", runs="nowhere", output="o")
    place = write_run(tmp_path, RUN)
    (place / "test" / "metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"--runs=.*seed_0/test/metrics\.json"):
        tabulate(tmp_path)


def test_a_comparison_of_the_text_has_its_words_for_numbers(tmp_path):
    write_run(tmp_path, RUN, ccc=(0.4, 0.1))
    write_run(tmp_path, "cnn_3rnn-landmark_units_512-affwild2", ccc=(0.3, 0.1))
    out = tmp_path / "out"
    tabulated = tabulation.make(
        TableOptions(table="encoders", runs=str(tmp_path), output=str(out))
    )
    assert [row.state for row in tabulated.rows] == ["measured"] * 2 + [
        "not run"
    ] * 2
    assert [bool(row.published) for row in tabulated.rows] == [1, 0, 0, 0]
    lines = tabulation.lines(tabulated, "out")
    assert lines[0].startswith("Section 7: A layer that encodes the landmarks")
    (words,) = [x for x in tabulated.notes if x.startswith("The paper says: ")]
    assert "512, 1024 or 2048 units made no significant difference" in words
    encoded = next(line.split() for line in lines if "512 units" in line)
    assert encoded[:4] == ["512", "units", "-", "0.300"]
    content = json.loads((out / "table_encoders.json").read_text())
    assert content["table"] == "encoders"
    assert content["rows"][1]["published"] is None
