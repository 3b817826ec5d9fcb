import csv
import html
import html.parser
import io
import json
import math
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from affwild_omg import figures
from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import results
from affwild_omg.evaluation.results import Provenance, Results
from affwild_omg.figures import canvas
from affwild_omg.reports import report
from affwild_omg.reports.options import ReportOptions
from affwild_omg.scoring.frames import Frames
from affwild_omg.scoring.postprocessing import Settings, Steps

NAN = math.nan
TARGETS = ("valence", "arousal")
KEYS = ["v/u1", "v/u2", "w/u1", "w/u2"]
LABELS = np.array([[0.1, 0.2], [0.5, 0.3], [-0.2, 0.6], [NAN, NAN]])
PREDICTIONS = np.array([[0.1, 0.2], [0.2, 0.3], [0.6, 0.4], [-0.5, 0.9]])
# Valence: errors 0, 0.3 and 0.8 down; variances 74/900 and 42/900, covariance
# -39/900, means 5/30 apart: CCC -26/47, MSE 0.73/3. Arousal: errors 0, 0 and
# 0.2; variances 26/900 and 6/900, covariance 12/900, means 2/30 apart: CCC
# 2/3, MSE 0.04/3. Of three pairs, p of r is 2 / pi * asin(sqrt(1 - r^2)).
# The utterances of v alone have CCC 4/13 and 1, that of w 0: of the samples
# vv, vw and ww none is as rare as 2.5%, so the intervals end at the extremes.
# The worst is w/u1, at a distance of sqrt(0.64 + 0.04).
NETWORK = {
    "backbone": "vgg_face",
    "taps": ["pool5", "fc"],
    "members": [{"units": 64}, {"units": 32}],
    "dropout": None,
}


def frames(lengths=(2, 5, 8, 3), labels=LABELS):
    """Returns frames at 2 a second, whose values rise by 0.1 from the label.

    The third frame has no face; sequences have 4 frames.
    """
    rises = [np.arange(n)[:, None] / 10 for n in lengths]
    starts = np.nan_to_num(labels)
    return Frames(
        keys=KEYS,
        targets=TARGETS,
        values=[x + rise for x, rise in zip(starts, rises, strict=True)],
        mask=[np.arange(n) != 2 for n in lengths],
        labels=[
            np.tile(x, (n, 1)) for x, n in zip(labels, lengths, strict=True)
        ],
        fps=[2.0] * 4,
        sequence_length=4,
    )


@pytest.fixture
def blank(monkeypatch):
    """Leaves the pictures blank, which is far quicker."""
    pixel = io.BytesIO()
    Figure((0.01, 0.01)).savefig(pixel, dpi=100)
    monkeypatch.setattr(
        canvas, "save", lambda _, path, **__: path.write_bytes(pixel.getvalue())
    )


def make(
    folder,
    predictions=PREDICTIONS,
    labels=LABELS,
    *,
    keys=KEYS,
    targets=TARGETS,
    unprocessed=None,
    frames=None,
    **provenance,
):
    """Writes a results folder."""
    folder.mkdir()
    found = Results(
        keys=list(keys),
        targets=targets,
        predictions=np.asarray(predictions),
        labels=np.asarray(labels),
        provenance=Provenance(**provenance),
        unprocessed=unprocessed,
        frames=frames,
    )
    results.write(folder, found)
    return folder


@pytest.fixture
def folder(blank, tmp_path):
    """A results folder with everything in it."""
    return make(
        tmp_path / "results",
        unprocessed=np.nan_to_num(LABELS),
        frames=frames(),
        corpus="omg",
        split="test",
        expected=8,
        coverage=0.5,
        utterances_without_face=1,
        frames_with_face=9,
        sequence_estimate="median",
        sequence_length=4,
        model="nowhere/run_7",
        network=NETWORK,
        training={"units": 64, "init_from": None},
        postprocessing=Settings(
            targets={
                "valence": Steps(median_window=81),
                "arousal": Steps(smoothing_strength=20.0),
            }
        ),
    )


def change(folder, **provenance):
    path = folder / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | provenance))


def write(folder, **options):
    output = folder.parent / "report"
    page = report.write(
        ReportOptions(results=str(folder), output=str(output), **options),
        overwrite=output.exists(),
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


def test_the_page_says_what_the_folder_holds(folder):
    change(folder, frames=11)  # the provenance's
    page = text(write(folder))
    for words in (
        "run_7 on the test split",
        "Corpus: omg",
        "CCC of valence -0.553 95% interval -0.553 to 0.308",
        "CCC of arousal 0.667 95% interval 0.000 to 1.000",
        "mean CCC 0.057 95% interval 0.000 to 0.654",
        "Scored by utterance: CCC, Pearson's r and MSE are taken over all "
        "labelled utterances together, with moments divided by N. 3 "
        "utterances with labels of the 8 of the split, of which 50.0% were "
        "prepared. An utterance's estimate is the mean over its sequences of "
        "4 frames, a sequence's the median of its frames. 9 of 11 frames have "
        "a face. 1 utterance without any face took the mean estimate of the "
        "others in the same video or, where there is none, of all; the "
        "smoothing of arousal comes after. CCC interval",
        "valence -0.553 -0.553 to 0.308 -0.700 0.51 0.2433",
        "arousal 0.667 0.000 to 1.000 0.961 0.18 0.0133",
        "mean 0.057 0.000 to 0.654 – – – p is that of Pearson's r,",
        "Only 50.0% of the utterances are here",
        "The utterances are of 2 videos only. With fewer than 20",
        "by about half an interval, 0.430 (valence) and 0.500 (arousal) (with",
        "utterance, pooled 3 -0.553 0.2433 0.667 0.0133 0.057",
        # Of v and w: 4/13 and 0, MSE 0.045 and 0.64; 1 and 0, 0 and 0.04.
        "utterance, per video 3 0.154 0.3425 0.500 0.0200 0.327",
        "sequence, pooled 5 ",
        "frame, pooled 13 ",
        "valence over 81 frames none arousal none strength 20 frames",
        "with -0.553 -0.553 to 0.308 0.667 0.000 to 1.000 0.057 0.000 to "
        "0.654 without 1.000 0.000 to 1.000 1.000 0.000 to 1.000 1.000",
        # 5/30 apart, spread sqrt(74)/30 and sqrt(42)/30.
        "valence 0.133 0.300 0.167 0.287 0.216 0.753 -0.700 0.791",
        "V in [0,1], A in [0,0.5) 2",  # v/u1 and v/u2
        "V in [-1,0), A in [0.5,1] 1",
        "Where there is only one utterance, or labels or predictions do not "
        "vary, CCC is 0 by definition and has no interval.",
        "2 to 4 s 1 0.000 – 0.0900",  # v/u2, of 5 frames
        "All videos, by the sum of their MSEs",
        "w 1 0.6400 0.800 0.0400 -0.200 v 2 0.0450 -0.150",
        "w u1 -0.200 0.600 0.600 0.400 0.825 4.0",
        "No faces are shown: no --records were given.",
        "backbone vgg_face taps pool5, fc members 1.units 64 members 2.units "
        "32 dropout –",
        "units 64 init_from –",
        "nowhere/run_7 is not a workdir that holds a history.json",
    ):
        assert words in page, words
    assert "demo" not in page
    assert names(folder) == sorted(
        set(report.FILES) - {"worst.png", "training.png"}
    )


def test_tables_hold_everybody(folder):
    write(folder)
    assert rows(folder, "utterances.csv")[2:] == [
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
    groups = rows(folder, "groups.csv")
    assert [(row["by"], row["group"], row["utterances"]) for row in groups] == [
        ("region", "V in [0,1], A in [0,0.5)", "2"),
        ("region", "V in [-1,0), A in [0.5,1]", "1"),
        ("region", "V in [-1,1], A in [0,1]", "3"),
        ("length", "under 2 s", "1"),
        ("length", "2 to 4 s", "1"),
        ("length", "4 to 8 s", "1"),
        ("video", "w", "1"),
        ("video", "v", "2"),
    ]
    assert float(groups[1]["valence_bias"]) == pytest.approx(0.8)
    assert float(groups[2]["valence_ccc_high"]) == pytest.approx(4 / 13)
    assert float(groups[7]["valence_mse"]) == pytest.approx(0.09 / 2)
    assert groups[7]["valence_ccc_high"] == ""


def test_what_is_drawn(folder, monkeypatch):
    drawn = {}
    for name in ("scatter", "groups", "timelines"):
        draw = getattr(figures, name)

        def keep(path, *args, draw=draw, **how):
            drawn[path.stem] = args
            draw(path, *args, **how)

        monkeypatch.setattr(figures, name, keep)
    write(folder, worst=1)
    labels, predictions, _, cccs = drawn["agreement"]
    np.testing.assert_array_equal(labels, LABELS[:3])
    np.testing.assert_array_equal(predictions, PREDICTIONS[:3])
    assert cccs["valence"] == pytest.approx(-26 / 47)
    ((course,), _) = drawn["timelines"]
    assert course.title == "w/u1"
    assert course.times.tolist() == [i / 2 for i in range(8)]
    np.testing.assert_allclose(
        course.values[:4, 0], [-0.2, -0.1, NAN, 0.1], atol=1e-9
    )
    assert course.edges.tolist() == [0, 2, 4]
    # Medians of -0.2, -0.1, 0.1 and of 0.2, 0.3, 0.4, 0.5.
    assert course.sequences[:, 0].tolist() == pytest.approx([-0.1, 0.35])
    assert course.estimate.tolist() == [0.6, 0.4]
    assert set(course.truth[:, 1]) == {0.6}
    lines, scores, intervals, _ = drawn["regions"]
    assert lines[:2] == [
        "V in [0,1], A in [0,0.5)\n2 utterances",
        "V in [-1,0), A in [0.5,1]\n1 utterance",
    ]
    assert scores[2]["arousal"].ccc == pytest.approx(2 / 3)
    assert intervals[0]["arousal"] is None
    assert intervals[2]["arousal"].high == 1
    _, _, intervals, _ = drawn["protocols"]
    assert [bool(found) for found in intervals] == [True, *[False] * 5]


def test_published_scores_stand_beside_those_of_omg_only(folder):
    page = text(write(folder))
    assert "valence: MSE published arousal: MSE published" in page
    assert re.search(r"A in \[0,0.5\) 2 .* 0\.101 0\.031 V in", page)
    change(folder, corpus="demo")
    page = text(write(folder))
    assert "MSE published" not in page
    assert "they say nothing about real people" in page


def test_everything_is_shown_as_text(folder):
    nasty = '<script>alert("1")</script> & $x^2$'
    for path in folder.glob("*.csv"):
        quoted = nasty.replace('"', '""')
        content = re.sub(
            "^w,", f'"{quoted}",', path.read_text(), flags=re.MULTILINE
        )
        path.write_text(content)
    network = {nasty: {"<b>": [nasty]}}
    change(folder, model=f"runs/{nasty}", corpus="<i>'", network=network)
    change(folder, split="<b>", postprocessing_source={"file": nasty})
    change(folder, postprocessing_source={"file": nasty, "same_model": True})
    page = write(folder)
    for tag in ("<script", "<b>", "<i>"):
        assert tag not in page
    assert page.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;") > 6
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


def test_the_page_needs_nothing_else(folder):
    page = write(folder)
    parser = Parser()
    parser.feed(page)
    assert parser.open == []
    assert not re.search("https?://|url\\(|@import", page)
    assert "default-src 'none'; img-src data:" in page
    for reference in parser.references:
        assert reference.startswith(("data:", "#"))
    ids = {attrs.get("id") for _, attrs in parser.tags}
    links = [x[1:] for x in parser.references if x.startswith("#")]
    assert len(links) == 10 and set(links) <= ids
    images = [attrs for tag, attrs in parser.tags if tag == "img"]
    pictures = [name for name in names(folder) if name.endswith(".png")]
    assert len(images) == len(pictures)
    assert all(attrs["alt"] for attrs in images)
    assert "script" not in [tag for tag, _ in parser.tags]


def test_same_input_same_bytes(tmp_path):  # of the pictures, too
    folder = make(tmp_path / "results")

    def content():
        write(folder)
        output = folder.parent / "report"
        return {path.name: path.read_bytes() for path in output.iterdir()}

    assert content() == content()


@pytest.mark.usefixtures("blank")
def test_a_page_without_labels(tmp_path):
    folder = make(tmp_path / "results", labels=np.full((4, 2), NAN))
    page = text(write(folder))
    assert "No utterance has labels, so there are no scores" in page
    assert "0 utterances with labels." in page
    assert page.count("Left out: there are no labels.") == 7
    assert names(folder) == ["report.html", "utterances.csv"]
    assert len(rows(folder, "utterances.csv")) == 4


@pytest.mark.usefixtures("blank")
def test_a_page_of_one_target_and_without_frames(tmp_path):
    folder = make(
        tmp_path / "results", [[0.2], [0.4]], [[0.1], [0.5]],
        keys=["v/u", "w/u"], targets=("arousal",),
    )
    page = text(write(folder))
    assert "mean" not in re.sub("mean (true|predicted|value)", "", page)[:900]
    for words in (
        "utterance, per video 2 0.000 0.0100",
        "None was applied: these are the network's own values.",
        "Left out: they need both valence and arousal.",
        "Left out: the results folder holds no frames",
        "All videos video utterances",
        "No timelines: the results folder holds no frames",
        "does not describe the network",
    ):
        assert words in page, words
    assert not {"plane.png", "regions.png", "lengths.png"} & set(names(folder))


@pytest.mark.usefixtures("blank")
def test_what_says_nothing_is_told(tmp_path):
    labels = [[0.1, 0.1], [0.1, 0.5]]
    folder = make(
        tmp_path / "x", [[0.1, 0.2], [0.3, 0.2]], labels, keys=["v/u", "w/u"]
    )
    page = text(write(folder))
    assert "Valence: labels do not vary, so CCC is 0 by definition." in page
    assert "Arousal: predictions do not vary, so CCC is 0" in page
    assert page.count("no interval") == 3
    # Two videos: it is not for want of them that there is no interval.
    assert "No interval" not in page
    folder = make(
        tmp_path / "y", [[0.1, 0.2], [0.3, 0.3]], labels, keys=["v/u", "v/w"]
    )
    assert "No interval: it comes from drawing whole" in text(write(folder))
    folder = make(tmp_path / "z", [[0.1, 0.2]], labels[:1], keys=["v/u"])
    assert "One row alone: nothing varies, so CCC" in text(write(folder))


@pytest.mark.parametrize(
    ("mean", "said"), [(0.5, False), (1.5, True), (-0.1, True)]
)
@pytest.mark.usefixtures("blank")
def test_a_mean_beyond_all_labels_is_told(tmp_path, mean, said):
    folder = make(
        tmp_path / "results", [[mean - 0.25], [mean + 0.25]], [[0.25], [1]],
        keys=["v/u", "w/u"], targets=("arousal",),
    )
    page = text(write(folder))
    note = f"The predictions of arousal average {mean:.3f}, beyond all labels"
    assert (f"{note} (0.250 to 1.000)" in page) == said


def test_another_headline(folder):
    page = text(write(folder))
    assert "further down are by utterance, pooled" not in page
    change(folder, level="frame", pooling="per_video")
    page = text(write(folder))
    for words in (
        "Scored by frame: CCC, Pearson's r and MSE are those of each video's "
        "frames with a face and a label, averaged over the videos.",
        "further down are by utterance, pooled",
    ):
        assert words in page
    (folder / "frames.csv").unlink()
    with pytest.raises(UserError, match="by frame, but holds no frames.csv"):
        write(folder)


@pytest.mark.usefixtures("blank")
def test_a_headline_without_rows_is_left_out(tmp_path):
    seen = frames()
    for mask, labels in zip(seen.mask, LABELS, strict=True):
        mask[:] = np.isnan(labels).any()
    folder = make(
        tmp_path / "results", frames=seen, level="frame",
        sequence_estimate="median", sequence_length=4,
    )
    page = text(write(folder))
    assert "Left out: there is nothing to score by frame." in page
    assert "utterance, pooled 3 -0.553" in page
    assert "sequence, pooled" not in page


@pytest.mark.usefixtures("blank")
def test_anyones_predictions(tmp_path):
    folder = make(
        tmp_path / "results", PREDICTIONS[:3], LABELS[:3], keys=KEYS[:3],
        predictions_="theirs.csv",
    )
    page = text(write(folder))
