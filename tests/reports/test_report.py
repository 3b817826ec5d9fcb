import csv
import dataclasses
import html.parser
import io
import json
import math
import re
import shutil

import pytest
from matplotlib.figure import Figure

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import results
from affwild_omg.figures import canvas
from affwild_omg.reports import report as run_report
from affwild_omg.reports.options import ReportOptions
from tests.evaluation.test_results import write_folder

PREDICTIONS = """\
video,utterance,arousal,valence
v,u1,0.2,0.1
v,u2,0.3,0.2
w,u1,0.4,0.6
w,u2,0.9,-0.5
"""
LABELS = """\
video,utterance,arousal,valence
v,u1,0.2,0.1
v,u2,0.3,0.5
w,u1,0.6,-0.2
"""
# Valence: labels 0.1, 0.5, -0.2 and predictions 0.1, 0.2, 0.6: errors 0, 0.3
# and 0.8 down; variances 74/900 and 42/900, covariance -39/900, means 5/30
# apart. Arousal: errors 0, 0 and 0.2; variances 26/900 and 6/900, covariance
# 12/900, means 2/30 apart. The worst is w/u1, at a distance of
# sqrt(0.64 + 0.04).
SCORES = {
    "valence": {
        "ccc": -2 * 39 / (74 + 42 + 25),  # -26/47
        "pearson": -39 / math.sqrt(74 * 42),
        "mse": 0.73 / 3,
    },
    "arousal": {
        "ccc": 2 * 12 / (26 + 6 + 4),  # 2/3
        "pearson": 12 / math.sqrt(26 * 6),
        "mse": 0.04 / 3,
        # Of three pairs: 2 / pi times the arc sine of sqrt(1 - r^2).
        "pearson_p_value": 2 / math.pi * math.asin(math.sqrt(1 / 13)),
    },
    "mean_ccc": 8 / 141,
}
# The mean of those of v, two utterances (variances of valence 4/100 and
# 1/400, covariance 1/100, means 15/100 apart), and w, a single one: 0 there.
PER_VIDEO = {
    "valence": {"ccc": 4 / 13 / 2, "pearson": 0.5, "mse": 0.3425},
    "arousal": {"ccc": 0.5, "pearson": 0.5, "mse": 0.02},
    "mean_ccc": 17 / 52,
}
INTERVALS = {
    "valence": [-0.75, -0.25],
    "arousal": [0.5, 0.8],
    "mean": [-0.125, 0.375],
    "level": 0.95,
    "samples": 2000,
    "videos": 2,
}
METRICS = SCORES | {
    "intervals": INTERVALS,
    "level": "utterance",
    "pooling": "pooled",
    "coverage": 0.5,
    "expected": 8,
    "utterances_without_face": 1,
    "frames": 11,
    "frames_with_face": 9,
    "split": "test",
    "corpus": "omg",
    "sequence_estimate": "median",
    "sequence_length": 4,
    "model": "nowhere/run_7",
    "network": {
        "backbone": "vgg_face",
        "members": [{"units": 64}, {"units": 32}],
    },
    "protocols": {
        "utterance": {
            "pooled": SCORES | {"rows": 3, "intervals": INTERVALS},
            "per_video": PER_VIDEO | {"rows": 3, "intervals": {}},
        }
    },
    "postprocessing": {
        "estimate": "median",
        "targets": {
            "valence": {"median_window": 81, "smoothing_strength": 0.0},
            "arousal": {"median_window": 1, "smoothing_strength": 20.0},
        },
    },
    "unprocessed": SCORES
    | {
        "valence": {"ccc": -0.375, "pearson": -0.5, "mse": 0.5},
        "mean_ccc": 7 / 48,
        # As of an older evaluate.py, which knew none of the mean.
        "intervals": {
            name: ends for name, ends in INTERVALS.items() if name != "mean"
        },
    },
}


def frames_table(clips, *, labels=True):
    """Returns a frames.csv of (key, frames, true arousal and valence).

    The predicted values rise by 0.1 a frame from the true ones on, and the
    third frame has no face.
    """
    lines = [
        "video,utterance,frame,time_s,fps,face,arousal,valence,"
        "true_arousal,true_valence"
    ]
    for key, frames, arousal, valence in clips:
        video, utterance = key.rsplit("/", 1)
        for i in range(frames):
            values = f"{arousal + i / 10:.6f},{valence + i / 10:.6f}"
            lines.append(
                f"{video},{utterance},{i},{i / 2:.3f},2,{int(i != 2)},"
                + (values if i != 2 else ",")
                + (f",{arousal},{valence}" if labels else ",,")
            )
    return "\n".join(lines) + "\n"


FRAMES = frames_table(
    [("v/u1", 2, 0.2, 0.1), ("v/u2", 5, 0.3, 0.5), ("w/u1", 8, 0.6, -0.2)]
) + "\n".join(
    frames_table([("w/u2", 3, 0, 0)], labels=False).splitlines()[1:] + [""]
)


@pytest.fixture
def blank(monkeypatch):
    """Leaves the pictures blank, which is far quicker."""
    pixel = io.BytesIO()
    Figure((0.01, 0.01)).savefig(pixel, dpi=100)
    monkeypatch.setattr(
        canvas, "save", lambda _, path, **__: path.write_bytes(pixel.getvalue())
    )


@pytest.fixture
def folder(tmp_path):
    """A results folder with everything in it, written by hand."""
    path = write_folder(tmp_path / "results", PREDICTIONS, LABELS, **METRICS)
    (path / "frames.csv").write_text(FRAMES)
    return path


def change(folder, **metrics):
    path = folder / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | metrics))


def write(folder, *, overwrite=False, **options):
    output = folder.parent / "report"
    page = run_report.write(
        ReportOptions(results=str(folder), output=str(output), **options),
        overwrite=overwrite,
    )
    assert page == output / "report.html"
    return page.read_text(encoding="utf-8")


def text(page):
    """Returns what a reader reads: no tags, single spaces."""
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def rows(folder, name):
    with (folder.parent / "report" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(folder):
    return sorted(path.name for path in (folder.parent / "report").iterdir())


@pytest.mark.usefixtures("blank")
def test_the_page_says_what_the_folder_holds(folder):
    page = text(write(folder))
    for words in (
        "run_7 on the test split",
        "Corpus: omg",
        "CCC of valence -0.553 95 % interval -0.750 to -0.250",
        "CCC of arousal 0.667 95 % interval 0.500 to 0.800",
        "mean CCC 0.057 95 % interval -0.125 to 0.375",
        "Scored by utterance",
        "taken over all labelled utterances together, with moments divided",
        "3 utterances with labels of the 8 of the split, of which 50.0 % were",
        "its sequences of 4 frames, a sequence's the median of its frames.",
        "9 of 11 frames have a face. 1 utterance without any face took the "
        "mean estimate of the others in the same video or, where there is "
        "none, of all; the smoothing of arousal comes after.",
        "valence -0.553 -0.750 to -0.250 -0.700 – 0.2433",
        "arousal 0.667 0.500 to 0.800 0.961 0.18 0.0133",
        "mean 0.057 -0.125 to 0.375 – – – p is that of Pearson's r,",
        "The utterances are of 2 videos only. With fewer than 20",
        "by about half an interval, 0.250 (valence) and 0.150 (arousal) (with",
        "2,229 test utterances of OMG-Emotion by about 0.03): a smaller",
        "utterance, per video 3 0.154 – 0.3425 0.500 – 0.0200",
        "valence over 81 frames none arousal none strength 20 frames",
        "valence: CCC valence: interval arousal: CCC arousal: interval mean: "
        "CCC mean: interval with -0.553 -0.750 to -0.250 0.667 0.500 to 0.800 "
        "0.057 -0.125 to 0.375 without -0.375 -0.750 to -0.250",
        "0.667 0.500 to 0.800 0.146 – CCC and MSE with and without "
        "post-processing. Lines through the points: the 95 % interval.",
        "V in [0,1], A in [0,0.5) 2",  # v/u1 and v/u2
        "V in [-1,0), A in [0.5,1] 1",
        "Where there is one utterance only, or labels or predictions do not "
        "vary, CCC is 0 by definition, without an interval.",
        "All videos, by the sum of their MSEs",
        "w u1 -0.200 0.600 0.600 0.400 0.825 4.0",
        "No faces are shown: no --records were given.",
        "backbone vgg_face members 1.units 64 members 2.units 32",
        "nowhere/run_7 is no workdir that is here",
        "timelines.csv timelines.png",
    ):
        assert words in page, words
    assert "demo" not in page
    titles = re.findall(r"\d+\.csv|\w+\.csv", page)
    assert len(titles) == 2 * (len(names(folder)) - 1) // 2  # figure and list


@pytest.mark.usefixtures("blank")
def test_sections_stand_in_order(folder):
    titles = re.findall(r"<h2>(.*?)</h2>", write(folder))
    assert titles == [
        "Scores",
        "By each protocol",
        "Post-processing",
        "Predicted and true values",
        "Calibration",
        "By region of the plane",
        "By length",
        "By video",
        "Worst utterances",
        "Network and training",
        "Files",
    ]


@pytest.mark.usefixtures("blank")
def test_tables_hold_what_is_drawn(folder):
    write(folder)
    # Nobody is lost, the utterance without labels among them.
    assert rows(folder, "agreement.csv")[2:] == [
        {
            "video": "w",
            "utterance": "u1",
            "true_valence": "-0.2",
            "predicted_valence": "0.6",
            "true_arousal": "0.6",
            "predicted_arousal": "0.4",
            "distance": "0.82462113",
            "seconds": "4",
        },
        {
            "video": "w",
            "utterance": "u2",
            "true_valence": "",
            "predicted_valence": "-0.5",
            "true_arousal": "",
            "predicted_arousal": "0.9",
            "distance": "",
            "seconds": "1.5",
        },
    ]
    assert [row["utterance"] for row in rows(folder, "worst.csv")] == [
        "u1",
        "u2",
        "u1",
    ]
    videos = rows(folder, "videos.csv")
    assert [row["group"] for row in videos] == ["w", "v"]
    assert float(videos[0]["valence_mse"]) == pytest.approx(0.64)
    assert float(videos[1]["valence_mse"]) == pytest.approx(0.09 / 2)
    lengths = rows(folder, "lengths.csv")
    assert [(row["group"], row["utterances"]) for row in lengths] == [
        ("under 2 s", "1"),
        ("2 to 4 s", "1"),
        ("4 to 8 s", "1"),
    ]
    regions = rows(folder, "regions.csv")
    assert [row["utterances"] for row in regions] == ["2", "1", "3"]
    assert float(regions[1]["valence_bias"]) == pytest.approx(0.8)
    for name in ("plane.csv", "reliability.csv"):
        counted = [int(row["utterances"]) for row in rows(folder, name)]
        assert sum(counted) == 6  # labels and predictions, or two targets
    for side in ("labels", "predictions"):
        counts = [int(row[side]) for row in rows(folder, "distributions.csv")]
        assert sum(counts) == 6
    calibration = rows(folder, "calibration.csv")
    assert float(calibration[0]["bias"]) == pytest.approx(0.5 / 3)
    protocols = rows(folder, "protocols.csv")
    assert [row["valence_ccc_low"] for row in protocols] == ["-0.75", ""]
    assert [row["mean_ccc_high"] for row in protocols] == ["0.375", ""]
    both = rows(folder, "postprocessing.csv")
    assert [row["valence_ccc"] for row in both] == ["-0.55319149", "-0.375"]


@pytest.mark.usefixtures("blank")
def test_timelines_by_hand(folder):
    write(folder, worst=1)
    course = rows(folder, "timelines.csv")
    assert {(row["video"], row["utterance"]) for row in course} == {("w", "u1")}
    assert [row["time_s"] for row in course][:3] == ["0", "0.5", "1"]
    assert [row["face"] for row in course] == list("11011111")
    values = [row["valence"] for row in course]
    assert values[:4] == ["-0.2", "-0.1", "", "0.1"]
    # Medians of -0.2, -0.1, 0.1 and of 0.2, 0.3, 0.4, 0.5.
    assert [float(row["valence_of_sequence"]) for row in course] == (
        pytest.approx([-0.1] * 4 + [0.35] * 4)
    )
    assert {row["valence_of_utterance"] for row in course} == {"0.6"}
    assert {row["true_arousal"] for row in course} == {"0.6"}


@pytest.mark.usefixtures("blank")
def test_published_scores_stand_beside_those_of_omg_only(folder):
    page = text(write(folder))
    assert "valence: MSE published arousal: MSE published" in page
    assert "0.0200 0.101 0.031" not in page
    assert re.search(r"A in \[0,0.5\) 2 .* 0\.101 0\.031 V in", page)
    change(folder, corpus="demo")
    page = text(write(folder, overwrite=True))
    assert "MSE published" not in page
    assert "they say nothing of real people" in page


@pytest.mark.usefixtures("blank")
def test_everything_is_shown_as_text(folder):
    nasty = '<script>alert("1")</script> & $x^2$'
    quoted = '"<script>alert(""1"")</script> & $x^2$"'
    for path in folder.iterdir():
        content = path.read_text()
        if path.suffix == ".csv":
            path.write_text(re.sub("^w,", f"{quoted},", content, flags=re.M))
    change(folder, model=f"runs/{nasty}", split="<b>", corpus="<i>'")
    page = write(folder)
    assert "<script" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert page.count("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;") > 3
    assert nasty in text(page)


class Parser(html.parser.HTMLParser):
    """Holds that each tag is closed, and keeps what elements refer to."""

    VOID = {"meta", "link", "img"}

    def __init__(self):
        super().__init__()
        self.open, self.references, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        self.references += [
            value for name, value in attrs if name in ("src", "href")
        ]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.usefixtures("blank")
def test_the_page_needs_nothing_else(folder):
    page = write(folder)
    parser = Parser()
    parser.feed(page)
    assert parser.open == []
    assert not re.search("https?://|url\\(|@import", page)
    for reference in parser.references:
        assert reference.startswith(("data:", "#"))
    ids = {attrs.get("id") for _, attrs in parser.tags}
    links = [x[1:] for x in parser.references if x.startswith("#")]
    assert links and set(links) <= ids
    images = [attrs for tag, attrs in parser.tags if tag == "img"]
    pictures = [name for name in names(folder) if name.endswith(".png")]
    assert len(images) == len(pictures)
    assert all(attrs["alt"] for attrs in images)
    assert "script" not in [tag for tag, _ in parser.tags]


def test_same_input_same_bytes(folder):  # of the pictures, too
    def content():
        output = folder.parent / "report"
        return {path.name: path.read_bytes() for path in output.iterdir()}

    write(folder)
    first = content()
    write(folder, overwrite=True)
    assert content() == first


@pytest.mark.usefixtures("blank")
def test_a_page_without_labels(folder):
    (folder / "labels.csv").unlink()
    kept = ("split", "corpus", "model", "expected", "coverage")
    (folder / "metrics.json").write_text(
        json.dumps({"utterances": 0} | {name: METRICS[name] for name in kept})
    )
    (folder / "frames.csv").unlink()
    page = text(write(folder))
    assert "No utterance has labels: there are no scores" in page
    assert page.count("Left out: there are no labels.") == 6
    assert names(folder) == [
        "agreement.csv",
        "distributions.csv",
        "distributions.png",
        "report.html",
    ]
    assert len(rows(folder, "agreement.csv")) == 4
    counts = [
        int(row["predictions"]) for row in rows(folder, "distributions.csv")
    ]
    assert sum(counts) == 8


@pytest.mark.usefixtures("blank")
def test_a_page_of_one_target_and_without_frames(tmp_path):
    folder = write_folder(
        tmp_path / "results",
        "video,utterance,arousal\nv,u1,0.2\nw,u1,0.4\n",
        "video,utterance,arousal\nv,u1,0.1\nw,u1,0.5\n",
        # Variances 4/100 and 1/100, covariance 2/100, one mean.
        arousal={"ccc": 4 / 5, "pearson": 1.0, "mse": 0.01},
        mean_ccc=4 / 5,
    )
    page = text(write(folder))
    assert "mean CCC" not in page
    assert "Left out: it takes both valence and arousal." in page
    assert "Left out: the results folder holds no frames" in page
    assert "No timelines: the results folder holds no frames" in page
    assert "holds the scores of one protocol only" in page
    assert "None was applied" in page
    assert "does not describe the network" in page
    assert not {"plane.png", "regions.png", "lengths.png"} & set(names(folder))


@pytest.mark.usefixtures("blank")
def test_constant_predictions_and_one_utterance_are_said(tmp_path):
    def scores(valence_mse, arousal_mse):
        none = {"ccc": 0.0, "pearson": 0.0}
        return {
            "valence": none | {"mse": valence_mse},
            "arousal": none | {"mse": arousal_mse},
            "mean_ccc": 0.0,
        }

    table = "video,utterance,arousal,valence\nv,u1,0.2,0.1\nw,u1,0.2,0.3\n"
    labels = "video,utterance,arousal,valence\nv,u1,0.1,0.1\nw,u1,0.5,0.1\n"
    folder = write_folder(
        tmp_path / "results", table, labels, **scores(0.04 / 2, 0.1 / 2)
    )
    page = text(write(folder))
    assert (
        "The predictions of arousal are constant (0.200): CCC is 0 by "
        "definition." in page
    )
    assert "The labels of valence are constant (0.100)" in page
    assert "The predictions of valence" not in page
    # Two videos: it is not for want of them that there is no interval.
    assert "No interval" not in page
    assert page.count("no interval") == 2
    shutil.rmtree(folder)
    first = ["".join(x.splitlines(True)[:2]) for x in (table, labels)]
    folder = write_folder(tmp_path / "results", *first, **scores(0, 0.01))
    page = text(write(folder, overwrite=True))
    assert "There is one utterance only" in page
    assert "labelled utterances are of 1 video by name" in page
    assert "are constant" not in page


@pytest.mark.usefixtures("blank")
def test_a_group_that_does_not_vary_has_no_interval(tmp_path):
    labels = """\
video,utterance,arousal,valence
v,u1,0.1,0.1
v,u2,0.2,0.2
w,u1,0.3,0.3
"""
    exact = {"ccc": 1.0, "pearson": 1.0, "mse": 0.0}
    scores = {"valence": exact, "arousal": exact, "mean_ccc": 1.0}
    folder = write_folder(tmp_path / "results", labels, labels, **scores)
    said = "or labels or predictions do not vary, CCC is 0 by definition"
    assert said not in text(write(folder))
    none = {"ccc": 0.0, "pearson": 0.0, "mse": 0.02 / 3}
    change(folder, valence=none, mean_ccc=0.5)
    table = re.sub(r"0\.\d$", "0.2", labels, flags=re.M)
    (folder / "predictions.csv").write_text(table)
    assert said in text(write(folder, overwrite=True))
    region = rows(folder, "regions.csv")[0]
    assert (region["utterances"], region["videos"]) == ("3", "2")
    assert region["valence_ccc_low"] == region["valence_ccc_high"] == ""
    # Drawn alone, a single utterance has 0.
    assert region["arousal_ccc_low"] == "0"
    assert region["arousal_ccc_high"] == "1"


@pytest.mark.usefixtures("blank")
def test_anyones_predictions(tmp_path):
    folder = write_folder(
        tmp_path / "results",
        PREDICTIONS.replace("w,u2,0.9,-0.5\n", ""),  # which has no label
        LABELS,
        **SCORES,
    )
    change(
        folder,
        predictions="theirs.csv",
        annotations="truth.csv",
        match="key",
        unmatched={"predictions": ["w/u2"], "annotations": []},
    )
    page = text(write(folder))
    for words in (
        "Predictions: theirs.csv Annotations: truth.csv Corpus",
        "Rows were matched by key; left out without a match: 1 of the "
        "predictions, 0 of the annotations.",
        "Not known: these are anyone's predictions.",
    ):
        assert words in page, words
    assert "the network's own values" not in page
    assert "another utterance" not in page
    wrong = {"row": 2, "predictions": "w/u1", "annotations": "v/u2"}
    change(folder, match="order", misordered=[wrong, wrong | {"row": 3}])
    page = text(write(folder, overwrite=True))
    assert "2 rows of 3 are of another utterance in the predictions" in page


@pytest.mark.usefixtures("blank")
def test_intervals_are_missed_where_they_belong(folder):
    """One target may lack its interval, and with it the mean."""
    change(folder, intervals={"level": 0.9, "arousal": [0.5, 0.8]})
    page = text(write(folder))
    assert "CCC of valence -0.553 no interval" in page
    assert "CCC of arousal 0.667 90 % interval 0.500 to 0.800" in page
    assert "mean CCC 0.057 of the targets" in page
    assert "mean 0.057 – – – –" in page
    assert "by about half an interval, 0.150 (arousal) (with" in page
    assert "No interval" not in page
    change(folder, intervals={})
    page = text(write(folder, overwrite=True))
    assert "No interval: metrics.json holds none." in page


@pytest.mark.usefixtures("blank")
def test_the_validation_split_flatters(folder):
    warning = "This is the split that it was chosen on"
    assert warning not in text(write(folder))
    change(folder, split="validation")
    assert warning in text(write(folder, overwrite=True))


@pytest.mark.parametrize(
    ("same", "said"),
    [
        (True, "run/steps.json, and was chosen for this very model file."),
        (False, "run/steps.json, and was chosen for another model file than"),
        (None, "run/steps.json; for which model it was chosen can't be told."),
    ],
)
@pytest.mark.usefixtures("blank")
def test_where_the_postprocessing_comes_from(folder, same, said):
    assert "It comes from" not in text(write(folder))
    source = {"file": "run/steps.json", "same_model": same}
    change(folder, postprocessing_source=source)
    page = write(folder, overwrite=True)
    assert f"It comes from {said}" in text(page)
    assert ('class="note">It comes from' in page) == (same is False)


@pytest.mark.usefixtures("blank")
def test_a_fusion_shows_its_members(folder):
    change(
        folder,
        members=[
            {
                "test": "runs/a",
                "weights": {"valence": 0.25, "arousal": 1.0},
                "validation_ccc": {"valence": 0.125, "arousal": 0.5},
            },
            {
                "test": "runs/b",
                "weights": {"valence": 0.75},
                "validation_ccc": {"valence": 0.375},
            },
        ],
        network=None,
        postprocessing=None,  # each member has its own
    )
    page = text(write(folder))
    assert "have been post-processed, each by its own steps" in page
    assert "with -0.553 -0.750 to -0.250 0.667 0.500 to 0.800 0.057" in page
    assert "Fusion of 2 runs on the test split" in page
    assert "runs/a 0.250 0.125 1.000 0.500 runs/b 0.750 0.375 – –" in page
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["unprocessed"]  # the members may be anyone's predictions
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = text(write(folder, overwrite=True))
    assert "post-processed" not in page
    assert "no member's predictions were processed" not in page
    assert (
        "Post-processing Not known: no member's folder holds predictions from "
        "before post-processing, or without it" in page
    )


HISTORY = {
    "best_epoch": 2,
    "best_ccc": 0.25,
    "epochs": [
        {
            "epoch": epoch,
            "loss": loss,
            "validation": {"arousal": {"ccc": ccc}, "mean_ccc": ccc},
        }
        for epoch, loss, ccc in ((1, 0.9, 0.125), (2, 0.5, 0.25), (3, 0.4, 0))
    ],
}


@pytest.mark.usefixtures("blank")
def test_the_training_is_shown_where_it_is(folder, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    change(folder, model=str(workdir))
    (workdir / "history.json").write_text(json.dumps(HISTORY))
    (workdir / "flags.cfg").write_text("--units=64\n--taps=a=b\n")
    page = text(write(folder))
    assert "Of 3 epochs the best is 2, with a mean CCC of 0.250" in page
    assert "--units 64 --taps a=b" in page
    assert rows(folder, "training.csv")[0] == {
        "epoch": "1",
        "loss": "0.9",
        "arousal_ccc": "0.125",
        "mean_ccc": "0.125",
    }
    for broken in ("{", "[]", '{"epochs": [], "best_epoch": 1}'):
        (workdir / "history.json").write_text(broken)
        page = text(write(folder, overwrite=True))
        assert "history.json is not what train.py writes" in page
        assert "training.png" not in names(folder)  # the old one is gone


@pytest.mark.usefixtures("blank")
def test_other_files_stay(folder):
    (folder.parent / "report").mkdir()
    (folder.parent / "report" / "notes.txt").touch()
    with pytest.raises(UserError, match="--output=.* is not empty"):
        write(folder)
    write(folder, overwrite=True)
    assert "notes.txt" in names(folder)
    # A report may lie in the results folder itself.
    assert not set(run_report.FILES) & set(results.FILES)


@pytest.mark.parametrize(
    ("target", "name", "said", "found"),
    [
        ("valence", "ccc", -26 / 47 + 2e-5, "-0.553171, .* give -0.553191"),
        ("valence", "ccc", float("nan"), "nan, .* give -0.553191"),
        ("arousal", "mse", 0.04 / 3 - 2e-5, "0.013313, .* give 0.013333"),
    ],
)
@pytest.mark.usefixtures("blank")
def test_scores_of_other_predictions_are_refused(
    folder, target, name, said, found
):
    """Both the headline and that of the protocols must be of the tables."""
    wrong = SCORES | {target: SCORES[target] | {name: said}}
    match = (
        f"--results=.*results: metrics.json says that {name.upper()} of "
        f"{target} is {found}; write the folder again with evaluate.py"
    )
    change(folder, **wrong)
    with pytest.raises(UserError, match=match):
        write(folder)
    change(folder, level="frame")  # of which the tables tell nothing
    write(folder)
    change(folder, protocols={"utterance": {"pooled": wrong}})
    with pytest.raises(UserError, match=match):
        write(folder, overwrite=True)
    # Nor do they pass for those of each video, which are others.
    change(folder, protocols={"utterance": {"per_video": wrong}})
    with pytest.raises(UserError, match=r"in protocols\.utterance\.per_video,"):
        write(folder, overwrite=True)
    change(folder, protocols={}, level="utterance", pooling="per_video")
    with pytest.raises(UserError, match="beside it give 0.153846; write"):
        write(folder, overwrite=True)
    change(folder, **PER_VIDEO)
    write(folder, overwrite=True)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"mean_ccc": 8 / 141 + 2e-5}, "0.056758, but predictions.csv"),
        (
            {"protocols": {"utterance": {"pooled": SCORES | {"mean_ccc": 0}}}},
            r"0.000000, in protocols\.utterance\.pooled, but predictions.csv",
        ),
        (PER_VIDEO | {"pooling": "per_video", "mean_ccc": 0.5}, "0.500000, .*"),
    ],
)
@pytest.mark.usefixtures("blank")
def test_a_mean_of_other_predictions_is_refused(folder, changes, found):
    change(folder, **changes)
    with pytest.raises(
        UserError, match=f"metrics.json says that mean CCC is {found}"
    ):
        write(folder)


@pytest.mark.parametrize("pooling", ["pooled", "per_video"])
@pytest.mark.usefixtures("blank")
def test_scores_without_postprocessing_are_those_of_their_table(
    folder, pooling
):
    """Here those of the labels themselves, with an utterance that has none."""
    (folder / "unprocessed.csv").write_text(LABELS + "w,u2,0.5,0.5\n")
    headline = {"pooled": SCORES, "per_video": PER_VIDEO}[pooling]
    # Of two videos one is a single utterance: 0 there.
    ccc = {"pooled": 1.0, "per_video": 0.5}[pooling]
    right = {"ccc": ccc, "pearson": ccc, "mse": 0.0}
    right = {"valence": right, "arousal": right, "mean_ccc": ccc}
    change(folder, **headline, pooling=pooling, unprocessed=right)
    write(folder)
    for wrong in (
        right | {"valence": {"ccc": 0.9, "pearson": 1.0, "mse": 0.0}},
        right | {"mean_ccc": 0.9},
    ):
        change(folder, unprocessed=wrong)
        with pytest.raises(
            UserError,
            match="is 0.900000, in unprocessed, but unprocessed.csv and "
            f"labels.csv beside it give {ccc:.6f}",
        ):
            write(folder, overwrite=True)
    change(folder, level="frame")  # of which the table tells nothing
    write(folder, overwrite=True)


@pytest.mark.parametrize(("off", "refused"), [(9e-6, False), (2e-5, True)])
@pytest.mark.usefixtures("blank")
def test_large_scores_agree_in_proportion(tmp_path, off, refused):
    """A network that diverged has errors of which the digits are rounded."""
    table = "video,utterance,arousal\nv,u1,100000.1\nw,u1,-300000.4\n"
    labels = "video,utterance,arousal\nv,u1,0.1\nw,u1,0.6\n"
    mse = (1e5**2 + 300001**2) / 2
    # Covariance -1/4 * 400000.5, means 100000.5 apart.
    ccc = -0.5 * 0.5 * 400000.5
    ccc /= 0.0625 + 400000.5**2 / 4 + 100000.5**2
    folder = write_folder(
        tmp_path / "results",
        table,
        labels,
        arousal={"ccc": ccc, "pearson": -1.0, "mse": mse * (1 + off)},
        mean_ccc=ccc,
    )
    if refused:
        with pytest.raises(UserError, match="says that MSE of arousal is"):
            write(folder)
    else:
        write(folder)


@pytest.mark.parametrize(
    ("name", "broken", "message"),
    [
        (
            "valence",
            0.5,
            "has 0.5 for valence{}, where its ccc, pearson, mse belong",
        ),
        (
            "valence",
            ["x"],
            "has ['x'] for valence{}, where its ccc, pearson, mse belong",
        ),
        (
            "valence",
            {"mse": 0.5, "pearson": 1},
            "has no number for ccc of valence{}",
        ),
        (
            "arousal",
            {"ccc": 0.5, "mse": 1},
            "has no number for pearson of arousal{}",
        ),
        (
            "arousal",
            {"ccc": 0.5, "pearson": 1},
            "has no number for mse of arousal{}",
        ),
        (
            "valence",
            {"ccc": "high", "pearson": 1, "mse": 1},
            "has no number for ccc of valence{}",
        ),
        ("mean_ccc", None, "has no number for mean_ccc{}"),
    ],
)
@pytest.mark.usefixtures("blank")
def test_scores_that_are_not_whole_are_told(folder, name, broken, message):
    """Also where no table tells what they should be."""
    wrong = SCORES | {name: broken}
    for changes, at in (
        (wrong, ""),
        (wrong | {"level": "frame"}, ""),
        ({"unprocessed": wrong}, ", in unprocessed"),
        (
            {"protocols": {"frame": {"per_video": wrong}}},
            ", in protocols.frame.per_video",
        ),
    ):
        change(folder, **METRICS | changes)
        with pytest.raises(UserError) as error:
            write(folder)
        assert str(error.value) == (
            f"--results={folder}: metrics.json {message.format(at)}; write the "
            "folder again with evaluate.py --overwrite"
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unprocessed": 3}, "has 3 for unprocessed, where scores belong"),
        ({"protocols": [1]}, r"has \[1\] for protocols, where scores belong"),
        ({"protocols": {"frame": 1}}, "has 1 for frame, where scores"),
        ({"protocols": {"frame": {"x": 1}}}, "has 1 for x, where scores"),
        (
            {"protocols": {"frame": {"x": {"valence": SCORES["valence"]}}}},
            r"has None for arousal, in protocols\.frame\.x, where its ccc",
        ),
    ],
)
@pytest.mark.usefixtures("blank")
def test_parts_that_are_no_scores_are_told(folder, changes, message):
    change(folder, **changes)
    with pytest.raises(UserError, match=message):
        write(folder)


@pytest.mark.usefixtures("blank")
def test_scores_need_not_agree_beyond_rounding(folder):
    near = SCORES["valence"] | {"ccc": -26 / 47 - 5e-6, "mse": 0.243338}
    change(folder, valence=near)
    write(folder)
    # A label that was changed by hand.
    path = folder / "labels.csv"
    path.write_text(path.read_text().replace("0.6,-0.2", "0.6,-0.3"))
    with pytest.raises(UserError, match="CCC of valence"):
        write(folder, overwrite=True)


@pytest.mark.usefixtures("blank")
def test_a_headline_without_rows_is_left_out(folder):
    metrics = {
        name: value
        for name, value in METRICS.items()
        if name not in (*SCORES, "unprocessed")
    }
    nothing = {"intervals": {}, "rows": 0}
    metrics |= {"utterances": 3, "level": "frame", "unprocessed": nothing}
    metrics |= nothing
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = text(write(folder))
    assert "Left out: metrics.json holds no scores of this protocol." in page
    assert "utterance, pooled 3 -0.553" in page
    assert "Left out: there is no CCC with and without it." in page


@pytest.mark.parametrize("worst", [0, -1, 17])
def test_worst_is_checked(worst):
    with pytest.raises(UserError, match=f"--worst must be .*, not {worst}$"):
        ReportOptions(results="x", output="y", worst=worst)


@pytest.mark.usefixtures("blank")
def test_nothing_is_left_by_a_failure(folder, tmp_path):
    with pytest.raises(UserError, match="--results=.*nowhere is no folder"):
        write(tmp_path / "nowhere")
    (folder / "frames.csv").write_text("video\n")
    with pytest.raises(UserError, match=r"--results=.*frames\.csv"):
        write(folder)
    with pytest.raises(UserError, match="--records=.*x holds no manifest"):
        (folder / "frames.csv").unlink()
        write(folder, records=str(tmp_path / "x"))
    assert not (tmp_path / "report").exists()


@pytest.fixture
def evaluated(small_records, tmp_path):
    """A results folder of the small records' test split."""
    table = "video,utterance,arousal,valence\n"
    table += "eve,utterance_1.mp4,0.5,0.1\neve,utterance_3.mp4,0.4,0.2\n"
    exact = {"ccc": 1.0, "pearson": 1.0, "mse": 0.0}
    return write_folder(
        tmp_path / "results",
        table,
        table,
        valence=exact,
        arousal=exact,
        mean_ccc=1.0,
        split="test",
    )


def test_faces_are_shown(evaluated, small_records):
    page = text(write(evaluated, records=str(small_records)))
    assert "evenly spaced frames" in page
    assert "worst.png" in names(evaluated)


@pytest.mark.usefixtures("blank")
def test_faces_are_looked_for_where_they_must_be(evaluated, small_records):
    change(evaluated, split="validation")
    with pytest.raises(
        UserError,
        match="--records=.* has no utterance eve/utterance_1.mp4 in valid",
    ):
        write(evaluated, records=str(small_records))
    # Of anyone's predictions the split is not known: they are looked for.
    change(evaluated, split=None)
    page = write(evaluated, records=str(small_records))
    assert "evenly spaced frames" in text(page)


@pytest.mark.usefixtures("blank")
def test_what_is_far_off_or_not_all_is_said(tmp_path):
    header = "video,utterance,arousal\n"
    for mean, told in ((0.5, False), (0.9, False), (1.5, True), (-0.1, True)):
        folder = write_folder(
            tmp_path / f"x{mean}",
            f"{header}v,a,{mean - 0.25}\nw,a,{mean + 0.25}\n",
            f"{header}v,a,0.25\nw,a,1\n",
            coverage=0.875,
            arousal={
                # Covariance 0.09375, variances 0.140625 and 0.0625.
                "ccc": 0.1875 / (0.203125 + (mean - 0.625) ** 2),
                "pearson": 1,
                "mse": ((mean - 0.5) ** 2 + (mean - 0.75) ** 2) / 2,
            },
            mean_ccc=0.1875 / (0.203125 + (mean - 0.625) ** 2),
        )
        page = text(write(folder, overwrite=True))
        note = f"The predictions of arousal average {mean:.3f}, beyond all"
        assert (f"{note} labels (0.250 to 1.000)" in page) == told
        assert "Only 87.5 % of the utterances are here" in page
        assert "further down are by utterance, pooled" not in page
    change(folder, coverage=1, level="frame")
    page = text(write(folder, overwrite=True))
    assert "Only" not in page
    assert "further down are by utterance, pooled" in page


def test_options_are_frozen():
    options = ReportOptions(results="x", output="y")
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.worst = 1
