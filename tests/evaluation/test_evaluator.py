import csv
import dataclasses
import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import results
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.scoring import postprocessing
from affwild_omg.scoring.frames import Frames
from tests.conftest import FRAMES, clip_seed, make_frames, write_records_folder
from tests.evaluation.test_results import ccc_by_hand

NAN = float("nan")


@pytest.fixture(scope="module")
def evaluation(tf):
    from affwild_omg.evaluation import evaluator as evaluation

    return evaluation


@pytest.fixture
def options(evaluation, small_run, small_records, tmp_path):
    return EvaluationOptions(
        model=small_run[0].workdir,
        records=str(small_records),
        output=str(tmp_path / "out"),
        split="train",
    )


@pytest.fixture(scope="module")
def evaluated(evaluation, small_run, small_records, tmp_path_factory):
    """The options and results of an evaluation by sequence; to be read only."""
    options = EvaluationOptions(
        model=small_run[0].workdir,
        records=str(small_records),
        output=str(tmp_path_factory.mktemp("evaluated") / "out"),
        split="train",
        level="sequence",
    )
    return options, evaluation.evaluate(options)


def read_table(options, name):
    """Returns {(video, utterance): [valence, arousal]}, checking the header."""
    path = pathlib.Path(options.output, name)
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["video", "utterance", "arousal", "valence"]
    return {
        (video, utterance): [float(valence), float(arousal)]
        for video, utterance, arousal, valence in rows
    }


def names(directory):
    return sorted(path.name for path in pathlib.Path(directory).iterdir())


def by_hand(model, split, length, estimate):
    """Predicts the small records' utterances without any of the pipeline.

    Each window goes through the network alone, neither padded nor batched; a
    clip's last one reaches back over frames before it, which count there.
    """
    predictions, labels = {}, {}
    for video, lengths in FRAMES[split].items():
        for index, frames in enumerate(lengths):
            name = f"utterance_{2 * index + 1}.mp4"
            clip = make_frames(frames, clip_seed(video, index))
            images, landmarks, face = (
                np.stack([getattr(frame, field) for frame in clip])
                for field in ("image", "landmarks", "face")
            )
            estimates = []
            for start in range(0, frames, length):
                stop = min(start + length, frames)
                window = slice(max(0, stop - length), stop)
                values = model(
                    {
                        "frames": images[None, window],
                        "landmarks": landmarks[None, window],
                        "mask": face[None, window],
                    },
                    training=False,
                ).numpy()[0, start - stop :]
                mask = face[start:stop]
                if mask.any():
                    estimates.append(estimate(values[mask], axis=0))
            predictions[video, name] = np.mean(estimates, axis=0)
            labels[video, name] = clip[0].labels
    return predictions, labels


@pytest.mark.parametrize(
    ("changes", "length", "estimate"),
    [
        ({"sequence_length": 80}, 80, np.median),
        (
            {"estimate": "mean", "batch_size": 1, "sequence_length": 3},
            3,
            np.mean,
        ),
    ],
)
def test_predictions_and_scores_by_another_way(
    evaluation, options, changes, length, estimate
):
    from affwild_omg.weights import model_file

    options = dataclasses.replace(options, **changes)
    found = evaluation.evaluate(options)
    model, _ = model_file.load_model(options.model)
    expected, labels = by_hand(model, "train", length, estimate)
    for name, values, tolerance in (
        ("predictions.csv", expected, 2e-6),
        ("labels.csv", labels, 1e-7),
    ):
        written = read_table(options, name)
        assert list(written) == list(values)
        for key in values:
            np.testing.assert_allclose(
                written[key], values[key], atol=tolerance
            )
    metrics = json.loads(
        pathlib.Path(options.output, "metrics.json").read_text()
    )
    assert metrics == found.to_dict()
    for i, target in enumerate(("valence", "arousal")):
        columns = (
            [value[i] for value in z.values()] for z in (labels, expected)
        )
        ccc = pytest.approx(ccc_by_hand(*columns), abs=1e-5)
        assert metrics[target]["ccc"] == ccc
    assert metrics["sequence_length"] == length
    assert "postprocessing" not in metrics


def test_where_the_results_come_from(evaluated, small_records):
    options, found = evaluated
    facts = {
        "coverage": 0.75,
        "expected": 4,
        "utterances_without_face": 0,
        "frames": 20,
        "frames_with_face": 18,
        "split": "train",
        "level": "sequence",
        "pooling": "pooled",
        "sequence_estimate": "median",
        "sequence_length": 4,
        "model": options.model,
        "options": dataclasses.asdict(options),
    }
    found = found.provenance
    assert {name: getattr(found, name) for name in facts} == facts
    assert found.network["units"] == 4
    assert found.training["epochs"] == 3
    for digest, path in (
        (found.model_sha256, pathlib.Path(options.model, "best.keras")),
        (found.records_sha256, small_records / "manifest.json"),
    ):
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "model",
    [
        "saved",
        pytest.param("best.keras", marks=pytest.mark.slow),
    ],
)
def test_whatever_holds_the_model_predicts_the_same(
    evaluation, evaluated, options, small_saved_model, model
):
    _, expected = evaluated
    place = {"saved": small_saved_model}.get(model)
    place = place or pathlib.Path(options.model, model)
    other = dataclasses.replace(options, model=str(place), level="sequence")
    found = evaluation.evaluate(other)
    assert found.keys == expected.keys
    np.testing.assert_allclose(
        found.predictions, expected.predictions, atol=1e-5
    )
    for one, two, mask in zip(
        found.frames.values,
        expected.frames.values,
        expected.frames.mask,
        strict=True,
    ):
        np.testing.assert_allclose(one[mask], two[mask], atol=1e-5)
    for target in ("valence", "arousal"):
        ccc = expected.to_dict()[target]["ccc"]
        assert found.to_dict()[target]["ccc"] == pytest.approx(ccc, abs=1e-5)
    same = found.provenance.model_sha256 == expected.provenance.model_sha256
    assert same == (model == "best.keras")


def test_two_replicas_predict_as_one_does(
    tf, evaluation, evaluated, options, monkeypatch
):
    """In batches that they do not share evenly."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    monkeypatch.setattr(evaluation, "default_strategy", lambda: strategy)
    shared = evaluation.evaluate(dataclasses.replace(options, batch_size=3))
    _, alone = evaluated
    for one, two in zip(alone.frames.values, shared.frames.values, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_no_label_reaches_the_network_and_old_files_go(
    evaluation, evaluated, options, tmp_path
):
    files = ["facts.csv", "frames.csv", "metrics.json", "predictions.csv"]
    drawn = ["histograms.png", "labels.csv", "scatter.png"]
    assert names(evaluated[0].output) == sorted([*files, *drawn])
    bare = write_records_folder(
        tmp_path / "bare", labels=lambda _, frames: np.full((frames, 2), NAN)
    )
    options = dataclasses.replace(options, records=str(bare))
    shutil.copytree(evaluated[0].output, options.output)
    pathlib.Path(options.output, "notes.txt").touch()
    with pytest.raises(UserError, match="--output=.* is not empty"):
        evaluation.evaluate(options)
    found = evaluation.evaluate(options, overwrite=True)
    np.testing.assert_array_equal(found.predictions, evaluated[1].predictions)
    for values, seen in zip(
        found.frames.values, evaluated[1].frames.values, strict=True
    ):
        np.testing.assert_array_equal(values, seen)
    assert not found.labelled.any()
    assert evaluation.table(found) == [
        "0 labelled utterances of train, 75.0% of the corpus' split prepared; "
        "scored by utterance, CCC over all of them"
    ]
    assert names(options.output) == sorted([*files, "notes.txt"])


def write_clips(records, clips):
    """Writes other clips for the test split of records.

    Args:
        records: the folder.
        clips: {utterance: frames}, all of one video.
    """
    from affwild_omg.data.records import write_clip

    place = records / "test" / "eve"
    entries = [
        write_clip(place / f"{name}.tfrecord", "eve", name, frames)
        for name, frames in clips.items()
    ]
    manifest = json.loads((records / "manifest.json").read_text())
    manifest["splits"]["test"] |= {
        "expected": len(entries),
        "prepared": len(entries),
        "frames": sum(entry["frames"] for entry in entries),
        "utterances": entries,
    }
    (records / "manifest.json").write_text(json.dumps(manifest))


def faceless(frames, seed):
    return [
        dataclasses.replace(frame, face=False)
        for frame in make_frames(frames, seed)
    ]


def test_frames_and_utterances_without_a_label_or_a_face(
    evaluation, options, small_records, tmp_path
):
    mixed = shutil.copytree(small_records, tmp_path / "mixed")
    gaps = np.full((8, 2), 0.5)
    gaps[:3, 0] = gaps[3, 1] = NAN
    gaps[5, 1] = 0.25
    bare = np.tile([NAN, 0.75], (3, 1))  # of valence
    write_clips(
        mixed,
        {
            "u1": make_frames(8, 1, gaps),
            "u2": make_frames(3, 2, bare),
            "u3": faceless(3, 3),
            "u4": make_frames(4, 4, np.full((4, 2), NAN)),
        },
    )
    options = dataclasses.replace(options, records=str(mixed), split="test")
    found = evaluation.evaluate(options)
    assert found.labelled.tolist() == [True, True, True, False]
    np.testing.assert_allclose(found.labels[0], [0.5, (0.5 * 6 + 0.25) / 7])
    np.testing.assert_array_equal(found.labels[1], [NAN, 0.75])
    again = results.read(options.output, flag="--test", frames=True)
    np.testing.assert_allclose(again.labels, found.labels, rtol=1e-6)
    for target, rows in (("valence", 2), ("arousal", 3)):
        assert found.scores().targets[target].rows == rows
    # The fifth frame has no face, and the first valence label is the fourth's.
    valence, arousal = again.frames.values[0].T
    np.testing.assert_allclose(
        found.predictions[0],
        [
            (valence[3] + np.median(valence[5:])) / 2,
            (np.median(arousal[:3]) + np.median(arousal[5:])) / 2,
        ],
        atol=1e-6,
    )
    # No utterance is lost: it takes the mean of its video's others.
    np.testing.assert_allclose(
        found.predictions[2],
        found.predictions[[0, 1, 3]].mean(axis=0),
        atol=1e-6,
    )
    assert found.provenance.utterances_without_face == 1
    assert found.provenance.frames_with_face == 7 + 3 + 4


def test_what_is_scored_is_what_the_files_hold(evaluation, evaluated):
    options, found = evaluated
    assert evaluation.table(found)[4:] == [
        "95% intervals drawn from 2 videos alone are too narrow: 20 are needed",
        "3 labelled utterances of train, 75.0% of the corpus' split prepared; "
        "scored by sequence, CCC over all of them",
    ]
    again = results.read(options.output, flag="--test", frames=True)
    np.testing.assert_array_equal(again.predictions, found.predictions)
    for values, written, mask in zip(
        found.frames.values, again.frames.values, again.frames.mask, strict=True
    ):
        np.testing.assert_array_equal(values[mask], written[mask])
    assert again.headline.cccs == pytest.approx(found.headline.cccs)


@pytest.fixture
def workdir(small_run, tmp_path):
    """A copy of the short run, to choose post-processing for."""
    return shutil.copytree(small_run[0].workdir, tmp_path / "workdir")


STEPS = {
    "estimate": "median",
    "targets": {
        "valence": {"median_window": 3, "smoothing_strength": 0},
        "arousal": {"median_window": 1, "smoothing_strength": 20},
    },
    "sequence_length": 4,
    "search": {},
    "model_sha256": "",
}


def test_steps_are_chosen_on_validation_and_applied_as_they_are(
    evaluation, options, workdir, small_records, tmp_path, monkeypatch
):
    records = shutil.copytree(small_records, tmp_path / "records")
    shutil.rmtree(records / "test")  # the choice is made without it
    options = dataclasses.replace(
        options, model=str(workdir), records=str(records), split="validation"
    )
    choosing = dataclasses.replace(options, choose_postprocessing=True)
    chosen = evaluation.evaluate(choosing)
    file = workdir / "postprocessing.json"
    kept = file.read_bytes()
    assert pathlib.Path(options.output, file.name).read_bytes() == kept
    content = json.loads(kept)
    assert content["sequence_length"] == 4
    before = chosen.without_postprocessing.scores().cccs
    for target in ("valence", "arousal"):
        search = content["search"][target]
        # The scores are of rounded estimates, the search's are not.
        after = chosen.scores().cccs[target]
        assert after == pytest.approx(search["ccc_smoothed"], abs=1e-4)
        assert before[target] == pytest.approx(search["ccc"], abs=1e-4)
        assert search["ccc_smoothed"] >= search["ccc"]
    again = dataclasses.replace(choosing, output=str(tmp_path / "again"))
    with pytest.raises(UserError, match="would replace .*--overwrite"):
        evaluation.evaluate(again)

    def choose(*args, **how):
        raise AssertionError("steps are chosen on test")

    monkeypatch.setattr(postprocessing, "choose", choose)
    options = dataclasses.replace(options, split="test")
    predictions = []
    for label in (0.9, -0.9):  # of the same frames
        clips = {
            "u1": make_frames(8, 1, [[label, 0.5]] * 8),
            "u2": make_frames(3, 2, [[0.1, label]] * 3),
        }
        write_clips(records, clips)
        found = evaluation.evaluate(options, overwrite=True)
        assert (
            found.provenance.postprocessing == chosen.provenance.postprocessing
        )
        predictions.append(found.predictions)
        assert file.read_bytes() == kept
    np.testing.assert_array_equal(*predictions)


def test_steps_by_hand(evaluation, evaluated, options, tmp_path):
    file = tmp_path / "steps.json"
    file.write_text(json.dumps(STEPS | {"tail": "overlap"}))
    evaluation.evaluate(dataclasses.replace(options, postprocessing=str(file)))
    found = results.read(options.output, flag="--test", frames=True)
    assert found.provenance.postprocessing_source == {
        "file": str(file),
        "same_model": None,
    }
    plain = evaluated[1]
    np.testing.assert_array_equal(found.unprocessed, plain.predictions)
    # The file's own steps, of the very frames that were written.
    expected = postprocessing.apply(
        postprocessing.Settings.from_dict(
            {name: STEPS[name] for name in ("estimate", "targets")}
        ),
        found.frames,
    )
    np.testing.assert_allclose(found.predictions, expected, atol=1e-6)
    assert (found.predictions != found.unprocessed).any()
    without = plain.scores(intervals=True)
    table = evaluation.table(found)
    assert table[5:7] == [
        "post-processing of valence: median over 3 frames",
        "post-processing of arousal: smoothing of 20 frames",
    ]
    assert table[7:10] == [
        f"CCC without it: {name} {ccc:.3f}, 95% interval "
        f"{without.intervals[name].low:.3f} to "
        f"{without.intervals[name].high:.3f}"
        for name, ccc in without.cccs.items()
    ]


def test_steps_that_do_not_fit_are_told(options, workdir, caplog):
    from affwild_omg.evaluation import selection

    file = workdir / "postprocessing.json"
    digest = hashlib.sha256((workdir / "best.keras").read_bytes()).hexdigest()
    options = dataclasses.replace(options, model=str(workdir))
    own = STEPS | {"model_sha256": digest}

    def find(**changes):
        changed = dataclasses.replace(options, **changes)
        named = selection.file_of(changed, overwrite=False)
        return selection.find(changed, named, 4, "pad", "utterance")

    assert find() is None
    for content, message in (
        (STEPS, "chosen for another model than .* holds now"),
        (own | {"estimate": "mean"}, "with --estimate=mean, not median"),
        (own | {"weights": "frames"}, "--sequence_weights=frames, not equal"),
        (own | {"sequence_length": 80}, "with --sequence_length=80, not 4"),
        (own | {"tail": "overlap"}, "with --tail=overlap, not pad"),
        (own | {"targets": []}, "is not post-processing of evaluate.py"),
        ([], "is not post-processing of evaluate.py"),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            find()
    assert find(postprocessing="none") is None
    with pytest.raises(UserError, match="nowhere.json does not exist"):
        find(postprocessing="nowhere.json")
    # A file that is named may be of another model, with a warning.
    for model, same in (("", None), (digest, True), (digest[::-1], False)):
        file.write_text(json.dumps(STEPS | {"model_sha256": model}))
        caplog.clear()
        found = find(postprocessing=str(file))
        assert found.same_model(options.model) is same
        assert ("chosen for another model" in caplog.text) == (same is False)
        assert "by the CCC of" not in caplog.text
    # So it may be by the CCC of something else.
    file.write_text(json.dumps(STEPS | {"level": "frame"}))
    find(postprocessing=str(file))
    assert "by the CCC of frames, which may lower that of utt" in caplog.text


def test_only_a_workdir_has_a_place_for_steps(tmp_path):
    from affwild_omg.evaluation import selection

    (tmp_path / "saved_model.pb").touch()
    options = EvaluationOptions(
        model=str(tmp_path),
        records="records",
        output="out",
        split="validation",
        choose_postprocessing=True,
    )
    with pytest.raises(UserError, match="has no workdir .*name a file"):
        selection.file_of(options, overwrite=True)
    with pytest.raises(UserError, match="goes with --split=validation, not te"):
        dataclasses.replace(options, split="test")


def test_nothing_is_left_after_an_error(
    evaluation, options, small_records, tmp_path
):
    records = shutil.copytree(small_records, tmp_path / "blind")
    write_clips(records, {"u": faceless(8, 1)})
    output = str(tmp_path / "new" / "out")
    options = dataclasses.replace(options, output=output)
    for change, message in (
        (
            {"records": str(records), "split": "test"},
            "--records=.*, test: not one frame has",
        ),
        ({"model": str(tmp_path / "nowhere")}, "--model=.* does not exist"),
        ({"records": str(tmp_path)}, "holds no manifest.json"),
    ):
        with pytest.raises(UserError, match=message):
            evaluation.evaluate(dataclasses.replace(options, **change))
        assert names(tmp_path) == ["blind"]


def test_a_damaged_history_is_told_before_the_prediction(
    evaluation, options, workdir, monkeypatch
):
    def predict_frames(*args):
        raise AssertionError("the frames are predicted")

    monkeypatch.setattr(evaluation.protocol, "predict_frames", predict_frames)
    (workdir / "history.json").write_text("[]")
    options = dataclasses.replace(options, model=str(workdir))
    with pytest.raises(UserError, match="history.json is damaged"):
        evaluation.evaluate(options)


def with_sources(small_records, records, sources, *, without=()):
    """Copies records whose videos come from these sources."""
    shutil.copytree(small_records, records)
    manifest = json.loads((records / "manifest.json").read_text())
    for split in without:
        del manifest["splits"][split]
    for part in manifest["splits"].values():
        for entry in part["utterances"]:
            if source := sources.get(entry["video"]):
                entry["source"] = source
    (records / "manifest.json").write_text(json.dumps(manifest))
    return str(records)


def test_baselines_and_overlap_are_shown(
    evaluation, options, small_records, tmp_path, caplog
):
    sources = {"ann": "x", "bob": "y", "cat": "y"}
    records = with_sources(small_records, tmp_path / "records", sources)
    options = dataclasses.replace(options, records=records, split="validation")
    found = evaluation.evaluate(options)
    assert "was trained on other records; what stands in train" in caplog.text
    labels = [
        make_frames(1, clip_seed(*clip))[0].labels
        for clip in (("ann", 0), ("ann", 1), ("bob", 0))
    ]
    facts = results.read(options.output, flag="--test").facts
    # Only "cat" has a source, and it is bob's.
    expected = [labels[2], np.mean(labels, axis=0)]
    np.testing.assert_allclose(
        facts.baseline("source_mean", ("valence", "arousal")),
        expected,
        rtol=1e-6,
    )
    lines = evaluation.table(found)
    header = next(i for i, x in enumerate(lines) if x.startswith("CCC  "))
    assert [x.split("  ")[0] for x in lines[header:-2]] == [
        "CCC",
        "model",
        "mean training label",
        "mean training label of the source",
    ]
    assert lines[-2] == (
        "1 of 2 utterances have a source that stands in train, too; 0 have "
        "none that does; of 1 it is not known"
    )
    caplog.clear()
    options = dataclasses.replace(options, records=str(small_records))
    evaluation.evaluate(options, overwrite=True)
    assert "was trained on other records" not in caplog.text


def test_another_treatment_is_told(
    evaluation, options, small_records, tmp_path, caplog
):
    records = with_sources(small_records, tmp_path / "records", {})
    path = pathlib.Path(records, "manifest.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"max_fps": 25}))
    other = dataclasses.replace(options, records=records)
    evaluation.evaluate(other)
    assert (
        f"--model={options.model} learned from all frames of its films, and "
        f"predict gives it such, but --records={records} have at most 25 "
        "frames a second"
    ) in caplog.messages
    caplog.clear()
    evaluation.evaluate(options, overwrite=True)
    assert "learned from" not in caplog.text
    # Other landmarks are refused, unless they are asked for.
    path.write_text(json.dumps(content | {"landmarks": "mediapipe"}))
    with pytest.raises(
        UserError, match="by dlib, .* by mediapipe; .* or --other_landmarks to"
    ):
        evaluation.evaluate(other, overwrite=True)
    other = dataclasses.replace(other, other_landmarks=True)
    evaluation.evaluate(other, overwrite=True)
    assert "have landmarks by mediapipe" in caplog.text


def test_without_a_training_split_there_are_no_baselines(
    evaluation, options, small_records, tmp_path
):
    records = with_sources(
        small_records, tmp_path / "records", {}, without=["train"]
    )
    options = dataclasses.replace(options, records=records, split="test")
    assert evaluation.table(evaluation.evaluate(options))[-2] == (
        "no training split is known: there are no baselines, and what "
        "it shares with train is not known"
    )


CLIPS = {
    "train": {"ann": [7], "bob": [9]},
    "validation": {"cat": [5], "dan": [6, 3], "eve": [5]},
}
# Of validation, only the clip of "eve" comes from what is trained on.
SOURCES = {"ann": "x", "bob": "y", "cat": "c", "dan": "d", "eve": "y"}


@pytest.fixture(scope="module")
def sourced(small_records, tmp_path_factory):
    """Records of `CLIPS` and `SOURCES`; to be read only."""
    folder = tmp_path_factory.mktemp("sourced")
    plain = write_records_folder(folder / "plain", CLIPS)
    return with_sources(plain, folder / "records", SOURCES)


def test_steps_are_chosen_on_what_is_not_trained_on(
    evaluation, options, sourced, small_records, workdir, tmp_path
):
    options = dataclasses.replace(
        options,
        model=str(workdir),
        records=sourced,
        split="validation",
        choose_postprocessing=True,
        validation="disjoint",
    )
    found = evaluation.evaluate(options)
    assert len(found.keys) == 4  # all are scored
    content = json.loads((workdir / "postprocessing.json").read_text())
    assert content["validation"] == "disjoint"
    for i, target in enumerate(("valence", "arousal")):
        # The scores are of rounded estimates, the search's are not.
        ccc = ccc_by_hand(found.labels[:3, i], found.unprocessed[:3, i])
        assert content["search"][target]["ccc"] == pytest.approx(ccc, abs=1e-4)
    again = dataclasses.replace(
        options, records=str(small_records), output=str(tmp_path / "again")
    )
    with pytest.raises(
        UserError, match="--validation=disjoint leaves 0 of 2 utterances"
    ):
        evaluation.evaluate(again, overwrite=True)
    assert not pathlib.Path(again.output).exists()
    with pytest.raises(UserError, match="changes nothing without it"):
        dataclasses.replace(options, choose_postprocessing=False)


@pytest.mark.parametrize(("level", "window"), [("utterance", 3), ("frame", 1)])
def test_steps_raise_the_ccc_of_the_headline(options, level, window):
    """Frames alternate: a filter spoils them, and mends the means."""
    from affwild_omg.evaluation import selection

    random = np.random.default_rng(3)
    labels, values = [], []
    for mean in random.uniform(-1, 1, 12):
        truth = mean + 0.5 * (-1.0) ** np.arange(30)
        seen = truth.copy()
        seen[[5, 16]] += random.normal()
        labels.append(np.stack([truth, truth], 1))
        values.append(np.stack([seen, seen], 1))
    frames = Frames(
        keys=[f"video{i}/u" for i in range(12)],
        targets=("valence", "arousal"),
        values=values,
        mask=[np.ones(30, bool)] * 12,
        labels=labels,
        times=[np.arange(30) / 25] * 12,
        sequence_length=30,
        tail="pad",
    )
    options = dataclasses.replace(options, estimate="mean")
    chosen = selection.choose(options, frames, frames.keys, level)
    steps = chosen.settings.targets["valence"]
    assert (chosen.level, steps.median_window) == (level, window)
    if level == "frame":
        plain = (np.concatenate(x)[:, 0] for x in (labels, values))
        ccc = chosen.search["valence"]["ccc_smoothed"]
        assert ccc == pytest.approx(ccc_by_hand(*plain))


def test_groups_are_scored(evaluation, options, sourced, tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("video,age\ndan,old\ncat,young\neve,old\nfay,old\n")
    options = dataclasses.replace(
        options, records=sourced, split="validation", groups=str(groups)
    )
    found = evaluation.evaluate(options)
    old, young = found.to_dict()["groups"]["scores"]["age"]
    assert (old["utterances"], young["utterances"]) == (3, 1)
    own = found.labels[1:, 0], found.predictions[1:, 0]
    assert old["valence_ccc"] == pytest.approx(ccc_by_hand(*own))
    assert old["valence_bias"] == pytest.approx(np.mean(own[1] - own[0]))
    assert "valence_ccc" not in young
    lines = evaluation.table(found)
    assert any(x.endswith("no utterance here has: 1 (fay)") for x in lines)
