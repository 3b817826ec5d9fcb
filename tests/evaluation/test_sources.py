import dataclasses
import json

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.data import manifest
from affwild_omg.evaluation import results, sources
from affwild_omg.evaluation.results import Provenance
from affwild_omg.evaluation.sources import Facts
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring import significance
from affwild_omg.scoring.frames import Frames
from tests.evaluation.test_results import BOTH, ccc_by_hand, make

NAN = float("nan")
# Of each clip its source, valence and arousal. Valence: of "one" (.2 + .6) / 2,
# of all (.2 + .6 + 1) / 3; arousal: (.4 + .8) / 2 and (.4 + .8 + 0 + .2) / 4.
TRAIN = {
    "a/u1": ("one", 0.2, 0.4),
    "a/u2": ("one", 0.6, 0.8),
    "b/u1": (None, 1.0, 0.0),
    "c/u1": ("two", None, 0.2),
}
TEST = {
    "d/u1": ("one", 0.5, 0.5),
    "e/u1": ("three", 0.1, 0.3),
    "e/u2": ("three", 0.3, 0.1),
    "f/u1": (None, 0.2, 0.7),
    "g/u1": ("two", -0.2, 0.9),
}
MEANS = np.tile([0.6, 0.35], (5, 1))
SOURCE_MEANS = np.array(
    [[0.4, 0.6], [0.6, 0.35], [0.6, 0.35], [0.6, 0.35], [0.6, 0.2]]
)
PREDICTIONS = [[0.4, 0.3], [0.2, 0.2], [0.4, 0.3], [0.1, 0.9], [0.3, 0.6]]


def write_manifest(folder, **splits):
    """Makes the manifest of clips of one frame, {key: see `TRAIN`}."""
    parts = {}
    for split, clips in splits.items():
        entries = []
        for key, (source, *labels) in clips.items():
            video, utterance = key.split("/")
            means = dict(zip(TARGETS, labels, strict=True))
            entry = {
                "video": video,
                "utterance": utterance,
                "frames": 1,
                "chunks": [[1, 1]],
                "labels": {
                    name: {"mean": x, "frames_with_face": 1}
                    for name, x in means.items()
                },
            }
            named = {"source": source, "person": source and f"p{source}"}
            entries.append(entry | (named if source else {}))
        count = dict.fromkeys(("expected", "prepared", "frames"), len(entries))
        parts[split] = count | {"utterances": entries}
    folder.mkdir(exist_ok=True)
    content = {"schema_version": 2, "splits": parts}
    (folder / "manifest.json").write_text(json.dumps(content))
    return manifest.read(folder)


def evaluated(folder, predictions=PREDICTIONS, splits=None, **changes):
    """Returns results of the clips of `TEST` with their facts."""
    splits = splits or {"train": TRAIN, "test": TEST}
    facts = Facts.of_records(write_manifest(folder, **splits), "test")
    labels = [clip[1:] for clip in splits["test"].values()]
    keys = list(splits["test"])
    return make(keys, predictions, labels, facts=facts, **changes)


def test_facts_by_hand(tmp_path, caplog):
    facts = evaluated(tmp_path / "records").facts
    assert "1 of 4 training utterances have no source" in caplog.text
    path = tmp_path / "facts.csv"
    facts.write(path)
    header, *rows = path.read_text().splitlines()
    assert header == (
        "video,utterance,source,person,in_train,mean_arousal,mean_valence,"
        "source_mean_arousal,source_mean_valence"
    )
    assert [row.split(",")[:5] for row in rows] == [
        ["d", "u1", "one", "pone", "1"],
        ["e", "u1", "three", "pthree", "0"],
        ["e", "u2", "three", "pthree", "0"],
        ["f", "u1", "", "", ""],
        ["g", "u1", "two", "ptwo", "1"],
    ]
    for found in (facts, Facts.read(path, "--test")):
        np.testing.assert_allclose(found.baseline("mean", TARGETS), MEANS)
        np.testing.assert_allclose(
            found.baseline("source_mean", TARGETS), SOURCE_MEANS
        )
        assert found.in_train.tolist() == [True, False, False, False, True]
        assert found.disjoint.tolist() == [False, True, True, False, False]
        assert found.counts() == {
            "with_source": 4,
            "sources": 3,
            "in_train": 2,
            "not_in_train": 2,
        }


def test_nothing_is_made_up_without_training_labels(tmp_path):
    for splits, split in (
        ({"test": TEST}, "test"),
        ({"train": TRAIN, "test": TEST}, "train"),
    ):
        records = write_manifest(tmp_path / "records", **splits)
        facts = Facts.of_records(records, split)
        assert not facts.trained
        assert not facts.in_train.any() and not facts.disjoint.any()
        assert np.isnan(facts.baseline("source_mean", TARGETS)).all()
        assert facts.counts().keys() == {"with_source", "sources"}
    found = evaluated(tmp_path / "records", splits={"test": TEST})
    assert found.beside == {}
    # Labels of valence alone: no baseline of arousal.
    train = {"a/u1": ("one", 0.2, None), "b/u1": ("two", 0.4, None)}
    splits = {"train": train, "test": TEST}
    beside = evaluated(tmp_path / "records", splits=splits).beside
    assert beside["source_mean"].cccs.keys() == {"valence"}


def without_sources(clips):
    return {key: (None, *labels) for key, (_, *labels) in clips.items()}


def test_without_sources_in_train_nothing_is_told_to_be_disjoint(tmp_path):
    splits = {"train": without_sources(TRAIN), "test": TEST}
    found = evaluated(tmp_path / "records", splits=splits)
    assert not found.facts.in_train.any() and not found.facts.disjoint.any()
    assert list(found.beside) == ["mean", "source_mean"]
    assert found.facts.overlap() == (
        "0 of 5 utterances have a source that stands in train, too; 0 have "
        "none that does; of 5 it is not known"
    )


def test_the_run_that_knows_sources_tells_them(tmp_path):
    splits = {"train": TRAIN, "test": without_sources(TEST)}
    blind = evaluated(tmp_path / "records", splits=splits)
    facts = Facts.of_sources(blind.keys, list("xxyyy"))
    knowing = dataclasses.replace(blind, facts=facts)
    for runs in (blind, knowing), (knowing, blind):
        split = results.align(dict(enumerate(runs)))
        assert split.clusters.tolist() == list("xxyyy")


def test_what_stands_beside_the_model(tmp_path):
    found = evaluated(tmp_path / "records")
    beside = found.beside
    assert list(beside) == ["mean", "source_mean", "source_disjoint"]
    labels = found.labels
    for i, target in enumerate(TARGETS):
        assert beside["mean"].cccs[target] == 0
        error = np.mean((labels[:, i] - MEANS[0, i]) ** 2)
        assert beside["mean"].targets[target].mse == pytest.approx(error)
        ccc = pytest.approx(ccc_by_hand(labels[:, i], SOURCE_MEANS[:, i]))
        assert beside["source_mean"].cccs[target] == ccc
        own = labels[1:3, i], found.predictions[1:3, i]
        ccc = pytest.approx(ccc_by_hand(*own))
        assert beside["source_disjoint"].cccs[target] == ccc
    assert beside["source_disjoint"].rows == 2
    stated = found.to_dict()["sources"]
    assert stated["not_in_train"] == 2
    assert stated["source_mean"]["mean_ccc"] == beside["source_mean"].mean_ccc
    # All that it predicts is one number.
    cells = [row[:2] for row in sources.table(found).rows]
    assert ["mean training label", "0.000 (constant)"] in cells
    alone = {"targets": TARGETS[:1], "predictions": found.predictions[:, :1]}
    alone = dataclasses.replace(found, **alone, labels=labels[:, :1])
    assert sources.table(alone).header == ("CCC", "valence", "rows")


def test_baselines_are_scored_as_the_model_is(tmp_path):
    """By frame, an utterance of more frames counts more."""
    lengths = [1, 2, 3, 1, 2]
    splits = {"train": TRAIN, "test": TEST}
    labels = [
        np.tile(x[1:], (n, 1))
        for x, n in zip(TEST.values(), lengths, strict=True)
    ]
    frames = Frames(
        keys=list(TEST),
        targets=BOTH,
        values=[x + 0.1 for x in labels],
        mask=[np.ones(n, bool) for n in lengths],
        labels=labels,
        times=[np.arange(n) for n in lengths],
        sequence_length=2,
        tail="pad",
    )
    found = evaluated(
        tmp_path / "records",
        splits=splits,
        frames=frames,
        provenance=Provenance(
            level="frame", sequence_estimate="median", sequence_length=2
        ),
    )
    rows = np.repeat(np.arange(5), lengths)
    beside = found.beside
    for i, target in enumerate(TARGETS):
        own = found.labels[rows, i], SOURCE_MEANS[rows, i]
        ccc = pytest.approx(ccc_by_hand(*own))
        assert beside["source_mean"].cccs[target] == ccc
    assert beside["source_disjoint"].rows == 5


def test_intervals_draw_whole_sources(tmp_path):
    found = evaluated(tmp_path / "records")
    assert list(found.clusters) == ["one", "three", "three", "f", "two"]
    scores = found.headline
    assert (scores.videos, scores.sources) == (4, 4)
    random = np.random.default_rng(0)
    # Twelve videos of four sources.
    test = {
        f"v{i:02}/u{k}": (f"s{i % 4}", *random.uniform(0, 1, 2))
        for i in range(12)
        for k in range(3)
    }
    splits = {"train": TRAIN, "test": test}
    labels = np.array([clip[1:] for clip in test.values()])
    values = labels + random.normal(0, 0.2, labels.shape)
    found = evaluated(tmp_path / "records", values, splits=splits)
    scores = found.headline
    sources = [clip[0] for clip in test.values()]
    for i, target in enumerate(TARGETS):
        own = labels[:, i], values[:, i], sources
        assert scores.intervals[target] == significance.interval(*own)
    stated = scores.to_dict()
    assert stated["intervals"]["sources"] == 4
    assert "videos" not in stated["intervals"]
    assert (stated["valence"]["videos"], stated["valence"]["sources"]) == (
        12,
        4,
    )
    # The mean of the videos' own stays that of the videos.
    by_video = [
        ccc_by_hand(labels[i : i + 3, 0], values[i : i + 3, 0])
        for i in range(0, 36, 3)
    ]
    ccc = pytest.approx(np.mean(by_video))
    assert found.scores(pooling="per_video").cccs["valence"] == ccc
    one = {key: ("s", *clip[1:]) for key, clip in test.items()}
    found = evaluated(
        tmp_path / "records", values, splits={"train": TRAIN, "test": one}
    )
    assert found.headline.interval_text("mean") == "none (needs two sources)"


def test_facts_survive_the_folder(tmp_path):
    found = evaluated(tmp_path / "records")
    folder = tmp_path / "results"
    folder.mkdir()
    results.write(folder, found)
    again = results.read(folder, flag="--test")
    assert again.to_dict() == found.to_dict()
    path = folder / "facts.csv"
    text = path.read_text()
    path.write_text(text.replace("f,u1", "f,u2"))
    with pytest.raises(UserError, match="facts.csv does not fit predictions"):
        results.read(folder, flag="--test")
    path.write_text(text.replace("in_train", "intrain"))
    with pytest.raises(UserError, match="facts.csv lacks in_train"):
        results.read(folder, flag="--test")


def test_a_source_that_is_no_name_is_told(tmp_path):
    with pytest.raises(UserError, match="u1: source 7 is no name"):
        write_manifest(tmp_path / "records", test={"d/u1": (7, 0.1, 0.2)})
