import dataclasses
import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.training.options import TrainingOptions
from tests.conftest import write_records_folder
from tests.evaluation.test_results import ccc_by_hand

# Videos of train, with one utterance each, and what is known of them: of ann
# and bob the person, of the next two the source.
PEOPLE = {
    "v0": {"person": "ann", "source": "s"},
    "v1": {"person": "bob", "source": "s"},
    "v2": {"person": "ann", "source": "t"},
    "v3": {"source": "s"},
    "v4": {"source": "s"},
    **{f"v{i}": {} for i in range(5, 12)},
}
GROUPS = ["ann", "bob", "ann", "s", "s", *(f"v{i}" for i in range(5, 12))]


def by_frame(key, frames):
    """Labels that rise within each clip, from elsewhere in each."""
    start = sum(map(ord, key)) % 50 / 100
    return start + np.linspace([-0.5, 0], [0.5, 0.2], frames)


def one_label(key, frames):
    """The same label of all clips."""
    return np.full((frames, 2), 0.5)


def make(folder, clips, labels=None, facts=None):
    """Writes records, and returns the options of a small training on them."""
    write_records_folder(folder, clips, labels)
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    for entry in content["splits"]["train"]["utterances"]:
        entry |= (facts or {}).get(entry["video"], {})
    path.write_text(json.dumps(content))
    return TrainingOptions(
        records=str(folder),
        workdir=str(folder.parent / "run"),
        **{"width": 0.03, "units": 4, "taps": ["fc"], "depth": 1},
        **{"sequence_length": 4, "batch_size": 2, "epochs": 1},
    )


@pytest.fixture(scope="module")
def validation(tf):
    from affwild_omg.training import validation

    return validation


@pytest.fixture(scope="module")
def people(tf, tmp_path_factory):
    """Options of a corpus without a validation split, labelled by frame."""
    clips = {"train": {video: [5] for video in PEOPLE}, "test": {"w": [5]}}
    folder = tmp_path_factory.mktemp("people") / "records"
    return make(folder, clips, by_frame, PEOPLE)


SPLITS = {"train": {"a": [5, 5], "b": [5]}, "validation": {"c": [5], "d": [3]}}
ALONE = {"train": {"a": [5, 5]}, "validation": {"c": [6]}}


@pytest.mark.parametrize(
    ("clips", "labels", "changes", "expected"),
    [
        (SPLITS, None, {}, "utterance"),
        (SPLITS, None, {"validation_level": "sequence"}, "sequence"),
        (SPLITS, by_frame, {}, "frame"),
        (SPLITS, by_frame, {"validation_level": "utterance"}, "utterance"),
        # Shuffled labels are those of clips.
        (SPLITS, by_frame, {"shuffle_labels": True}, "utterance"),
        (SPLITS, by_frame, {"loss_level": "frame", "batch_size": 1}, "frame"),
        (ALONE, by_frame, {"validation_level": "sequence"}, "sequence"),
    ],
)
def test_what_validation_compares(
    validation, tmp_path, clips, labels, changes, expected
):
    options = make(tmp_path / "records", clips, labels)
    options = dataclasses.replace(options, **changes)
    records = validation.read(options)
    validation.check(options, records)
    assert validation.level_of(options, records) == expected


@pytest.mark.parametrize(
    ("clips", "labels", "changes", "message"),
    [
        (
            *(SPLITS, None, {"loss_level": "frame", "batch_size": 1}),
            "--loss_level=frame .* train .* a batch of one window, .* give "
            "--batch_size=2",
        ),
        # Two windows of each clip of five frames.
        (SPLITS, None, {"batch_size": 7}, "more than the 6 windows .* give 6"),
        (
            *(SPLITS, None, {"ccc_sequences": 7}),
            "--ccc_sequences=7 is more than the 6 windows",
        ),
        (SPLITS, one_label, {}, "--loss_level=sequence .* give other records"),
        (
            *(ALONE, by_frame, {"validation_level": "utterance"}),
            "--validation_level=utterance .* equal, .* --validation_level=fr",
        ),
        (
            *(ALONE, by_frame),
            {"validation_level": "sequence", "sequence_length": 6},
            "--validation_level=sequence .* give --validation_level=frame",
        ),
        (ALONE, by_frame, {"shuffle_labels": True}, "=utterance .* other rec"),
        (
            {"train": {"a": [5], "b": [5]}, "validation": {"c": [5]}},
            *(None, {}),
            "--validation_level=utterance .* validation .* give other records",
        ),
        (SPLITS, None, {"holdout": 0.1}, "has a validation split of its own"),
        ({"train": {"a": [5, 5]}}, None, {}, "no validation .*--holdout=0.1"),
        (
            *({"train": {"a": [5, 5]}}, None, {"holdout": 0.5}),
            "clips of train are all of one person, source or video",
        ),
    ],
)
def test_nothing_to_compare_is_told(
    validation, tmp_path, clips, labels, changes, message
):
    options = make(tmp_path / "records", clips, labels)
    options = dataclasses.replace(options, **changes)
    with pytest.raises(UserError, match=message):
        validation.check(options, validation.read(options))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_people_are_held_out_whole(validation, people, share):
    """By hand: where the SHA-256 of a person's name lies in all of them."""
    expected = [
        f"{video}/utterance_1.mp4"
        for video, group in zip(PEOPLE, GROUPS, strict=True)
        if int(hashlib.sha256(group.encode()).hexdigest(), 16) < share * 2**256
    ]
    assert 0 < len(expected) < len(PEOPLE)
    options = dataclasses.replace(people, holdout=share)
    assert validation.read(options).held_out == expected


def test_the_nearest_share_that_parts_train_is_named(
    validation, people, tmp_path
):
    places = [
        int(hashlib.sha256(group.encode()).hexdigest(), 16) / 2**256
        for group in GROUPS
    ]
    for share, end, clips in ((1e-9, min(places), 0), (1, max(places), 12)):
        options = dataclasses.replace(people, holdout=share)
        with pytest.raises(UserError, match=f"takes {clips} of the 12") as told:
            validation.read(options)
        near = float(str(told.value).rpartition("=")[2])
        assert near == pytest.approx(end, abs=1e-4)
        held = dataclasses.replace(people, holdout=near)
        assert 0 < len(validation.read(held).held_out) < 12


def test_a_run_trains_on_the_rest_and_is_evaluated_on_the_same(
    validation, people, tmp_path, monkeypatch, caplog
):
    from affwild_omg.data import manifest, pipeline
    from affwild_omg.evaluation import evaluator
    from affwild_omg.evaluation.options import EvaluationOptions
    from affwild_omg.training import loop

    options = dataclasses.replace(people, holdout=0.5)
    held = validation.read(options).held_out
    rest = [f"{video}/utterance_1.mp4" for video in PEOPLE]
    rest = [key for key in rest if key not in held]
    seen, windows = [], pipeline.windows

    def watched(clips, **settings):
        found = windows(clips, **settings)
        own = {x["key"].decode() for x in found.as_numpy_iterator()}
        if own not in seen:
            seen.append(own)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "windows", watched)
        summary = loop.train(options)
    assert seen == [set(rest), set(held)]
    history = pathlib.Path(options.workdir, "history.json").read_text()
    assert json.loads(history)["held_out"] == summary["held_out"] == held
    assert summary["validation_level"] == "frame"

    def evaluate(split, model=options.workdir):
        return evaluator.evaluate(
            EvaluationOptions(
                model=model,
                records=options.records,
                split=split,
                output=str(tmp_path / split),
            ),
            overwrite=True,
        )

    found = evaluate("validation")
    assert found.keys == held
    assert found.provenance.level == "frame"
    assert found.provenance.coverage is found.provenance.expected is None
    assert evaluator.table(found)[-1].endswith(
        "what the training held out of train; scored by frame, because labels "
        "differ within a clip, CCC over all of them"
    )
    # By hand, of the frames: four of five have a face.
    values, labels = (
        np.concatenate(x)[np.concatenate(found.frames.mask)]
        for x in (found.frames.values, found.frames.labels)
    )
    (epoch,) = summary["epochs"]
    for i, target in enumerate(("valence", "arousal")):
        assert epoch["validation"][target]["ccc"] == pytest.approx(
            ccc_by_hand(labels[:, i], values[:, i]), abs=1e-4
        )
    assert epoch["validation"]["rows"] == 4 * len(held)
    # What is held out is no part of the means of training labels.
    labels = [
        x.labels[0]
        for x in manifest.read(options.records).clips("train")
        if x.key in rest
    ]
    np.testing.assert_allclose(
        found.facts.table["mean_valence"], np.mean(labels)
    )
    # A file in the workdir knows as much, a copy elsewhere does not.
    found = evaluate("train", f"{options.workdir}/best.keras")
    assert found.keys == rest and found.provenance.coverage is None
    assert "does not tell what its training held out" not in caplog.text
    copy = shutil.copy(f"{options.workdir}/best.keras", tmp_path / "m.keras")
    assert len(evaluate("train", str(copy)).keys) == len(PEOPLE)
    assert "m.keras does not tell what its training held out" in caplog.text
    assert evaluate("test").provenance.coverage == 0.5  # one of two is there
    other = make(tmp_path / "other", {"train": {"v0": [5], "x": [5]}})
    with pytest.raises(UserError, match="has [01] of the . clips that the tra"):
        evaluator.evaluate(
            EvaluationOptions(
                model=options.workdir,
                records=other.records,
                split="validation",
                output=str(tmp_path / "other_results"),
            )
        )
