import json

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import results
from affwild_omg.evaluation.results import Provenance, Results
from affwild_omg.scoring import aggregation, concordance, postprocessing
from affwild_omg.scoring.frames import Frames

NAN = float("nan")
BOTH = ("valence", "arousal")


def table(videos, *rows, targets=BOTH[::-1]):
    """Returns the text of a table of utterances.

    Args:
        videos: of each row; the utterances of each are u1, u2 and so on.
        rows: values of the targets.
        targets: names of the columns.
    """
    lines, videos = [["video", "utterance", *targets]], list(videos)
    for i, (video, values) in enumerate(zip(videos, rows, strict=True)):
        number = videos[: i + 1].count(video)
        lines.append([video, f"u{number}", *map(str, values)])
    return "".join(",".join(line) + "\n" for line in lines)


def column(text, target):
    """Keeps one target of a table."""
    rows = [line.split(",") for line in text.splitlines()]
    index = rows[0].index(target)
    return "".join(f"{row[0]},{row[1]},{row[index]}\n" for row in rows)


def ccc_by_hand(x, y):
    """Computes CCC with 1/N moments (equation 2)."""
    covariance = np.cov(x, y, bias=True)
    apart = np.mean(x) - np.mean(y)
    return 2 * covariance[0, 1] / (np.trace(covariance) + apart**2)


PREDICTIONS = table(["v", "v.1"], [0.5, 0.25], [0.75, -0.5])
LABELS = table(["v.1"], [0.338, -1.0])


def write_folder(folder, predictions, labels=None, **metrics):
    """Writes a results folder by hand.

    Args:
        folder: to make.
        predictions: text of predictions.csv.
        labels: text of labels.csv, None for no such file.
        metrics: for metrics.json.
    """
    folder.mkdir()
    (folder / "predictions.csv").write_text(predictions)
    count = 0
    if labels is not None:
        (folder / "labels.csv").write_text(labels)
        count = len(labels.splitlines()) - 1
    metrics = {"utterances": count} | metrics
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def read(folder, **how):
    return results.read(folder, flag="--test", **how)


def make(keys, predictions, labels, targets=BOTH, **changes):
    fields = {
        "keys": list(keys),
        "targets": targets,
        "predictions": np.array(predictions, float),
        "labels": np.array(labels, float),
        "provenance": Provenance(),
    }
    return Results(**fields | changes)


@pytest.fixture
def drawn(monkeypatch):
    """What would have been drawn, in the place of pictures."""
    calls = []

    def scatter(path, labels, predictions, targets, cccs, noun):
        calls.append((path.name, labels.tolist(), predictions.tolist(), cccs))

    def histograms(path, labels, predictions, noun):
        calls.append((path.name, labels.tolist(), predictions.tolist()))

    monkeypatch.setattr(results.figures, "scatter", scatter)
    monkeypatch.setattr(results.figures, "plane_histograms", histograms)
    return calls


def write(folder, written):
    folder.mkdir()
    results.write(folder, written)
    return json.loads((folder / "metrics.json").read_text())


def test_a_folder_by_hand(tmp_path):
    folder = write_folder(
        tmp_path / "x", PREDICTIONS, LABELS, split="test", extra=[1]
    )
    found = read(folder)
    assert found.keys == ["v/u1", "v.1/u1"]
    assert found.videos == ["v", "v.1"]
    assert found.targets == BOTH
    np.testing.assert_array_equal(
        found.predictions, [[0.25, 0.5], [-0.5, 0.75]]
    )
    np.testing.assert_array_equal(found.labels, [[NAN, NAN], [-1, 0.338]])
    assert found.labelled.tolist() == [False, True]
    assert found.provenance == Provenance(split="test")
    assert found.frames is found.unprocessed is None
    assert found.without_postprocessing is None


def test_what_is_written(tmp_path, drawn):
    written = make(
        ["v/u1", "v.1/u1", "w, x/u.mp4"],
        [[0.25, 0.5], [-0.5, 0.75], [1e-7, -0.1]],
        [[NAN, NAN], [-1, 0.338], [0.5, NAN]],
    )
    metrics = write(tmp_path / "x", written)
    files = {path.name: path.read_text() for path in (tmp_path / "x").iterdir()}
    del files["metrics.json"]
    assert files == {
        "predictions.csv": PREDICTIONS + '"w, x",u.mp4,-0.1,1e-07\n',
        "labels.csv": LABELS + '"w, x",u.mp4,,0.5\n',
    }
    again = read(tmp_path / "x")
    np.testing.assert_array_equal(again.labels, written.labels)
    assert again.to_dict() == metrics
    assert (metrics["utterances"], metrics["rows"]) == (2, 2)
    rows = [metrics[name]["rows"] for name in BOTH]
    assert rows == [2, 1]
    assert metrics["valence"]["mse"] == pytest.approx(0.25)
    assert metrics["level"] == "utterance" and metrics["moments"] == "1/N"
    assert not {"protocols", "unprocessed", "split"} & metrics.keys()
    (name, labels, predictions, cccs), plane = drawn
    assert name == "scatter.png"
    np.testing.assert_array_equal(labels, [[-1, 0.338], [0.5, NAN]])
    assert predictions == [[-0.5, 0.75], [1e-7, -0.1]]
    # Valence -1, .5 and -.5, 0: covariance .75 * .25, variances .5625 and
    # .0625, equal means.
    assert cccs == {
        "valence": pytest.approx(0.6, abs=1e-6),
        "arousal": 0,
        "mean": pytest.approx(0.3, abs=1e-6),
    }
    # The plane has those who have both labels.
    assert plane == ("histograms.png", [[-1, 0.338]], [[-0.5, 0.75]])


def test_no_labels_no_file_and_one_target_no_plane(tmp_path, drawn):
    write(tmp_path / "x", make(["v/u"], [[0, 0]], [[NAN, NAN]]))
    assert drawn == []
    assert not (tmp_path / "x" / "labels.csv").exists()
    labels = [[0.5], [NAN], [1]]
    one = make(
        ["v/a", "v/b", "w/c"], [[0.5], [0.25], [0.75]], labels, ("arousal",)
    )
    write(tmp_path / "y", one)
    assert [name for name, *_ in drawn] == ["scatter.png"]
    found = read(tmp_path / "y")
    assert found.targets == ("arousal",)
    np.testing.assert_array_equal(found.labels, labels)


def post_processed():
    """Post-processed results of two videos, by frame and by utterance."""
    random = np.random.default_rng(1)
    lengths, keys = [7, 5, 9], ["a/1", "a/2", "b/1"]
    labels = [np.tile(random.integers(-9, 9, 2) / 8, (n, 1)) for n in lengths]
    labels[1][:, 1] = labels[2][:3, 0] = NAN
    frames = Frames(
        keys=keys,
        targets=BOTH,
        values=[
            results.as_written(random.normal(size=(n, 2))) for n in lengths
        ],
        mask=[np.arange(n) != 2 for n in lengths],
        labels=labels,
        times=[np.arange(n) ** 1.1 for n in lengths],
        sequence_length=4,
        tail="pad",
    )
    steps = postprocessing.Settings(
        estimate="mean",
        targets={
            "valence": postprocessing.Steps(median_window=3),
            "arousal": postprocessing.Steps(smoothing_strength=2),
        },
    )
    predictions, bare = (
        results.as_written(postprocessing.apply(settings, frames))
        for settings in (steps, postprocessing.Settings.nothing(BOTH, "mean"))
    )
    return make(
        keys,
        predictions,
        aggregation.utterance_labels(frames),
        unprocessed=bare,
        frames=frames,
        provenance=Provenance(
            level="frame",
            split="test",
            expected=4,
            frames=21,
            sequence_estimate="mean",
            sequence_length=4,
            network={"units": 4},
            postprocessing=steps,
        ),
    )


def test_all_of_an_evaluation_survives_the_files(tmp_path, drawn):
    written = post_processed()
    metrics = write(tmp_path / "x", written)
    found = read(tmp_path / "x", frames=True)
    assert found.provenance == written.provenance
    np.testing.assert_array_equal(found.unprocessed, written.unprocessed)
    assert found.to_dict() == metrics
    assert read(tmp_path / "x").frames is None
    # A table of frames that was cut off at the end of a line.
    frames = (tmp_path / "x" / "frames.csv").read_text()
    (tmp_path / "x" / "frames.csv").write_text(frames[: frames.rindex("b,1")])
    with pytest.raises(UserError, match="frames.csv has 20 frames, .* have 21"):
        read(tmp_path / "x", frames=True)
    # The headline alone, and what it was before, have intervals.
    assert {"valence", "videos"} < metrics["intervals"].keys()
    assert "intervals" in metrics["unprocessed"]
    headline = metrics["protocols"]["frame"]["pooled"]
    assert headline["valence"] == metrics["valence"]
    assert "intervals" not in headline


def test_scores_are_of_the_tables_by_each_protocol():
    found = post_processed()
    frames = found.frames
    bare = found.without_postprocessing
    assert found.scores().targets["valence"].ccc == pytest.approx(
        concordance.concordance(found.labels[:, 0], found.predictions[:, 0])
    )
    # Without post-processing, the very values of the frames with a face.
    mask, labels, values = map(
        np.concatenate, (frames.mask, frames.labels, frames.values)
    )
    mask &= np.isfinite(labels[:, 0])
    labels, values = labels[mask, 0], values[mask, 0]
    ccc = pytest.approx(concordance.concordance(labels, values))
    assert bare.scores("frame").targets["valence"].ccc == ccc
    assert found.scores("frame").targets["valence"].ccc != ccc
    assert found.scores("frame").rows == 7 + 5 + 9 - 3
    # Arousal has no median filter.
    assert (
        found.scores("sequence").targets["arousal"]
        == (bare.scores("sequence").targets["arousal"])
    )


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def without(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("metrics.json"), "x holds no metrics.json; give a folder"),
        (without("predictions.csv"), "x holds no predictions.csv; give a"),
        (without("labels.csv"), "labels.csv has 0 utterances, but .* 1; corr"),
        (text("metrics.json", "{"), "metrics.json is not what evaluate.py"),
        (text("metrics.json", "[1]"), "metrics.json is not what evaluate.py"),
        (
            text("metrics.json", '{"utterances": "1"}'),
            "metrics.json is not what .*utterances is '1'",
        ),
        (
            text("metrics.json", '{"utterances": 2}'),
            "labels.csv has 1 utterances, but the files .* have 2; corr",
        ),
        (
            text("labels.csv", LABELS.replace("0.338", "inf")),
            "labels.csv, line 2: arousal must be",
        ),
        (
            text("labels.csv", LABELS.replace("v.1", "w")),
            "labels.csv does not fit predictions.csv .* w/u1 is in one",
        ),
        (
            text("labels.csv", "video,utterance,valence\nv.1,u1,0\n"),
            "labels.csv does not fit predictions.csv .* arousal is in one of",
        ),
        # What stood before post-processing must be there of all utterances.
        (
            text("unprocessed.csv", PREDICTIONS[: PREDICTIONS.index("v.1")]),
            "unprocessed.csv has 1 utterances, but the files .* have 2; corr",
        ),
    ],
)
def test_bad_folders_are_told(tmp_path, change, message):
    folder = write_folder(tmp_path / "x", PREDICTIONS, LABELS)
    change(folder)
    with pytest.raises(UserError, match=f"--test=.*{message}") as raised:
        read(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("length", [None, 0, "80"])
def test_frames_need_the_length_of_their_sequences(tmp_path, length):
    folder = write_folder(
        tmp_path / "x", PREDICTIONS, LABELS, sequence_length=length
    )
    (folder / "frames.csv").write_text(
        "video,utterance,frame,time_s,face,arousal,true_arousal\n"
        "v,u1,0,0,1,0.5,\n"
    )
    message = f"metrics.json is not what .*sequence_length is {length!r}"
    with pytest.raises(UserError, match=message):
        read(folder, frames=True)
    assert read(folder).frames is None


def run(keys, targets, predictions, labels):
    keys = [f"v/{key}" for key in keys]
    return make(keys, predictions, labels, targets)


def test_runs_are_aligned_by_hand():
    first = run("ab", ("arousal",), [[0.1], [0.2]], [[0.3], [NAN]])
    second = run(
        "ba",
        BOTH,
        [[-0.1, 0.5], [-0.2, 0.6]],
        [[-0.3, 0.4], [NAN, NAN]],
    )
    found = results.align({"--x=1": first, "--x=2": second})
    assert found.keys == ["v/a", "v/b"]
    assert found.targets == BOTH
    np.testing.assert_array_equal(
        found.predictions,
        [[[NAN, 0.1], [NAN, 0.2]], [[-0.2, 0.6], [-0.1, 0.5]]],
    )
    # Each label from the folder that knows it.
    np.testing.assert_array_equal(found.labels, [[NAN, 0.3], [-0.3, 0.4]])


def test_labels_may_differ_by_their_rounding_alone():
    def pair(difference):
        return {
            f"--x={i}": run("a", ("valence",), [[0.0]], [[0.25 + shift]])
            for i, shift in enumerate((0, difference))
        }

    assert results.align(pair(5e-7)).labels == 0.25
    message = (
        "--x=1: v/a has the valence label 0.26, in a folder before it 0.25"
    )
    with pytest.raises(UserError, match=message):
        results.align(pair(0.01))


def test_utterances_that_one_lacks_are_told():
    first, second = (
        run(keys, ("valence",), *[[[0.0]] * 2] * 2) for keys in ("ab", "bc")
    )
    message = r"--x=1 lacks 1 \(v/a\) of the 2 .* --x=0 and adds 1 \(v/c\); "
    with pytest.raises(UserError, match=message):
        results.align({"--x=0": first, "--x=1": second})
