import csv
import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from affwild_omg.errors import UserError
from affwild_omg.scoring import concordance
from tests.conftest import FRAMES, clip_seed, make_clip, write_records_folder


@pytest.fixture(scope="module")
def evaluation(tf):
    from affwild_omg import evaluation

    return evaluation


@pytest.fixture
def options(evaluation, small_run, small_records, tmp_path):
    return evaluation.Options(
        model=small_run[0].workdir,
        records=str(small_records),
        output=str(tmp_path / "out"),
        split="train",
    )


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


def read_predictions(options):
    return read_table(options, "predictions.csv")


def names(directory):
    return sorted(path.name for path in pathlib.Path(directory).iterdir())


def by_hand(model, split, length, estimate):
    """Predicts the small records' utterances without any of the pipeline.

    Each window goes through the network alone, neither padded nor batched.
    """
    predictions, labels = {}, {}
    for video, lengths in FRAMES[split].items():
        for index, frames in enumerate(lengths):
            name = f"utterance_{2 * index + 1}.mp4"
            clip = make_clip(video, name, frames, clip_seed(video, index))
            estimates = []
            for start in range(0, frames, length):
                window = slice(start, start + length)
                mask = clip.face[window]
                values = model(
                    {
                        "frames": clip.images[None, window],
                        "landmarks": clip.landmarks[None, window],
                        "mask": mask[None],
                    },
                    training=False,
                ).numpy()[0]
                if mask.any():
                    estimates.append(estimate(values[mask], axis=0))
            predictions[video, name] = np.mean(estimates, axis=0)
            labels[video, name] = [*clip.valence, *clip.arousal]
    return predictions, labels


@pytest.mark.parametrize(
    ("changes", "length", "estimate"),
    [
        ({}, 4, np.median),
        (
            {"estimate": "mean", "batch_size": 1, "sequence_length": 3},
            3,
            np.mean,
        ),
        ({"sequence_length": 80}, 80, np.median),
    ],
)
def test_predictions_and_scores_by_another_way(
    evaluation, small_run, options, changes, length, estimate
):
    from affwild_omg import model_files

    options = dataclasses.replace(options, **changes)
    metrics = evaluation.evaluate(options)
    model, _ = model_files.load_model(options.model)
    expected, labels = by_hand(model, "train", length, estimate)
    found = read_predictions(options)
    assert list(found) == list(expected)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=2e-6)

    assert metrics == json.loads(
        pathlib.Path(options.output, "metrics.json").read_text()
    )
    x = np.array(list(labels.values()))
    y = np.array(list(expected.values()))
    for column, target in enumerate(("valence", "arousal")):
        covariances = np.cov(x[:, column], y[:, column], bias=True)
        difference = x[:, column].mean() - y[:, column].mean()
        assert metrics[target] == {
            "ccc": pytest.approx(
                2 * covariances[0, 1] / (np.trace(covariances) + difference**2),
                abs=1e-5,
            ),
            "pearson": pytest.approx(
                np.corrcoef(x[:, column], y[:, column])[0, 1], abs=1e-4
            ),
            "mse": pytest.approx(np.square(x - y)[:, column].mean(), abs=1e-5),
        }
    cccs = [metrics[target]["ccc"] for target in ("valence", "arousal")]
    assert metrics["mean_ccc"] == pytest.approx(np.mean(cccs))
    truth = read_table(options, "labels.csv")
    assert list(truth) == list(expected)
    for key, values in labels.items():
        np.testing.assert_allclose(truth[key], values, atol=1e-7)
    for column, target in enumerate(("valence", "arousal")):
        ccc = concordance.concordance(
            [row[column] for row in truth.values()],
            [row[column] for row in found.values()],
        )
        assert ccc == pytest.approx(metrics[target]["ccc"], abs=1e-7)
    facts = {
        "utterances": 3,
        "coverage": 0.75,
        "expected": 4,
        "utterances_without_face": 0,
        "frames": 20,
        "frames_with_face": 18,
        "split": "train",
        "level": "utterance",
        "sequence_length": length,
    }
    assert {name: metrics[name] for name in facts} == facts


def test_whatever_holds_the_model_predicts_the_same(
    evaluation, options, small_saved_model, tmp_path
):
    evaluation.evaluate(options)
    expected = read_predictions(options)
    for index, model in enumerate(
        (f"{options.model}/best.keras", str(small_saved_model))
    ):
        other = dataclasses.replace(
            options, model=model, output=str(tmp_path / str(index))
        )
        evaluation.evaluate(other)
        found = read_predictions(other)
        assert list(found) == list(expected)
        for key, values in expected.items():
            np.testing.assert_allclose(found[key], values, atol=1e-5)


def test_no_label_reaches_the_network(evaluation, options, tmp_path):
    evaluation.evaluate(options)
    bare = write_records_folder(tmp_path / "bare", valence=[], arousal=[])
    other = dataclasses.replace(
        options, records=str(bare), output=str(tmp_path / "bare_out")
    )
    metrics = evaluation.evaluate(other)
    assert read_predictions(other) == read_predictions(options)
    assert metrics["utterances"] == 0
    assert not {"valence", "arousal", "mean_ccc"} & metrics.keys()
    assert evaluation.table(metrics) == [
        "no labelled utterances of train, 75.0% of the corpus' split prepared"
    ]


def test_pictures_are_drawn_and_old_ones_go(evaluation, options, tmp_path):
    import cv2

    metrics = evaluation.evaluate(options)
    assert names(options.output) == [
        "histograms.png",
        "labels.csv",
        "metrics.json",
        "predictions.csv",
        "scatter.png",
    ]
    for name in ("histograms.png", "scatter.png"):
        picture = cv2.imread(str(pathlib.Path(options.output, name)))
        assert min(picture.shape[:2]) > 400 and picture.std() > 5
    table = evaluation.table(metrics)
    low, high = metrics["intervals"]["valence"]
    assert table[1].split() == [
        "valence",
        *(f"{metrics['valence'][x]:.3f}" for x in ("ccc", "pearson", "mse")),
        f"{low:.3f}",
        "to",
        f"{high:.3f}",
    ]
    assert -1 <= low <= metrics["valence"]["ccc"] <= high <= 1
    bare = metrics | {"intervals": {}}
    assert evaluation.table(bare)[1].endswith("none (needs two videos by name)")

    pathlib.Path(options.output, "notes.txt").touch()
    bare = write_records_folder(tmp_path / "bare", valence=[], arousal=[])
    options = dataclasses.replace(options, records=str(bare))
    with pytest.raises(UserError, match="--output=.* is not empty"):
        evaluation.evaluate(options)
    evaluation.evaluate(options, overwrite=True)
    assert names(options.output) == [
        "metrics.json",
        "notes.txt",
        "predictions.csv",
    ]


def test_labels_are_those_of_labelled_utterances_alone(
    tf, evaluation, options, small_records, tmp_path
):
    from affwild_omg.data import records

    folder = shutil.copytree(small_records, tmp_path / "mixed")
    clips = [
        make_clip("eve", "utterance_1.mp4", 8, seed=1),
        make_clip("eve", "utterance_3.mp4", 3, seed=2, valence=[]),
    ]
    records.write_records(folder / "test" / "eve.tfrecord", clips)
    options = dataclasses.replace(options, records=str(folder), split="test")
    metrics = evaluation.evaluate(options)
    assert metrics["utterances"] == 1
    assert len(read_predictions(options)) == 2
    assert read_table(options, "labels.csv") == {
        ("eve", "utterance_1.mp4"): [
            pytest.approx(clips[0].valence[0]),
            pytest.approx(clips[0].arousal[0]),
        ]
    }


def without_faces(tf, small_records, folder, blind):
    """Copies the small records, with some test clips made faceless."""
    from affwild_omg.data import records

    shutil.copytree(small_records, folder)
    clips = [
        make_clip(
            "eve",
            f"utterance_{2 * index + 1}.mp4",
            frames,
            seed=clip_seed("eve", index),
            **({"face": np.zeros(frames, bool)} if index in blind else {}),
        )
        for index, frames in enumerate(FRAMES["test"]["eve"])
    ]
    records.write_records(folder / "test" / "eve.tfrecord", clips)
    return folder


def test_an_utterance_without_a_face_is_not_lost(
    tf, evaluation, options, small_records, tmp_path
):
    folder = without_faces(tf, small_records, tmp_path / "blind", blind=[1])
    options = dataclasses.replace(options, records=str(folder), split="test")
    metrics = evaluation.evaluate(options)
    seen, unseen = read_predictions(options).values()
    assert seen == unseen
    assert metrics["utterances"] == 2
    assert metrics["utterances_without_face"] == 1
    assert (metrics["frames"], metrics["frames_with_face"]) == (11, 7)


def test_nothing_is_left_after_an_error(
    tf, evaluation, options, small_records, tmp_path
):
    folder = without_faces(tf, small_records, tmp_path / "blind", [0, 1])
    for change, message in (
        (
            {"records": str(folder), "split": "test"},
            "--records=.*, test: not one frame has",
        ),
        ({"split": "dev"}, "no utterance of split 'dev'"),
        ({"model": str(tmp_path / "nowhere")}, "--model=.* does not exist"),
        ({"records": str(tmp_path)}, "holds no manifest.json"),
    ):
        output = str(tmp_path / "new" / "out")
        bad = dataclasses.replace(options, output=output, **change)
        with pytest.raises(UserError, match=message):
            evaluation.evaluate(bad)
        assert names(tmp_path) == ["blind"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimate": "mode"}, "--estimate must be one of median, mean"),
        ({"batch_size": 0}, "--batch_size must be at least 1"),
        ({"sequence_length": -1}, "--sequence_length 0 .*not 4 and -1"),
    ],
)
def test_bad_options_are_named(options, change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(options, **change)
