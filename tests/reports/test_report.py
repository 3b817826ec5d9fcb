import hashlib
import html
import html.parser
import io
import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from affwild_omg import figures
from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import results
from affwild_omg.evaluation.results import Provenance, Results
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
        times=[np.arange(n) / 2 for n in lengths],
        sequence_length=4,
        tail="pad",
    )


@pytest.fixture
def drawn(monkeypatch):
    """What would be drawn, {name: arguments}; the pictures are a pixel."""
    pixel, calls = io.BytesIO(), {}
    Figure((0.01, 0.01)).savefig(pixel, dpi=100)

    def keep(path, *args, **_):
        calls[path.stem] = args
        path.write_bytes(pixel.getvalue())

    for name in set(figures.__all__) - {"Course"}:
        monkeypatch.setattr(figures, name, keep)
    return calls


def make(
    folder,
    predictions=PREDICTIONS,
    labels=LABELS,
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
        predictions=np.array(predictions),
        labels=np.array(labels),
        unprocessed=unprocessed,
        frames=frames,
        provenance=Provenance(**provenance),
    )
    results.write(folder, found)
    return folder


@pytest.fixture
def folder(drawn, tmp_path):
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


def names(folder):
    return sorted(path.name for path in (folder.parent / "report").iterdir())


def change(folder, **provenance):
    """Changes what metrics.json says, and returns the text of a new page."""
    path = folder / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | provenance))
    return text(write(folder))


def test_the_page_says_what_the_folder_holds(folder):
    page = change(folder, frames=18)  # the provenance's
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
        "4 frames, a sequence's the median of its frames. 9 of 18 frames have "
        "a face. 1 utterance without any face took the mean estimate of the "
        "others in the same video or, where there is none, of all; the "
        "smoothing of arousal comes after. CCC interval",
        "valence -0.553 -0.553 to 0.308 -0.700 0.51 0.2433",
        "arousal 0.667 0.000 to 1.000 0.961 0.18 0.0133",
        "mean 0.057 0.000 to 0.654 - - - p is that of Pearson's r,",
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
        "2 to 4 s 1 0.000 - 0.0900",  # v/u2, of 5 frames
        "All videos, by the mean of their MSEs",
        "w 1 0.6400 0.800 0.0400 -0.200 v 2 0.0450 -0.150",
        "w u1 -0.200 0.600 0.600 0.400 0.825 4.0",
        "No faces are shown: no --records were given.",
        "backbone vgg_face taps pool5, fc members 1.units 64 members 2.units "
        "32 dropout -",
        "units 64 init_from -",
        "nowhere/run_7 is not a workdir that holds a history.json",
    ):
        assert words in page, words
    assert "demo" not in page
    assert names(folder) == sorted(
        set(report.FILES) - {"worst.png", "training.png"}
    )


def test_tables_hold_everybody(folder):
    write(folder)
    output = folder.parent / "report"
    assert (output / "utterances.csv").read_text() == (
        "video,utterance,true_valence,predicted_valence,true_arousal,"
        "predicted_arousal,distance,seconds\n"
        "v,u1,0.1,0.1,0.2,0.2,0,1\n"
        "v,u2,0.5,0.2,0.3,0.3,0.3,2.5\n"
        "w,u1,-0.2,0.6,0.6,0.4,0.82462113,4\n"
        "w,u2,,-0.5,,0.9,,1.5\n"
    )
    groups = pd.read_csv(output / "groups.csv")
    names = groups[["by", "group", "utterances"]].to_numpy().tolist()
    assert names == [
        ["region", "V in [0,1], A in [0,0.5)", 2],
        ["region", "V in [-1,0), A in [0.5,1]", 1],
        ["region", "V in [-1,1], A in [0,1]", 3],
        ["length", "under 2 s", 1],
        ["length", "2 to 4 s", 1],
        ["length", "4 to 8 s", 1],
        ["video", "w", 1],
        ["video", "v", 2],
    ]
    assert groups["valence_bias"][1] == pytest.approx(0.8)
    assert groups["valence_ccc_high"][2] == pytest.approx(4 / 13)
    assert groups["valence_mse"][7] == pytest.approx(0.09 / 2)
    assert np.isnan(groups["valence_ccc_high"][7])


def test_what_is_drawn(folder, drawn):
    write(folder, worst=1)
    labels, predictions, _, cccs, noun = drawn["agreement"]
    assert noun == "utterance"
    np.testing.assert_array_equal(labels, LABELS[:3])
    np.testing.assert_array_equal(predictions, PREDICTIONS[:3])
    assert cccs["valence"] == pytest.approx(-26 / 47)
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
    ((course,), _) = drawn["timelines"]
    assert course.title == "w/u1"
    assert course.times.tolist() == [i / 2 for i in range(8)]
    assert course.values[:2, 0].tolist() == pytest.approx([-0.2, -0.1])
    assert np.isnan(course.values[2]).all()
    assert course.edges.tolist() == [0, 2, 4]
    # Medians of -0.2, -0.1, 0.1 and of 0.2, 0.3, 0.4, 0.5.
    assert course.sequences[:, 0].tolist() == pytest.approx([-0.1, 0.35])
    assert course.estimate.tolist() == [0.6, 0.4]
    assert set(course.truth[:, 1]) == {0.6}


def test_published_scores_stand_beside_those_of_omg_only(folder):
    page = text(write(folder))
    assert "valence: MSE published arousal: MSE published" in page
    assert re.search(r"A in \[0,0.5\) 2 .* 0\.101 0\.031 V in", page)
    page = change(folder, corpus="demo")
    assert "MSE published" not in page
    assert "they say nothing about real people" in page


def test_everything_is_shown_as_text(folder):
    nasty = '<script>alert("1")</script> & $x^2$'
    quoted = '"<script>alert(""1"")</script> & $x^2$",'
    for path in folder.glob("*.csv"):
        path.write_text(re.sub("^w,", quoted, path.read_text(), flags=re.M))
    source = {"file": nasty, "same_model": True}
    found = change(
        folder,
        model=f"runs/{nasty}",
        corpus="<i>'",
        split="<b>",
        network={nasty: {"<b>": [nasty]}},
        postprocessing_source=source,
    )
    assert found.count(nasty) > 6
    page = write(folder)
    for tag in ("<script", "<b>", "<i>"):
        assert tag not in page


class Parser(html.parser.HTMLParser):
    """Holds that each tag is closed, and lists all tags."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(folder):
    page = write(folder)
    parser = Parser(page)
    assert parser.open == []
    assert not re.search("https?://|url\\(|@import|<script", page)
    assert "default-src 'none'; img-src data:" in page
    attributes = [attrs for _, attrs in parser.tags]
    sources = [attrs["src"] for attrs in attributes if "src" in attrs]
    assert all(source.startswith("data:") for source in sources)
    links = {attrs["href"] for attrs in attributes if "href" in attrs}
    ids = {f"#{attrs['id']}" for attrs in attributes if "id" in attrs}
    assert links == ids | {"data:,"} and len(ids) == 10
    texts = [attrs["alt"] for tag, attrs in parser.tags if tag == "img"]
    assert len(texts) == len(sources) == len(set(texts)) == 6


GAPS = np.where([[1, 0], [1, 1], [0, 1], [0, 0]], LABELS, NAN)
# Valence of u1 and u2: covariance .2 * .05, variances .04 and .0025, means .15
# apart: CCC 4/13, MSE .045, of one video. Arousal of u2 and w/u1: .15 * .05,
# .0225 and .0025, .1 apart: CCC 3/7, MSE .02; of a video twice it is 0.


def frames_with_gaps():
    """Returns frames of `GAPS`; those of v/u2 are not evenly spaced."""
    found = frames(labels=GAPS)
    found.labels[1][0, 0] = NAN
    found.times[1][:] = [0, 0.1, 0.4, 0.5, 0.8]
    found.values[1][:, 0] = [0.5, 0.6, 0.7, 0.8, 0.9]
    return found


FROM_FRAMES = {"sequence_estimate": "median", "sequence_length": 4}


def test_same_input_same_bytes(tmp_path):  # of the pictures, too
    how = {"labels": GAPS, "frames": frames_with_gaps()}
    folder = make(tmp_path / "results", **how, **FROM_FRAMES)

    def content():
        write(folder)
        output = folder.parent / "report"
        return {path.name: path.read_bytes() for path in output.iterdir()}

    assert content() == content()


@pytest.fixture
def tell(drawn, tmp_path):
    """Makes a results folder, and returns the text of its report."""

    def tell(*data, **fields):
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        return text(write(make(place / "results", *data, **fields)))

    return tell


def test_a_page_with_gaps_in_its_labels(tell, drawn, tmp_path):
    page = tell(labels=GAPS, frames=frames_with_gaps(), **FROM_FRAMES)
    for words in (
        "CCC of valence 0.308 no interval CCC of arousal 0.429 95% interval "
        "0.000 to 0.429 mean CCC 0.368 no interval",
        "3 utterances with labels.",
        "Valence: 2 of 3 rows have a label. Arousal: 2 of 3 rows have",
        "The utterances with a label of one target are of 1 video only.",
        "by about half an interval, 0.214 (arousal) (with",
        "utterance, pooled 3 0.308 0.0450 0.429 0.0200 0.368",
        "valence 0.300 0.150 -0.150 0.200 0.050 0.250 1.000 0.308",
        "V in [0,1], A in [0,0.5) 1",
        "under 2 s 2 0.308 - 0.0450 0.000 - 0.0000",
        "4 to 8 s 1 - - - 0.000 - 0.0400",
        # By the mean of .04 alone, and of .045 and 0.
        "w 1 - - 0.0400 -0.200 v 2 0.0450 -0.150 0.0000 0.000",
        # Who has both labels.
        "distance seconds v u2 0.500 0.200 0.300 0.300 0.300 1.0 No faces",
    ):
        assert words in page, words
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)
    labels, *_ = drawn["agreement"]
    np.testing.assert_array_equal(labels, GAPS[:3])
    labels, predictions, _ = drawn["plane"]
    assert labels.tolist() == [[0.5, 0.3]]
    ((course,), _) = drawn["timelines"]
    assert course.times.tolist() == [0, 0.1, 0.4, 0.5, 0.8]
    assert course.edges.tolist() == [0, 0.8, 1]
    # Medians of 0.6 and 0.8, and of 0.3, 0.4 and 0.6; then the fifth frame.
    np.testing.assert_allclose(course.sequences, [[0.7, 0.4], [0.9, 0.7]])
    np.testing.assert_array_equal(course.truth[:2], [[NAN, 0.3], [0.5, 0.3]])
    groups = pd.read_csv(tmp_path / "0/report/groups.csv")
    of_video = groups[groups["by"] == "video"].set_index("group")
    assert of_video["valence_mse"].tolist() == pytest.approx(
        [NAN, 0.045], nan_ok=True
    )


def test_a_page_of_utterances_with_one_label_each(tell, drawn):
    labels = np.array([[0.1, NAN], [0.5, NAN], [NAN, 0.6], [NAN, 0.2]])
    page = tell(labels=labels)
    assert "Left out: they need labels of both valence and arousal." in page
    assert "Left out: no utterance has a label of each target." in page
    assert "plane" not in drawn and "regions" not in drawn


def test_a_page_of_one_target_with_labels_of_two(tell):
    page = tell(labels=np.where([0, 1], LABELS, NAN))
    assert "Valence: no row has a label." in page
    assert "utterance, pooled 3 - - 0.667 0.0133 -" in page
    assert not re.search(r"\bnan\b|mean CCC 0", page, re.IGNORECASE)


def test_a_page_without_labels(tell, tmp_path):
    page = tell(labels=np.full((4, 2), NAN))
    assert "No utterance has labels: scores, and all else" in page
    assert "0 utterances with labels." in page
    titles = "Scores Post-processing Network and training"
    assert page.count(titles) == 1 and "Videos" not in page
    assert names(tmp_path / "0/results") == ["report.html", "utterances.csv"]


AROUSAL = {"keys": ["v/u", "w/u"], "targets": ("arousal",)}


def test_a_page_of_one_target_and_without_frames(tell, drawn):
    page = tell([[0.2], [0.4]], [[0.1], [0.5]], **AROUSAL)
    for words in (
        "utterance, per video 2 0.000 0.0100",
        "None was applied: these are the network's own values.",
        "Left out: they need labels of both valence and arousal.",
        "Left out: the results folder holds no frames",
        "All videos video utterances",
        "No timelines: the results folder holds no frames",
        "does not describe the network",
    ):
        assert words in page, words
    assert "mean CCC" not in page
    assert drawn.keys() == {"scatter", "agreement", "protocols"}


def test_what_has_no_ccc_is_told(tell):
    labels = [[0.1, 0.1], [0.1, 0.5]]
    page = tell([[0.1, 0.2], [0.3, 0.2]], labels, ["v/u", "w/u"])
    assert "Valence: labels do not vary, so CCC is 0 by definition." in page
    assert "Arousal: predictions do not vary, so CCC is 0" in page
    assert "mean CCC 0.000 no interval" in page
    # Two videos: it is not for want of them that there is no interval.
    assert "There is no interval" not in page
    page = tell([[0.1, 0.2], [0.3, 0.3]], labels, ["v/u", "v/w"])
    assert "There is no interval: it comes from drawing whole" in page
    page = tell([[0.1, 0.2]], labels[:1], ["v/u"])
    assert "One row alone: nothing varies, so CCC" in page


def test_another_headline(folder):
    assert "further down are by utterance" not in text(write(folder))
    page = change(folder, level="frame", pooling="per_video")
    assert (
        "Scored by frame: CCC, Pearson's r and MSE are those of each video's "
        "frames with a face and a label, averaged over the videos."
    ) in page
    assert "further down are by utterance, pooled" in page
    (folder / "frames.csv").unlink()
    with pytest.raises(UserError, match=r"by frame, but holds no frames\.csv"):
        write(folder)


def test_a_headline_without_rows_is_left_out(tell, drawn):
    unseen = frames((2, 5, 1, 3))
    for mask in unseen.mask[:3]:  # whose labels are known
        mask[:] = False
    page = tell(frames=unseen, level="frame", **FROM_FRAMES)
    assert "Left out: there is nothing to score by frame." in page
    assert "utterance, pooled 3 -0.553" in page
    assert "sequence, pooled" not in page
    # How long the one frame of w/u1 lasts is not known.
    ((course, *_), _) = drawn["timelines"]
    assert "w u1 -0.200 0.600 0.600 0.400 0.825 0.0" in page
    assert course.edges.tolist() == [0, 1]


def test_anyones_predictions(folder):
    (folder / "unprocessed.csv").unlink()
    unmatched = {"predictions": ["w/u3"], "annotations": []}
    theirs = {"predictions": "theirs.csv", "annotations": "truth.csv"}
    page = change(folder, match="key", unmatched=unmatched, **theirs)
    for words in (
        "Predictions: theirs.csv Annotations: truth.csv Corpus",
        "3 utterances with labels of the 8 annotated. Rows were matched by "
        "key; left out without a match: 1 of the predictions, 0 of the "
        "annotations.",
        "Unknown: these predictions were made elsewhere.",
    ):
        assert words in page, words
    assert "another utterance" not in page
    page = change(folder, match="order", misordered=[{"row": 2}, {"row": 3}])
    assert "2 rows of 3 belong to another utterance in the predictions" in page


@pytest.mark.parametrize(
    ("same", "said"),
    [
        (True, "steps.json, and were chosen for this very model file."),
        (False, "steps.json, and were chosen for another model file than"),
        (None, "steps.json; for which model they were chosen is unknown."),
    ],
)
def test_where_the_postprocessing_comes_from(folder, same, said):
    source = {"file": "steps.json", "same_model": same}
    page = change(folder, postprocessing_source=source)
    assert f"The steps come from {said}" in page
    noted = 'class="note">The steps come from' in write(folder)
    assert noted == (same is False)
    in_sample = "This is the split that they were chosen on"
    assert in_sample not in page
    assert in_sample in change(folder, split="validation")


def test_a_fusion_shows_its_members(folder):
    weights = {"valence": 0.25, "arousal": 1.0}, {"valence": 0.75}
    ccc = {"valence": 0.125, "arousal": 0.5}, {"valence": 0.375}
    members = [
        {"test": f"runs/{i}", "weights": weights[i], "validation_ccc": ccc[i]}
        for i in range(2)
    ]
    page = change(folder, members=members, network=None, postprocessing=None)
    assert "Fusion of 2 runs on the test split" in page
    assert "were post-processed, each by its own steps" in page
    assert "0.654 without 1.000" in page
    assert "runs/0 0.250 0.125 1.000 0.500 runs/1 0.750 0.375 - -" in page
    for member in members:  # of equal weights
        del member["validation_ccc"]
    page = change(folder, members=members)
    assert "runs/0 0.250 - 1.000 - runs/1 0.750 - - -" in page
    (folder / "unprocessed.csv").unlink()  # a member may be anyone's
    assert "Unknown: no member's folder holds" in text(write(folder))


def epoch(number, loss, ccc):
    scores = {"valence": {"ccc": 0.5}, "arousal": {"ccc": ccc - 0.5}}
    scores["mean_ccc"] = ccc / 2
    return {"epoch": number, "loss": loss, "validation": scores}


HISTORY = {
    "best_epoch": 2,
    "best_ccc": 0.25,
    "epochs": [
        *(epoch(1, 0.9, 0.25), epoch(2, 0.5, 0.5)),
        {"epoch": 3, "loss": 0.45},  # without validation
        epoch(4, 0.4, 0),
    ],
}


def test_the_training_is_shown_where_it_is(folder, tmp_path, drawn):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.json").write_text(json.dumps(HISTORY))
    page = change(folder, model=str(tmp_path / "run"))
    assert "Of 4 epochs the best is 2, with a mean CCC of 0.250" in page
    epochs, losses, cccs, best = drawn["training"]
    assert (epochs, losses, best) == ([1, 2, 4], [0.9, 0.5, 0.4], 2)
    assert cccs["valence"] == [0.5] * 3
    assert cccs["arousal"] == [-0.25, 0, -0.5]
    assert cccs["mean"] == [0.125, 0.25, 0]
    # Its model is another by now.
    (tmp_path / "run" / "best.keras").write_text("another")
    for known in ("another", "evaluated"):
        digest = hashlib.sha256(known.encode()).hexdigest()
        model = {"model": str(tmp_path / "run"), "model_sha256": digest}
        page = change(folder, **model)
        assert ("Of 4 epochs the best is" in page) == (known == "another")
    assert "has another model by now" in page


def test_nothing_is_left_by_a_failure(folder, tmp_path):
    # A report may lie in the results folder itself.
    assert not set(report.FILES) & set(results.FILES)
    with pytest.raises(UserError, match="--results=.*nowhere"):
        write(tmp_path / "nowhere")
    with pytest.raises(UserError, match="--records=.*x holds no manifest"):
        write(folder, records=str(tmp_path / "x"))
    assert not (tmp_path / "report").exists()


def test_faces_are_those_of_the_records(tmp_path, small_records, drawn):
    keys = ["eve/utterance_1.mp4", "eve/utterance_3.mp4"]
    values = [[0.1, 0.5], [0.2, 0.4]]
    folder = make(tmp_path / "results", values, values, keys)
    # Of anyone's predictions the split is not known: they are looked for.
    assert "evenly spaced" in text(write(folder, records=str(small_records)))
    ((caption, images, face), (_, others, _)), *_ = drawn["worst"]
    assert caption == (
        "eve / utterance_1.mp4\ntrue valence +0.10, predicted +0.10;  true "
        "arousal +0.50, predicted +0.50"
    )
    # Of 8 frames, the fifth has no face.
    assert face.tolist() == [True] * 4 + [False] + [True] * 3
    assert images.shape == (8, 96, 96, 3) and len(others) == 3
    change(folder, split="validation")
    with pytest.raises(UserError, match="--records=.* has no utterance eve/"):
        write(folder, records=str(small_records))
    change(folder, records_sha256="of others")
    with pytest.raises(UserError, match="are not the records that --results="):
        write(folder, records=str(small_records))


def test_what_stands_beside_the_model(folder):
    """Sources of v and w, of which only that of v stands in train."""
    (folder / "facts.csv").write_text(
        "video,utterance,source,person,in_train,mean_arousal,mean_valence,"
        "source_mean_arousal,source_mean_valence\n"
        "v,u1,x,,1,0.4,0.3,0.2,0.1\n"
        "v,u2,x,,1,0.4,0.3,0.2,0.1\n"
        "w,u1,y,,0,0.4,0.3,0.4,0.3\n"
        "w,u2,y,,0,0.4,0.3,0.4,0.3\n"
    )
    page = text(write(folder))
    # Labels .1, .5, -.2 against .1, .1, .3: variances 74/900 and 8/900,
    # covariance -20/900, means 1/30 apart: CCC -40/83; .2, .3, .6 against .2,
    # .2, .4: 26/900, 8/900, 14/900, 3/30: 28/43.
    for words in (
        "model -0.553 0.667 0.057 3",
        f"mean training label {3 * '0.000 (constant) '}3",
        "mean training label of the source -0.482 0.651 0.085 3",
        f"model, source not in train {3 * '0.000 (constant) '}1",
        "2 of 4 utterances have a source that stands in train, too; 2 have",
        "The utterances are of 2 sources only. With fewer than 20",
    ):
        assert words in page
