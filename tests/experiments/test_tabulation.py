"""Tables of runs whose folders are written by hand."""

import csv
import dataclasses
import itertools
import json

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.experiments import runs
from affwild_omg.experiments import tabulation as tabulating
from affwild_omg.published.networks import NETWORKS
from affwild_omg.published.tables import TABLES
from tests.evaluation.test_results import write_folder

PAPER = {
    "coverage": 1.0,
    "corpus": "omg",
    "split": "test",
    "sequence_length": 80,
    "level": "utterance",
    "pooling": "pooled",
    "postprocessing": {"estimate": "median"},
}
# Two videos of two utterances each: valence, arousal.
LABELS = [(0.5, 0.2), (-0.5, 0.8), (0.25, 0.6), (-0.25, 0.5)]
KEYS = ["v,a", "v,b", "w,a", "w,b"]


def network(name):
    return dataclasses.asdict(NETWORKS[name].architecture)


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

    Args:
        runs: folder of the runs.
        folder: the row's.
        seed: the run's.
        predictions: (valence, arousal) of each utterance; None for such as
            have these CCCs.
        keys: video and utterance of each.
        ccc: of valence and arousal.
        labels: (valence, arousal) of each utterance.
        metrics: for metrics.json.
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


def row_of(tabulated, key):
    (row,) = [row for row in tabulated.rows if row["key"].endswith(f"/{key}")]
    return row


def test_seeds_are_averaged_and_share_an_interval(tmp_path):
    cccs = {0: (0.40, 0.10), 3: (0.50, 0.20), 10: (0.60, 0.30)}
    for seed, ccc in cccs.items():
        place = write_run(tmp_path, "cnn_3rnn-affwild2", seed, ccc=ccc)
        write_unprocessed(place, (ccc[0] - 0.02, 0.1))
    (tmp_path / "cnn_3rnn-affwild2" / "seed_4").mkdir()  # nothing there yet
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_3rnn")
    assert row["state"] == "measured"
    assert row["seeds"] == [0, 3, 10]
    assert row["published"] == {
        "valence": 0.472,
        "arousal": 0.329,
        "mean": 0.401,
    }
    assert row["published_unprocessed"]["mean"] == 0.393
    # Of two videos a quarter of the samples has either twice: the ends.
    ends = np.array(
        [
            [
                2 * variance / (2 * variance + shifts(ccc) ** 2)
                for variance in (
                    np.var(LABELS[:2], axis=0),
                    np.var(LABELS[2:], axis=0),
                )
            ]
            for ccc in cccs.values()
        ]
    ).mean(axis=0)
    for column, name in enumerate(("valence", "arousal")):
        found = row["measured"][name]
        values = [ccc[column] for ccc in cccs.values()]
        assert found["value"] == pytest.approx(np.mean(values))
        assert found["low"] == pytest.approx(ends[:, column].min())
        assert found["high"] == pytest.approx(ends[:, column].max())
        assert found["min"] == pytest.approx(min(values))
        assert found["max"] == pytest.approx(max(values))
    assert row["measured"]["valence"]["holds_published"] is True
    assert row["measured"]["arousal"]["high"] < 0.329
    assert row["measured"]["arousal"]["holds_published"] is False
    mean = row["measured"]["mean"]
    assert mean["value"] == pytest.approx(0.35)
    assert (mean["low"], mean["high"]) == pytest.approx(
        sorted(ends.mean(axis=1))
    )
    before = row["unprocessed"]["valence"]
    assert before["value"] == pytest.approx(0.48)
    assert before["low"] < 0.48 < before["high"]
    assert (row["utterances"], row["coverage"], row["corpus"]) == (4, 1, "omg")
    assert row["differences"] == []


def test_whatever_metrics_say_the_tables_count(tmp_path):
    write_run(
        tmp_path,
        "cnn_3rnn-affwild2",
        ccc=(0.25, 0.5),
        valence={"ccc": 0.9},
        arousal={"ccc": 0.9},
        level="frame",
    )
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_3rnn")
    assert row["measured"]["valence"]["value"] == pytest.approx(0.25)
    assert row["measured"]["mean"]["value"] == pytest.approx(0.375)


def test_what_has_no_interval(tmp_path):
    # A constant in one target; seeds of other utterances; a single video.
    constant = [(0.1, arousal) for _, arousal in LABELS]
    write_run(tmp_path, "vgg_face-affwild2", 0, constant)
    others = ["v,a", "v,b", "w,a", "x,b"]
    write_run(tmp_path, "resnet50-affwild2", 0)
    write_run(tmp_path, "resnet50-affwild2", 1, keys=others)
    alone = ["v,a", "v,b", "v,c", "v,d"]
    write_run(tmp_path, "affwildnet-affwild2", 0, keys=alone)
    tabulated = tabulating.tabulate(3, tmp_path)
    found = {
        key: [
            row_of(tabulated, key)["measured"][name]["low"] is None
            for name in ("valence", "arousal", "mean")
        ]
        for key in ("vgg_face", "resnet50", "affwildnet")
    }
    assert found == {
        "vgg_face": [True, False, True],
        "resnet50": [True, True, True],
        "affwildnet": [True, True, True],
    }
    assert row_of(tabulated, "vgg_face")["measured"]["valence"]["value"] == 0
    row = row_of(tabulated, "resnet50")
    assert row["measured"]["valence"]["value"] == pytest.approx(0.4)
    assert row["utterances"] == 4


def test_a_constant_is_told(tmp_path):
    constant = [(0.1, arousal) for _, arousal in LABELS]
    write_run(tmp_path, "cnn_3rnn-affwild2", 0, constant)
    write_run(tmp_path, "cnn_3rnn-affwild2", 1)
    tabulated = tabulating.tabulate(5, tmp_path)
    assert (
        "2nd pool + last pool + fc: of valence labels or predictions do not "
        "vary, so CCC is 0 by definition."
    ) in tabulated.notes


def test_nothing_to_score_is_told(tmp_path):
    place = write_run(tmp_path, "cnn_3rnn-affwild2", utterances=0)
    (place / "test" / "labels.csv").unlink()
    for number in (3, 7):
        states = [
            row["state"] for row in tabulating.tabulate(number, tmp_path).rows
        ]
        assert set(states) <= {"not run", "no labels"}
        assert "no labels" in states


def test_seeds_with_and_without_post_processing(tmp_path):
    place = write_run(tmp_path, "cnn_3rnn-affwild2", 0, ccc=(0.5, 0.5))
    write_unprocessed(place, (0.3, 0.5))
    write_run(
        tmp_path, "cnn_3rnn-affwild2", 1, ccc=(0.7, 0.5), postprocessing=None
    )
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_3rnn")
    assert row["measured"]["valence"]["value"] == pytest.approx(0.6)
    assert row["unprocessed"]["valence"]["value"] == pytest.approx(0.5)
    assert row["differences"] == ["some seeds without post-processing"]


def test_of_anyone_s_predictions_nothing_is_claimed(tmp_path):
    write_run(
        tmp_path,
        "cnn_3rnn-affwild2",
        network=None,
        postprocessing=None,
        unmatched={"predictions": [], "annotations": []},
    )
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_3rnn")
    assert row["differences"] == [
        "network not recorded",
        "post-processing not known",
    ]


def test_a_folder_without_any_run_is_told(tmp_path, caplog):
    options = tabulating.Options(
        table=5, runs=str(tmp_path), output=str(tmp_path / "out")
    )
    tabulating.make(options)
    assert "holds no run of table 5; it should hold folders like" in caplog.text


def test_one_target_has_no_mean(tmp_path):
    place = write_run(tmp_path, "cnn_3rnn-affwild2")
    for name in ("predictions", "labels"):
        path = place / "test" / f"{name}.csv"
        cells = [line.split(",") for line in path.read_text().splitlines()]
        path.write_text("".join(f"{a},{b},{c}\n" for a, b, c, _ in cells))
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_3rnn")
    assert row["measured"]["arousal"]["value"] == pytest.approx(0.2)
    assert row["measured"]["valence"] is row["measured"]["mean"] is None
    states = {row["state"] for row in tabulating.tabulate(7, tmp_path).rows}
    assert states == {"one target only"}


def write_stages(place, **made):
    """Says when each stage of a run was made, and of which others."""
    (place / "stages.json").write_text(
        json.dumps(
            {
                name: {"options": {}, "of": of, "made": when}
                for name, (when, of) in made.items()
            }
        )
    )


def test_what_is_being_made_anew_is_not_shown(tmp_path):
    place = write_run(tmp_path, "cnn_3rnn-affwild2")
    write_stages(place, test=("now", []))
    assert row_of(tabulating.tabulate(5, tmp_path), "pool2_pool5_fc")[
        "measured"
    ]
    write_stages(place, test=(None, []))
    row = row_of(tabulating.tabulate(5, tmp_path), "pool2_pool5_fc")
    assert row["state"].startswith("unfinished: give")
    assert "measured" not in row
    # Another seed is whole, and stands alone.
    write_run(tmp_path, "cnn_3rnn-affwild2", 1)
    row = row_of(tabulating.tabulate(5, tmp_path), "pool2_pool5_fc")
    assert row["seeds"] == [1]


def test_a_fusion_of_what_was_made_anew_is_not_shown(tmp_path):
    place = write_run(tmp_path, "decision_fusion-affwild2")
    members = [write_run(tmp_path, f"cnn_{n}rnn-affwild2") for n in (1, 3)]
    for i, member in enumerate(members):
        write_stages(
            member, validation=(f"v{i}", []), test=(f"t{i}", [f"v{i}"])
        )

    def state():
        return row_of(tabulating.tabulate(3, tmp_path), "decision_fusion")[
            "state"
        ]

    write_stages(place, test=("now", ["v0", "t0", "v1", "t1"]))
    assert state() == "measured"
    write_stages(place, test=("now", ["v0", "t0", "v1", "older"]))
    assert state().startswith("unfinished")
    (members[0] / "stages.json").write_text("{}")
    assert state().startswith("unfinished")


def test_what_is_not_there_says_why(tmp_path):
    runs.write_state(
        tmp_path / "cnn_1rnn-affwild2",
        "not run: corpus absent (--affwild2_records)",
    )
    runs.write_state(tmp_path / "model_fusion_rnn-scratch", "failed: why")
    for number, expected in (
        (3, {"vgg_face": "not run"}),
        (
            8,
            {
                "vnet": "other system",
                "cnn_3rnn": "not run",
                "model_fusion_rnn": "failed: why",
            },
        ),
        (
            4,
            {
                "cnn_1rnn_affwild2": (
                    "not run: corpus absent (--affwild2_records)"
                ),
                "cnn_1rnn_scratch": "not run",
            },
        ),
    ):
        tabulated = tabulating.tabulate(number, tmp_path)
        for key, state in expected.items():
            row = row_of(tabulated, key)
            assert row["state"] == state
            assert "measured" not in row
            assert row["published"]["valence"] > 0
        text = "\n".join(tabulating.lines(tabulated))
        assert all(state in text for state in expected.values())
        assert tabulated.notes == []


def test_runs_without_pre_training_stand_in_and_say_so(tmp_path):
    write_run(tmp_path, "cnn_3rnn-scratch")
    row = row_of(tabulating.tabulate(5, tmp_path), "pool2_pool5_fc")
    assert row["state"] == "measured"
    assert row["differences"] == ["not pre-trained"]
    # In table 4 it is a row in its own right, and in no other's place.
    fourth = tabulating.tabulate(4, tmp_path)
    assert row_of(fourth, "cnn_3rnn_scratch")["differences"] == []
    assert row_of(fourth, "cnn_3rnn_affwild2")["state"] == "not run"
    lines = "\n".join(tabulating.lines(fourth))
    assert "pre-trained;" not in lines and "not pre-trained" not in lines
    # Beside one that was, the row says so itself; alone, all rows do.
    alone = tabulating.tabulate(5, tmp_path)
    assert alone.notes[0] == "Every measured row: not pre-trained."
    write_run(tmp_path, "cnn_3rnn_conv5_3_pool5_fc-affwild2")
    beside = tabulating.tabulate(5, tmp_path)
    assert not any("pre-trained" in note for note in beside.notes)
    assert "- 2nd pool + last pool + fc: not pre-trained." in (
        tabulating.lines(beside)
    )
    # A pre-trained run comes first.
    write_run(tmp_path, "cnn_3rnn-affwild2", ccc=(0.9, 0.9))
    row = row_of(tabulating.tabulate(5, tmp_path), "pool2_pool5_fc")
    assert row["measured"]["mean"]["value"] == pytest.approx(0.9)
    assert row["differences"] == []


def test_differences_from_the_row_are_told(tmp_path):
    narrow = network("cnn_3rnn") | {"width": 0.0625, "units": 32}
    place = write_run(
        tmp_path,
        "cnn_3rnn-affwild2",
        network=narrow,
        postprocessing=None,
        sequence_estimate="mean",
        split="validation",
    )
    (place / "workdir").mkdir()
    flagfile = place / "workdir" / "flags.cfg"
    flagfile.write_text(
        "--records=r\n--train=all\n--sequence_length=20\n--batch_size=4\n"
        "--learning_rate=0.001\n--epochs=2\n--patience=10\n--units=32\n"
        "--part_learning_rates=cnn=1e-5\n--shuffle_labels=true\n--seed=3\n"
    )
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_3rnn")
    assert row["differences"] == [
        "units 32, not 128",
        "width 0.0625, not 1.0",
        "learning_rate 0.001 with train=all",
        "sequence_length 20, not 80",
        "epochs 2, not 50",
        "part_learning_rates cnn=1e-5",
        "labels shuffled: a control",
        "random first weights",
        "scored on validation",
        "estimate mean, not median",
        "no post-processing",
    ]
    # The paper's other strategy is no difference; what a pre-training started
    # from is what counts.
    flagfile.write_text("--train=head\n--learning_rate=0.001\n")
    (place / "pretrained").mkdir()
    before = place / "pretrained" / "flags.cfg"
    before.write_text("--init_from=vgg_face.mat\n--epochs=7\n")
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_3rnn")
    assert row["differences"][2:] == [
        "epochs 7, not 50",
        "scored on validation",
        "estimate mean, not median",
        "no post-processing",
    ]


def test_seeds_that_were_trained_otherwise_are_told(tmp_path):
    for seed, text in ((0, "--epochs=50"), (1, "--epochs=2"), (2, "")):
        place = write_run(tmp_path, "cnn_3rnn-affwild2", seed)
        (place / "workdir").mkdir()
        (place / "workdir" / "flags.cfg").write_text(
            f"--seed={seed}\n--init_from=x{seed}\n--patience=10\n{text}\n"
        )
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_3rnn")
    assert row["differences"] == ["epochs 2, not 50", "seeds differ in epochs"]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"a": 1}, "network not known here"),
        ([1], "network not known here"),
        ({"members": [{"a": 1}]}, "network not known here"),
        (None, "network not recorded"),
        ("fusion", "another kind of network"),
    ],
)
def test_networks_that_can_t_be_compared_are_told(tmp_path, found, told):
    if found == "fusion":
        found = network("model_fusion_rnn")
    write_run(tmp_path, "cnn_3rnn-affwild2", network=found)
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_3rnn")
    assert row["differences"] == [told]


def test_a_row_s_own_network_is_no_difference(tmp_path):
    blind = network("cnn_3rnn") | {"landmarks": False}
    folder = "cnn_3rnn-landmarks_false-affwild2"
    write_run(tmp_path, folder, network=blind)
    key = "cnn_3rnn_without_landmarks"
    assert row_of(tabulating.tabulate(6, tmp_path), key)["differences"] == []


def test_fusions_differ_by_their_members(tmp_path):
    fusion = network("model_fusion_rnn")
    for member in fusion["members"]:
        member["width"] = 0.5
    fusion["fusion_units"] = 7
    write_run(tmp_path, "model_fusion_rnn-affwild2", network=fusion)
    narrow = network("cnn_1rnn") | {"width": 0.5}
    write_run(tmp_path, "cnn_1rnn-affwild2", network=narrow)
    write_run(tmp_path, "cnn_3rnn-affwild2")
    write_run(tmp_path, "decision_fusion-affwild2")
    tabulated = tabulating.tabulate(3, tmp_path)
    assert row_of(tabulated, "model_fusion_rnn")["differences"] == [
        "fusion_units 7, not 128",
        "width 0.5, not 1.0",
    ]
    assert row_of(tabulated, "decision_fusion")["differences"] == [
        "width 0.5, not 1.0"
    ]


def test_regions_have_the_mse_of_labels_that_lie_there(tmp_path):
    # Off by 0.1 and 0.2 in the first quarter's one, and so on.
    predictions = [(0.6, 0.4), (-0.5, 0.5), (0.05, 0.6), (-0.25, 0.4)]
    write_run(tmp_path, "cnn_3rnn-affwild2", 0, predictions)
    write_run(tmp_path, "cnn_3rnn-affwild2", 1, LABELS)  # without any error
    tabulated = tabulating.tabulate(7, tmp_path)
    found = {
        row["key"].split("/")[1]: (
            row["utterances"],
            row["measured"]["valence"] and row["measured"]["valence"]["max"],
            row["measured"]["arousal"] and row["measured"]["arousal"]["value"],
        )
        for row in tabulated.rows
    }
    assert found == {
        "positive_calm": (1, pytest.approx(0.01), pytest.approx(0.02)),
        "positive_aroused": (1, pytest.approx(0.04), 0),
        "negative_calm": (0, None, None),
        # -0.25 with arousal 0.5 is aroused: the bound is the upper region's.
        "negative_aroused": (2, 0, pytest.approx((0.09 + 0.01) / 4)),
        "everywhere": (
            4,
            pytest.approx((0.01 + 0.04) / 4),
            pytest.approx((0.04 + 0.09 + 0.01) / 8),
        ),
    }
    # Both seeds err in v/b and w/a alone: whichever video is drawn.
    aroused = row_of(tabulated, "positive_aroused")["measured"]["valence"]
    assert aroused["low"] is aroused["high"] is None  # w alone
    two = row_of(tabulated, "negative_aroused")["measured"]["arousal"]
    assert (two["low"], two["high"]) == pytest.approx((0.01 / 2, 0.09 / 2))
    everywhere = row_of(tabulated, "everywhere")["measured"]["valence"]
    assert (everywhere["low"], everywhere["high"]) == pytest.approx(
        (0.01 / 2 / 2, 0.04 / 2 / 2)  # v twice, w twice; of two seeds
    )
    assert all("p_value" not in row for row in tabulated.rows)
    assert "Labels decide" in tabulated.notes[0]


VIDEOS = np.repeat(list("abcdef"), 2)


def three_runs(runs):
    """Writes three rows of six videos; returns labels and predictions."""
    random = np.random.default_rng(5)
    labels = random.uniform(-1, 1, (12, 2)).round(3)
    predictions = {}
    for row, noise in (("cnn_3rnn", 0.2), ("cnn_1rnn", 0.5), ("vgg_face", 0.9)):
        found = (labels + random.normal(0, noise, labels.shape)).round(6)
        predictions[row] = found
        write_run(
            runs,
            f"{row}-affwild2",
            predictions=found.tolist(),
            keys=[f"{video},{i}" for i, video in enumerate(VIDEOS)],
            labels=labels.tolist(),
        )
    return labels, predictions


def test_rows_are_tested_against_the_best_together(tmp_path):
    labels, predictions = three_runs(tmp_path)
    tabulated = tabulating.make(
        tabulating.Options(
            table=3, runs=str(tmp_path), output=str(tmp_path / "out")
        )
    )
    tested = {
        row["key"].split("/")[1]: row["p_value"]
        for row in tabulated.rows
        if "p_value" in row
    }
    assert tested.keys() == {"cnn_1rnn", "vgg_face"}

    def cccs(found):
        x, y = labels, found
        covariance = np.mean((x - x.mean(0)) * (y - y.mean(0)), axis=0)
        pair = 2 * covariance / (x.var(0) + y.var(0) + (x - y).mean(0) ** 2)
        return np.array([*pair, pair.mean()])

    # Of every two rows, with each of the 64 sets of videos swapped.
    shares = {}
    for pair in itertools.combinations(predictions, 2):
        one, other = (predictions[row] for row in pair)
        differences = []
        for swap in itertools.product([False, True], repeat=6):
            rows = np.repeat(swap, 2)[:, None]
            swapped = np.where(rows, other, one), np.where(rows, one, other)
            differences.append(np.abs(cccs(swapped[0]) - cccs(swapped[1])))
        shares[pair] = np.mean(
            np.array(differences)[:, None] >= np.array(differences) - 1e-12,
            axis=0,
        )
    least = np.min(list(shares.values()), axis=0)
    for row, p_values in tested.items():
        expected = np.mean(least <= shares["cnn_3rnn", row][0], axis=0)
        assert list(p_values.values()) == pytest.approx(list(expected))
    valence, arousal, mean = tested["vgg_face"].values()
    assert 0 < valence < 1 and len({valence, arousal, mean}) == 3

    with (tmp_path / "out" / "table_3.csv").open(newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    row = rows["table3/vgg_face"]
    for name in ("valence", "arousal", "mean"):
        assert float(row[f"{name}_p_value"]) == pytest.approx(
            tested["vgg_face"][name], abs=1e-6
        )
    assert row["compared_with"] == "table3/cnn_3rnn"
    markdown = (tmp_path / "out" / "table_3.md").read_text()
    assert "| p (valence, arousal, mean) |" in markdown
    told = f"{valence:.2g}, {arousal:.2g}"
    assert f"| {told}, {mean:.2g} |" in markdown
    (line,) = [
        line
        for line in tabulating.lines(tabulated)
        if line.startswith("VGG-Face")
    ]
    assert line.endswith(told)
    (note,) = [note for note in tabulated.notes if "permutation" in note]
    assert "best measured one (CNN-3RNN" in note and "seed 0." in note


def test_rows_that_can_t_be_tested_together_are_left_out(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.3, (4, 2))
    worse = [tuple(pair) for pair in (np.array(LABELS) + noise).round(3)]
    write_run(tmp_path, "cnn_3rnn-affwild2", 0, LABELS)
    write_run(tmp_path, "cnn_1rnn-affwild2", 0, worse)
    write_run(tmp_path, "vgg_face-affwild2", 1, worse)  # no seed in common
    others = ["v,a", "v,b", "w,a", "x,b"]
    write_run(tmp_path, "resnet50-affwild2", 0, worse, others)
    write_run(tmp_path, "affwildnet-affwild2", 0, LABELS)
    tabulated = tabulating.tabulate(3, tmp_path)
    tested = {
        row["key"]: (row["p_value"], row["compared_with"])
        for row in tabulated.rows
        if "p_value" in row
    }
    # Of two that are as good, the one that stands first is the best.
    assert tested.keys() == {"table3/cnn_1rnn", "table3/cnn_3rnn"}
    assert {best for _, best in tested.values()} == {"table3/affwildnet"}
    alike = {"valence": 1, "arousal": 1, "mean": 1}
    assert tested["table3/cnn_3rnn"][0] == alike
    assert any("sampling noise" in note for note in tabulated.notes)


def test_rows_are_tested_over_the_seeds_that_both_have(tmp_path):
    # Each seed of the one is worse where the other is better.
    good, bad = LABELS, (np.array(LABELS) + [[0.3, 0.3]] * 4).tolist()
    for seed, ours, theirs in ((0, good, bad), (1, bad, good), (2, good, good)):
        write_run(tmp_path, "cnn_3rnn-affwild2", seed, ours)
        if seed < 2:
            write_run(tmp_path, "cnn_1rnn-affwild2", seed, theirs)
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_1rnn")
    assert row["p_value"] == {"valence": 1, "arousal": 1, "mean": 1}
    assert row["compared_over"] == [0, 1]
    write_run(tmp_path, "vgg_face-affwild2", 1, bad)
    row = row_of(tabulating.tabulate(3, tmp_path), "cnn_1rnn")
    assert row["compared_over"] == [1]


def test_another_corpus_is_not_compared(tmp_path):
    write_run(tmp_path, "cnn_3rnn-affwild2", corpus="demo")
    tabulated = tabulating.tabulate(5, tmp_path)
    row = row_of(tabulated, "pool2_pool5_fc")
    assert row["corpus"] == "demo"
    assert row["measured"]["valence"]["low"] > 0
    assert row["measured"]["valence"]["holds_published"] is None
    mark = "demo corpus: not comparable with the published numbers."
    assert mark in tabulated.notes
    assert f"- {mark}" in tabulating.lines(tabulated)


@pytest.mark.parametrize("number", TABLES)
def test_files_of_a_table(tmp_path, number):
    place = write_run(tmp_path, "cnn_3rnn-affwild2", ccc=(0.4561, 0.1))
    write_unprocessed(place, (0.4321, 0.1))
    # As a quarter of two videos' samples each have them, see above.
    (low, high), (low_before, high_before) = (
        sorted(
            2 * variance / (2 * variance + shifts((ccc, 0.1))[0] ** 2)
            for variance in (0.25, 0.0625)
        )
        for ccc in (0.4561, 0.4321)
    )
    out = tmp_path / "out"
    tabulated = tabulating.make(
        tabulating.Options(table=number, runs=str(tmp_path), output=str(out))
    )
    assert sorted(p.name for p in out.iterdir()) == sorted(
        f"table_{number}.{ending}" for ending in ("csv", "json", "md", "png")
    )
    content = json.loads((out / f"table_{number}.json").read_text())
    assert content["rows"] == tabulated.rows
    with (out / f"table_{number}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [
        row.label for row in TABLES[number].rows
    ]
    markdown = (out / f"table_{number}.md").read_text()
    header, rule, *body = [x for x in markdown.splitlines() if x[:1] == "|"]
    assert len(body) == len(rows)
    assert len({x.replace("\\|", "").count("|") for x in [header, *body]}) == 1
    lines = tabulating.lines(tabulated)
    assert max(map(len, lines)) <= 120
    measured = [row for row in rows if row["state"] == "measured"]
    assert len(measured) == {7: 5}.get(number, 1)
    if number == 7:
        everywhere = measured[-1]
        error = shifts((0.4561, 0.1))[0] ** 2
        assert float(everywhere["valence_measured"]) == pytest.approx(
            error, abs=1e-6
        )
        # All utterances are off alike.
        assert f"{error:.3f} [{error:.3f}, {error:.3f}]" in markdown
    else:
        assert measured[0]["valence_measured"] == "0.4561"
        assert float(measured[0]["valence_low"]) == pytest.approx(low, abs=1e-6)
        assert measured[0]["valence_unprocessed_measured"] == "0.4321"
        assert float(measured[0]["valence_unprocessed_high"]) == pytest.approx(
            high_before, abs=1e-6
        )
        assert measured[0]["arousal_interval_holds_published"] == "no"
        assert float(measured[0]["mean_high"]) > 0.27805
        assert f"0.456 [{low:.3f}, {high:.3f}]" in markdown
        assert f"0.456 {low:.2f} to {high:.2f}" in "\n".join(lines)
    if number == 3:
        (below,) = [x for x in lines if x.startswith("  without post-proc")]
        assert f"0.432 {low_before:.2f} to {high_before:.2f}" in below
        assert "0.463" in below
        assert "0.472 (0.463)" in markdown
        assert (
            f"0.456 [{low:.3f}, {high:.3f}] "
            f"(0.432 [{low_before:.3f}, {high_before:.3f}])"
        ) in markdown
        assert measured[0]["valence_unprocessed_published"] == "0.463"
    assert (out / f"table_{number}.png").read_bytes()[:4] == b"\x89PNG"


def test_a_table_gives_way_only_where_asked(tmp_path):
    options = tabulating.Options(
        table=3, runs=str(tmp_path), output=str(tmp_path / "out")
    )
    tabulating.make(options)
    (tmp_path / "out" / "table_3.md").write_text("old")
    with pytest.raises(UserError, match=r"table_3\.csv.*--overwrite"):
        tabulating.make(options)
    tabulating.make(dataclasses.replace(options, table=4))  # another file
    tabulating.make(options, overwrite=True)
    assert "Table 3" in (tmp_path / "out" / "table_3.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": 2}, "--table must be one of 3, 4, 5, 6, 7, 8, not 2"),
        ({"runs": "nowhere"}, "--runs=nowhere is no folder"),
    ],
)
def test_options_that_can_t_be_used(tmp_path, change, message):
    good = {"table": 3, "runs": str(tmp_path), "output": "o"}
    with pytest.raises(UserError, match=message):
        tabulating.Options(**good | change)


def test_a_run_that_can_t_be_read_is_named(tmp_path):
    place = write_run(tmp_path, "cnn_3rnn-affwild2")
    (place / "test" / "metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"--runs=.*seed_0/test/metrics\.json"):
        tabulating.tabulate(5, tmp_path)
