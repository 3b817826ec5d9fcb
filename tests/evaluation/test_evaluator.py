import csv
import dataclasses
import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest
from scipy import ndimage, stats

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation.options import LEVELS, EvaluationOptions
from affwild_omg.scoring import concordance
from tests.conftest import FRAMES, clip_seed, make_clip, write_records_folder


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
    from affwild_omg.weights import model_file as model_files

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
        correlation = stats.pearsonr(x[:, column], y[:, column])
        covariances = np.cov(x[:, column], y[:, column], bias=True)
        difference = x[:, column].mean() - y[:, column].mean()
        assert metrics[target] == {
            "ccc": pytest.approx(
                2 * covariances[0, 1] / (np.trace(covariances) + difference**2),
                abs=1e-5,
            ),
            "pearson": pytest.approx(correlation.statistic, abs=1e-4),
            "pearson_p_value": pytest.approx(correlation.pvalue, abs=1e-4),
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
        "pooling": "pooled",
        "moments": "1/N",
        "sequence_length": length,
        "postprocessing": None,
    }
    assert {name: metrics[name] for name in facts} == facts
    assert metrics["network"]["units"] == 4
    assert not pathlib.Path(options.output, "unprocessed.csv").exists()


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
        "frames.csv",
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
        f"{metrics['valence']['pearson_p_value']:.2g}",
    ]
    assert -1 <= low <= metrics["valence"]["ccc"] <= high <= 1
    bare = metrics | {"intervals": {}}
    assert "none (needs two videos)" in evaluation.table(bare)[1]

    pathlib.Path(options.output, "notes.txt").touch()
    bare = write_records_folder(tmp_path / "bare", valence=[], arousal=[])
    options = dataclasses.replace(options, records=str(bare))
    with pytest.raises(UserError, match="--output=.* is not empty"):
        evaluation.evaluate(options)
    evaluation.evaluate(options, overwrite=True)
    assert names(options.output) == [
        "frames.csv",
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


@pytest.mark.parametrize(
    ("level", "pooling"),
    [("utterance", "per_video"), ("sequence", "pooled"), ("frame", "pooled")],
)
def test_protocols_by_name_from_the_tables(evaluation, options, level, pooling):
    options = dataclasses.replace(options, level=level, pooling=pooling)
    metrics = evaluation.evaluate(options)
    assert (metrics["level"], metrics["pooling"]) == (level, pooling)
    assert metrics["valence"] == metrics["protocols"][level][pooling]["valence"]
    # Once more, from nothing but frames.csv: rows of (video, true, predicted).
    with open(pathlib.Path(options.output, "frames.csv")) as file:
        frames = [row for row in csv.DictReader(file) if row["face"] == "1"]
    groups = {}
    for row in frames:
        window = {
            "utterance": None,
            "sequence": int(row["frame"]) // 4,
            "frame": row["frame"],
        }[level]
        pair = float(row["true_valence"]), float(row["valence"])
        groups.setdefault((row["video"], row["utterance"], window), []).append(
            pair
        )
    if level == "utterance":
        # Medians of windows are tested elsewhere: here, how they are pooled.
        truth = read_table(options, "labels.csv")
        found = read_predictions(options)
        rows = [(v, truth[v, u][0], found[v, u][0]) for v, u in found]
    else:
        rows = [
            (video, np.mean(pairs, axis=0)[0], np.median(pairs, axis=0)[1])
            for (video, _, _), pairs in groups.items()
        ]
    assert metrics["rows"] == len(rows)
    videos = sorted({video for video, *_ in rows})
    sets = (
        [rows]
        if pooling == "pooled"
        else [[row for row in rows if row[0] == video] for video in videos]
    )
    cccs = [
        concordance.concordance([r[1] for r in some], [r[2] for r in some])
        for some in sets
    ]
    assert metrics["valence"]["ccc"] == pytest.approx(np.mean(cccs), abs=1e-6)
    shown, others = evaluation.table(metrics)[4:6]
    assert shown.startswith(f"by {level}, ")
    assert shown.endswith(f"; mean CCC {metrics['mean_ccc']:.3f}")
    cells = []
    for name, by_pooling in metrics["protocols"].items():
        pooled, per_video = (
            f"{by_pooling[x]['mean_ccc']:.3f}" for x in ("pooled", "per_video")
        )
        cell = f"{name} {pooled} ({per_video})"
        if name == level:
            out = pooled if pooling == "pooled" else f"({per_video})"
            cell = cell.replace(f" {out}", "", 1)
        cells.append(cell)
    assert others == (
        f"mean CCC by others, in brackets per video: {', '.join(cells)}"
    )


def test_frames_survive_the_files(evaluation, options, small_records):
    from affwild_omg.evaluation import protocol, results
    from affwild_omg.scoring import postprocessing

    metrics = evaluation.evaluate(options)
    frames = results.read(options.output, flag="--test", frames=True).frames
    assert frames.keys == ["ann/utterance_1.mp4", "ann/utterance_3.mp4"] + [
        "bob/utterance_1.mp4"
    ]
    assert frames.lengths.tolist() == FRAMES["train"]["ann"] + [9]
    assert list(frames.fps) == [25, 25, 25]
    settings = postprocessing.Settings.nothing(frames.targets)
    for level in LEVELS:
        rows = protocol.rows_of(frames, settings, level)
        rows = dataclasses.replace(
            rows, predictions=results.as_written(rows.predictions)
        )
        found = protocol.score(rows, frames.targets)
        stored = metrics["protocols"][level]["pooled"]
        for target in frames.targets:
            assert found[target]["ccc"] == pytest.approx(
                stored[target]["ccc"], abs=1e-6
            )


@pytest.fixture
def workdir(small_run, tmp_path):
    """A copy of the short run, to choose post-processing for."""
    return shutil.copytree(small_run[0].workdir, tmp_path / "workdir")


@pytest.fixture
def steps(evaluation):
    """Post-processing that does something to both targets."""
    return {
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
    evaluation, options, workdir, tmp_path
):
    options = dataclasses.replace(options, model=str(workdir))
    validation = dataclasses.replace(
        options,
        split="validation",
        choose_postprocessing=True,
        output=str(tmp_path / "validation"),
    )
    chosen = evaluation.evaluate(validation)
    file = workdir / "postprocessing.json"
    kept = json.loads(file.read_text())
    assert (tmp_path / "validation" / file.name).read_text() == file.read_text()
    assert kept["sequence_length"] == 4
    tried = dict(kept["search"]["valence"]["median_windows"])
    assert {1, 3, 81} <= set(tried)
    for target in ("valence", "arousal"):
        search = kept["search"][target]
        # The scores are of rounded estimates, the search's are not.
        assert chosen[target]["ccc"] == pytest.approx(
            search["ccc_smoothed"], abs=1e-4
        )
        assert chosen["unprocessed"][target]["ccc"] == pytest.approx(
            search["ccc"], abs=1e-4
        )
        assert search["ccc_smoothed"] >= search["ccc"]

    before = file.read_bytes()
    metrics = evaluation.evaluate(options)
    assert file.read_bytes() == before
    assert metrics["postprocessing"] == chosen["postprocessing"]
    assert metrics["postprocessing"]["targets"] == kept["targets"]
    with pytest.raises(UserError, match="would replace .*--overwrite"):
        evaluation.evaluate(
            dataclasses.replace(validation, output=str(tmp_path / "again"))
        )


def test_steps_by_hand(evaluation, options, steps, tmp_path):
    from affwild_omg.evaluation import results

    file = tmp_path / "steps.json"
    file.write_text(json.dumps(steps))
    metrics = evaluation.evaluate(
        dataclasses.replace(options, postprocessing=str(file))
    )
    bare = dataclasses.replace(options, output=str(tmp_path / "bare"))
    plain = evaluation.evaluate(bare)
    found = results.read(options.output, flag="--test")
    without = results.read(bare.output, flag="--test")
    np.testing.assert_array_equal(found.unprocessed, without.predictions)
    assert metrics["unprocessed"]["valence"] == plain["valence"]
    frames = results.read(options.output, flag="--test", frames=True).frames
    expected = []
    for values, mask in zip(frames.values, frames.mask, strict=True):
        medians = []
        for start in range(0, len(values), 4):
            seen = values[start : start + 4, 0][mask[start : start + 4]]
            filtered = ndimage.median_filter(seen, 3, mode="reflect")
            medians.append(np.median(filtered))
        expected.append(np.mean(medians))
    np.testing.assert_allclose(found.predictions[:, 0], expected, atol=1e-6)
    # Arousal: the two of ann draw each other, the one of bob has no neighbour.
    one, other, alone = without.predictions[:, 1]
    n, m = frames.seen[:2]
    np.testing.assert_allclose(
        found.predictions[:, 1],
        [
            (n * one + 20 * other) / (n + 20),
            (m * other + 20 * one) / (m + 20),
            alone,
        ],
        atol=1e-6,
    )
    cccs = {x: plain[x]["ccc"] for x in ("valence", "arousal")}
    cccs["mean"] = sum(cccs.values()) / 2
    assert evaluation.table(metrics)[6:11] == [
        "post-processing of valence: median over 3 frames",
        "post-processing of arousal: smoothing of 20 frames",
        *(
            f"CCC without it: {name} {ccc:.3f}, 95% interval "
            "{:.3f} to {:.3f}".format(*plain["intervals"][name])
            for name, ccc in cccs.items()
        ),
    ]
    assert max(map(len, evaluation.table(metrics))) <= 110
    metrics["unprocessed"]["intervals"] = {}
    assert evaluation.table(metrics)[8].endswith(
        ", 95% interval none (needs two videos)"
    )


def test_test_labels_cannot_reach_the_choice(
    tf, evaluation, options, workdir, small_records, tmp_path, monkeypatch
):
    from affwild_omg.data import records
    from affwild_omg.scoring import postprocessing

    folder = shutil.copytree(small_records, tmp_path / "records")
    shutil.rmtree(folder / "test")  # the choice is made without it
    evaluation.evaluate(
        dataclasses.replace(
            options,
            model=str(workdir),
            records=str(folder),
            split="validation",
            choose_postprocessing=True,
            output=str(tmp_path / "validation"),
        )
    )
    chosen = (workdir / "postprocessing.json").read_bytes()

    def choose(*args, **how):
        raise AssertionError("steps are chosen on test")

    monkeypatch.setattr(postprocessing, "choose", choose)
    (folder / "test").mkdir()
    predictions = []
    for name, labels in (("one", (0.5, 0.9)), ("other", (-0.9, 0.1))):
        clips = [
            make_clip(
                "eve",
                f"utterance_{2 * i + 1}.mp4",
                frames,
                seed=clip_seed("eve", i),
                valence=[labels[i]],
                arousal=[labels[i]],
            )
            for i, frames in enumerate(FRAMES["test"]["eve"])
        ]
        records.write_records(folder / "test" / "eve.tfrecord", clips)
        test = dataclasses.replace(
            options,
            model=str(workdir),
            records=str(folder),
            split="test",
            output=str(tmp_path / name),
        )
        evaluation.evaluate(test)
        predictions.append(
            pathlib.Path(test.output, "predictions.csv").read_bytes()
        )
        assert (workdir / "postprocessing.json").read_bytes() == chosen
    assert predictions[0] == predictions[1]


def test_steps_of_another_model_are_told(
    evaluation, options, steps, tmp_path, workdir, caplog
):
    digest = hashlib.sha256((workdir / "best.keras").read_bytes()).hexdigest()
    file = tmp_path / "steps.json"
    options = dataclasses.replace(
        options, model=str(workdir), postprocessing=str(file)
    )
    for model, same in (("", None), (digest, True), (digest[::-1], False)):
        file.write_text(json.dumps(steps | {"model_sha256": model}))
        caplog.clear()
        metrics = evaluation.evaluate(options, overwrite=True)
        assert metrics["postprocessing_source"] == {
            "file": str(file),
            "same_model": same,
        }
        told = [x for x in caplog.messages if "chosen for another model" in x]
        assert len(told) == (same is False)


def test_steps_that_do_not_fit_are_told(
    evaluation, options, workdir, steps, tmp_path
):
    options = dataclasses.replace(options, model=str(workdir))
    file = workdir / "postprocessing.json"
    digest = hashlib.sha256((workdir / "best.keras").read_bytes()).hexdigest()
    for content, message in (
        (steps, "chosen for an earlier model"),
        (
            steps | {"model_sha256": digest, "estimate": "mean"},
            "chosen with --estimate=mean, not median",
        ),
        (
            steps | {"model_sha256": digest, "sequence_length": 80},
            "chosen with --sequence_length=80, not 4",
        ),
        (
            steps | {"model_sha256": digest, "targets": {}},
            "is no post-processing of evaluate.py .*targets must",
        ),
        ([], "is no post-processing of evaluate.py"),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            evaluation.evaluate(options)
        assert not pathlib.Path(options.output).exists()
    missing = dataclasses.replace(options, postprocessing="nowhere.json")
    with pytest.raises(UserError, match="nowhere.json does not exist"):
        evaluation.evaluate(missing)
    without = dataclasses.replace(options, postprocessing="none")
    assert evaluation.evaluate(without)["postprocessing"] is None


def test_only_a_workdir_has_a_place_for_steps(
    evaluation, options, small_saved_model
):
    with pytest.raises(UserError, match="has no workdir .*name a file"):
        evaluation.evaluate(
            dataclasses.replace(
                options,
                model=str(small_saved_model),
                split="validation",
                choose_postprocessing=True,
            )
        )


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
        ({"level": "clip"}, "--level must be one of utterance, sequence, fr"),
        ({"pooling": "mean"}, "--pooling must be one of pooled, per_video"),
        (
            {"choose_postprocessing": True},
            "goes with --split=validation, not train",
        ),
        ({"batch_size": 0}, "--batch_size must be at least 1"),
        ({"sequence_length": -1}, "--sequence_length must be at least 0"),
    ],
)
def test_bad_options_are_named(options, change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(options, **change)
