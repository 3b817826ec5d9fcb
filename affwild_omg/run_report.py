"""A run's report: a results folder becomes a page to look at.

The page is one HTML file that needs nothing else, neither a network nor the
files beside it. Those are its pictures as PNG, and what each of them shows as
CSV.
"""

import csv
import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from affwild_omg import drawing, experiments, outputs, results
from affwild_omg.architectures import TARGETS
from affwild_omg.errors import UserError
from affwild_omg.pages import Page
from affwild_omg.scoring import aggregation, concordance, insight

REPORT = "report.html"
FIGURES = {  # in the order of the page: what their CSV holds
    "protocols": "the scores by each protocol",
    "postprocessing": "the scores with and without post-processing",
    "agreement": "every utterance: what is true, what was predicted",
    "plane": "counts in bins of the valence-arousal plane",
    "distributions": "counts in bins of each target",
    "reliability": "mean label against mean prediction, by bin",
    "calibration": "range and mean of labels and predictions",
    "regions": "the scores by region of the plane",
    "lengths": "the scores by the utterances' length",
    "videos": "the scores by video, the worst first",
    "worst": "the worst utterances",
    "timelines": "the worst utterances, frame by frame",
    "training": "the training, epoch by epoch",
}
FILES = (
    REPORT,
    *(f"{name}.{kind}" for name in FIGURES for kind in ("png", "csv")),
)
MOST_WORST = 16  # utterances: more would make the page too big
CROPS = 8  # of each of them
FEW_VIDEOS = 20  # see `significance.bootstrap_interval`
_LISTED = 10  # videos in the page's table; all are in the CSV
_NONE = "–"

_ROWS_OF = {
    "utterance": "labelled utterances",
    "sequence": "sequences",
    "frame": "frames with a face and a label",
}
_DEMO = (
    "This is the demo corpus: its people are all made of the same two faces, "
    "and what they feel is acted by a program. These numbers show that the "
    "software works; they say nothing of real people."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a report is made of; flags of affwild_omg.reporting.

    Attributes:
        results: folder that evaluate.py or affwild_omg.fuse wrote.
        output: folder for the page, its pictures and tables.
        records: folder that prepare wrote, to show faces; None shows none.
        worst: how many of the worst utterances to show.
    """

    results: str
    output: str
    records: str | None = None
    worst: int = 8

    def __post_init__(self):
        if not 1 <= self.worst <= MOST_WORST:
            raise UserError(
                f"--worst must be from 1 to {MOST_WORST} utterances, not "
                f"{self.worst}"
            )


def write(options: Options, *, overwrite: bool = False) -> pathlib.Path:
    """Writes the report of a results folder.

    The same input makes the same bytes.

    Args:
        options: what and where.
        overwrite: replace a report that is there.

    Returns:
        The page's path; its pictures and tables lie beside it, see `FILES`.

    Raises:
        UserError: the results, the records or the output can't be used.
    """
    with outputs.whole_directory(
        options.output, flag="--output", overwrite=overwrite, owned=FILES
    ) as directory:
        found = results.read(options.results, flag="--results")
        frames = results.read_frames(options.results, flag="--results")
        page = _Report(options, found, frames, directory).compose()
        (directory / REPORT).write_text(page, encoding="utf-8")
    return pathlib.Path(options.output) / REPORT


class _Report:
    """One report on its way: each method adds a section to the page."""

    def __init__(self, options, found, frames, directory):
        self.options = options
        self.results = found
        self.metrics = found.metrics
        self.targets = found.targets
        self.directory = directory
        known = np.isfinite(found.labels).all(axis=1)
        self.keys = [
            key for key, has in zip(found.keys, known, strict=True) if has
        ]
        self.videos = [key.rpartition("/")[0] for key in self.keys]
        self.labels = found.labels[known]
        self.predictions = found.predictions[known]
        self.frames = frames
        self.place = {}  # of each utterance among the frames
        if frames is not None:
            self.place = {key: i for i, key in enumerate(frames.keys)}

    def compose(self):
        self.page = Page(self._title(), self._lead())
        self._scores()
        self._protocols()
        self._postprocessing()
        self._agreement()
        self._calibration()
        self._regions()
        self._lengths()
        self._videos()
        self._worst()
        self._network()
        self._files()
        return self.page.html()

    # What it is about.

    @functools.cached_property
    def corpus(self):
        corpus = self.metrics.get("corpus")
        if not corpus and self.options.records:
            from affwild_omg.data import records  # TensorFlow: only if needed

            corpus = records.read_manifest(self.options.records).get("corpus")
        return corpus

    def _title(self):
        members = self.metrics.get("members")
        name = f"Fusion of {len(members)} runs" if members else self._model()
        split = self.metrics.get("split")
        return f"{name} on the {split} split" if split else name

    def _model(self):
        model = str(self.metrics.get("model") or self.options.results)
        return pathlib.PurePath(model).name or model

    def _lead(self):
        lines = [f"Results folder: {self.options.results}"]
        if self.metrics.get("model"):
            lines.append(f"Model: {self.metrics['model']}")
        lines.append(f"Corpus: {self.corpus or 'not named in metrics.json'}")
        return lines

    def _scores(self):
        page, metrics = self.page, self.metrics
        page.section("Scores")
        if self.corpus == "demo":
            page.note(_DEMO)
        if not self.keys:
            page.aside(
                "No utterance has labels: there are no scores, and nothing "
                "below that needs the truth."
            )
            page.paragraph(self._basis())
            return
        intervals = metrics.get("intervals") or {}
        page.cards(
            [
                (
                    f"CCC of {target}",
                    _number(metrics[target]["ccc"]),
                    f"{_level(intervals)} {_interval(intervals.get(target))}"
                    if intervals.get(target)
                    else "no interval",
                )
                for target in self.targets
            ]
            + [("mean CCC", _number(metrics["mean_ccc"]), "of the targets")]
            * (len(self.targets) > 1)
        )
        page.paragraph(self._basis())
        page.table(
            ("", "CCC", "interval", "Pearson", "p", "MSE"),
            [
                (
                    target,
                    _number(metrics[target]["ccc"]),
                    _interval(intervals.get(target)),
                    _number(metrics[target]["pearson"]),
                    _p_value(metrics[target].get("pearson_p_value")),
                    _number(metrics[target]["mse"], 4),
                )
                for target in self.targets
            ],
        )
        self._doubts(intervals)

    def _basis(self):
        """Says in words what the scores are computed from."""
        metrics = self.metrics
        level = metrics.get("level", "utterance")
        text = ""
        if self.keys:
            rows = _ROWS_OF.get(level, level)
            text = f"Scored by {level}: CCC, Pearson's r and MSE are "
            text += (
                f"those of each video's {rows}, averaged over the videos. "
                if metrics.get("pooling") == "per_video"
                else f"taken over all {rows} together, "
                "with moments divided by N. "
            )
        text += f"{_count(len(self.keys), 'utterance')} with labels"
        if "expected" in metrics:
            text += f" of the {metrics['expected']:,} of the split"
        if "coverage" in metrics:
            text += (
                f", of which {100 * metrics['coverage']:.1f} % were prepared"
            )
        text += "."
        if metrics.get("sequence_estimate"):
            text += (
                " An utterance's estimate is the mean over its sequences of "
                f"{metrics.get('sequence_length', '?')} frames, a sequence's "
                f"the {metrics['sequence_estimate']} of its frames."
            )
        if metrics.get("frames"):
            text += (
                f" {metrics['frames_with_face']:,} of {metrics['frames']:,} "
                "frames have a face."
            )
        if metrics.get("utterances_without_face"):
            text += (
                f" {_count(metrics['utterances_without_face'], 'utterance')} "
                "without any face took the estimate of their neighbours."
            )
        return text

    def _doubts(self, intervals):
        """Warns of what makes the scores say less than they seem to."""
        page = self.page
        if len(self.keys) == 1:
            page.note(
                "There is one utterance only: nothing varies, so CCC is 0 by "
                "definition and only the error can be read."
            )
        else:
            sides = (("predictions", self.predictions), ("labels", self.labels))
            for side, values in sides:
                for target, column in zip(self.targets, values.T, strict=True):
                    if np.ptp(column) == 0:
                        page.note(
                            f"The {side} of {target} are constant "
                            f"({column[0]:.3f}): CCC is 0 by definition."
                        )
        videos = len(set(self.videos))
        widths = [
            f"{(intervals[target][1] - intervals[target][0]) / 2:.3f} "
            f"({target})"
            for target in self.targets
            if intervals.get(target)
        ]
        if not widths:
            page.note(
                "No interval: it comes from drawing whole videos, and the "
                f"labelled utterances are of {_count(videos, 'video')} by name."
            )
            return
        if videos < FEW_VIDEOS:
            page.note(
                f"The utterances are of {videos} videos only. With fewer than "
                f"{FEW_VIDEOS} videos the intervals are too narrow: of those "
                "that say 95 %, about 91 % hold the true CCC with 20 videos, "
                "85 % with 10 and 77 % with 5."
            )
        page.note(
            "Another set of videos would move these CCCs by about half an "
            f"interval, {' and '.join(widths)} (with the 2,229 test utterances "
            "of OMG-Emotion by about 0.03): a smaller difference from a "
            "published number is within sampling noise. Two runs on the same "
            "utterances are compared more sharply by affwild_omg.compare."
        )

    def _protocols(self):
        page = self.page
        page.section("By each protocol")
        rows = [
            {"group": f"{level}, {pooling.replace('_', ' ')}"}
            | {"rows": scores.get("rows")}
            | self._row_of(scores)
            for level, poolings in (self.metrics.get("protocols") or {}).items()
            for pooling, scores in poolings.items()
            if any(target in scores for target in self.targets)
        ]
        if not rows:
            page.aside(
                "Left out: metrics.json holds the scores of one protocol only."
                if self.keys
                else "Left out: there are no labels."
            )
            return
        page.paragraph(
            "Papers score by frame, by sequence or by utterance, all together "
            "(pooled) or video by video (per video, then averaged). Compare a "
            "number only with one of the same protocol."
        )
        page.table(
            ("protocol", "rows", *self._heads("CCC", "interval", "MSE")),
            [
                (
                    row["group"],
                    _whole(row["rows"]),
                    *self._cells(row, "ccc", "interval", "mse"),
                )
                for row in rows
            ],
        )
        self._groups(
            "protocols",
            rows,
            "CCC (more is better) and MSE (less is better) by protocol.",
        )

    def _row_of(self, scores):
        """Returns the scores of metrics.json as `insight.breakdown` does."""
        row = {}
        intervals = scores.get("intervals") or {}
        for target in self.targets:
            if target in scores:
                low, high = intervals.get(target) or (None, None)
                row |= {
                    f"{target}_ccc": scores[target]["ccc"],
                    f"{target}_ccc_low": low,
                    f"{target}_ccc_high": high,
                    f"{target}_mse": scores[target]["mse"],
                }
        return row

    def _postprocessing(self):
        page = self.page
        page.section("Post-processing")
        settings = self.metrics.get("postprocessing")
        if not settings and "members" not in self.metrics:
            page.aside("None was applied: these are the network's own values.")
            return
        if not settings:
            self._members_postprocessing()
            return
        page.paragraph(
            "Chosen on the validation split, each step only where it raised "
            "CCC there, and applied here as it is."
        )
        if self.metrics.get("split") == "validation":
            page.note(
                "This is the split that it was chosen on: what it gains here "
                "says little of other utterances."
            )
        page.table(
            ("", "median filter", "smoothing of utterances"),
            [
                (target, _filter(steps), _smoothing(steps))
                for target, steps in settings.get("targets", {}).items()
            ],
            words=3,
        )
        self._with_and_without()

    def _members_postprocessing(self):
        if "unprocessed" not in self.metrics:
            self.page.aside("None: no member's predictions were processed.")
            return
        self.page.paragraph(
            "The runs that are fused here have been post-processed, each by "
            "its own steps; without, they are fused by the weights that they "
            "have without."
        )
        self._with_and_without()

    def _with_and_without(self):
        page = self.page
        without = self.metrics.get("unprocessed")
        if not (without and self.keys):
            page.aside("Without labels there is no CCC with and without it.")
            return
        rows = [
            {"group": "with"} | self._row_of(self.metrics),
            {"group": "without"} | self._row_of(without),
        ]
        page.table(
            ("CCC", *self.targets, *["mean"] * (len(self.targets) > 1)),
            [
                (
                    row["group"],
                    *(_number(row[f"{target}_ccc"]) for target in self.targets),
                    *[_number(scores["mean_ccc"])] * (len(self.targets) > 1),
                )
                for row, scores in zip(
                    rows, (self.metrics, without), strict=True
                )
            ],
            caption="With and without post-processing, as in the paper's "
            "table 3",
        )
        self._groups("postprocessing", rows, "CCC and MSE with and without it.")

    def _agreement(self):
        page = self.page
        page.section("Predicted and true values")
        self._write_rows(
            "agreement",
            [
                self._utterance(key, label, prediction)
                for key, label, prediction in zip(
                    self.results.keys,
                    self.results.labels,
                    self.results.predictions,
                    strict=True,
                )
            ],
        )
        if self.keys:
            drawing.scatter(
                self._picture("agreement"),
                self.labels,
                self.predictions,
                self.targets,
                {
                    target: {"ccc": concordance.concordance(truth, predicted)}
                    for target, truth, predicted in zip(
                        self.targets,
                        self.labels.T,
                        self.predictions.T,
                        strict=True,
                    )
                },
            )
            self._show(
                "agreement",
                "Each point is an utterance; on the line it is predicted as "
                "it is.",
            )
        else:
            page.aside("There are no labels: only the predictions are shown.")
        if self.keys and self.targets == TARGETS:
            rows = drawing.plane_histograms(
                self._picture("plane"), self.labels, self.predictions
            )
            self._write_rows("plane", rows)
            self._show(
                "plane",
                "Where labels and predictions lie in the valence-arousal "
                "plane.",
            )
        rows = drawing.distributions(
            self._picture("distributions"),
            self.labels if self.keys else self.results.labels,
            self.predictions if self.keys else self.results.predictions,
            self.targets,
        )
        self._write_rows("distributions", rows)
        self._show(
            "distributions",
            "How often each value was predicted (filled)"
            + (" and is true (outline)." if self.keys else "."),
        )

    def _utterance(self, key, label, prediction):
        """Returns an utterance's row of a CSV file."""
        video, _, utterance = key.rpartition("/")
        row = {"video": video, "utterance": utterance}
        for target, truth, predicted in zip(
            self.targets, label, prediction, strict=True
        ):
            row[f"true_{target}"] = float(truth)
            row[f"predicted_{target}"] = float(predicted)
        row["distance"] = float(np.linalg.norm(prediction - label))
        if self.place:
            row["seconds"] = self._seconds(key)
        return row

    def _seconds(self, key):
        i = self.place.get(key)
        if i is None:
            return None
        return len(self.frames.mask[i]) / float(self.frames.fps[i])

    def _calibration(self):
        page = self.page
        page.section("Calibration")
        if not self.keys:
            page.aside("Left out: there are no labels.")
            return
        rows = insight.calibration(self.labels, self.predictions, self.targets)
        page.paragraph(
            "CCC is Pearson's r times the accuracy, which is 1 only if mean "
            "and range of the predictions are those of the labels. A range "
            "ratio under 1 tells of predictions that stay too near their "
            "mean; the bias is the mean predicted less the mean true value."
        )
        page.table(
            (
                "",
                "mean true",
                "mean predicted",
                "bias",
                "spread true",
                "spread predicted",
                "range ratio",
                "Pearson",
                "accuracy",
                "slope",
                "intercept",
            ),
            [
                (
                    row["target"],
                    *(
                        _number(row[name])
                        for name in (
                            "label_mean",
                            "prediction_mean",
                            "bias",
                            "label_std",
                            "prediction_std",
                            "range_ratio",
                            "pearson",
                            "accuracy",
                            "slope",
                            "intercept",
                        )
                    ),
                )
                for row in rows
            ],
            caption="Spread: standard deviation. Slope and intercept of the "
            "line that fits labels to predictions, 1 and 0 if calibrated.",
        )
        self._write_rows("calibration", rows)
        drawing.calibration(self._picture("calibration"), rows)
        self._show(
            "calibration",
            "Range and mean of labels and predictions: a dot at the mean, a "
            "bar of one standard deviation to each side, a line from the 5 % "
            "to the 95 % quantile.",
        )
        rows = insight.reliability(self.labels, self.predictions, self.targets)
        self._write_rows("reliability", rows)
        drawing.reliability(self._picture("reliability"), rows)
        self._show(
            "reliability",
            "What is true on average where so much is predicted, in bins of "
            "as many utterances each.",
        )

    def _regions(self):
        page = self.page
        page.section("By region of the plane")
        if not self.keys or self.targets != TARGETS:
            page.aside(
                "Left out: "
                + (
                    "it takes both valence and arousal."
                    if self.keys
                    else "there are no labels."
                )
            )
            return
        regions = {
            region.heading: region for region in experiments.TABLES[7].rows
        }
        rows = self._breakdown(
            {
                name: region.contains(*self.labels.T)
                for name, region in regions.items()
            }
        )
        published = self.corpus == "omg"
        page.paragraph(
            "The regions of the paper's table 7; an utterance's labels decide "
            "where it lies. CCC within a region is low by nature, since its "
            "labels vary little: there MSE is the measure."
            + (
                " Published: the MSE of the paper's CNN-3RNN on the test set."
                if published
                else ""
            )
        )
        names = ("CCC", "interval", "MSE")
        page.table(
            (
                "region",
                "utterances",
                *self._heads(*names),
                *self._heads("MSE published") * published,
            ),
            [
                (
                    row["group"],
                    _whole(row["utterances"]),
                    *self._cells(row, "ccc", "interval", "mse"),
                    *[
                        _number(getattr(regions[row["group"]].published, name))
                        for name in self.targets * published
                    ],
                )
                for row in rows
            ],
        )
        self._lone(rows)
        self._groups("regions", rows, "CCC and MSE by region of the plane.")

    def _breakdown(self, groups):
        return insight.breakdown(
            self.labels, self.predictions, self.videos, groups, self.targets
        )

    def _lone(self, rows):
        if any(row["utterances"] == 1 for row in rows):
            self.page.aside(
                "Where there is one utterance only, CCC is 0 by definition."
            )

    def _lengths(self):
        page = self.page
        page.section("By length")
        seconds = [self._seconds(key) for key in self.keys]
        if not self.keys or not self.place or None in seconds:
            page.aside(
                "Left out: "
                + (
                    "the results folder holds no frames of these utterances, "
                    "which tell how long they are."
                    if self.keys
                    else "there are no labels."
                )
            )
            return
        rows = self._breakdown(insight.by_length(np.array(seconds)))
        page.table(
            (
                "length",
                "utterances",
                *self._heads("CCC", "interval", "MSE"),
            ),
            [
                (
                    row["group"],
                    _whole(row["utterances"]),
                    *self._cells(row, "ccc", "interval", "mse"),
                )
                for row in rows
            ],
        )
        self._lone(rows)
        self._groups("lengths", rows, "CCC and MSE by the utterance's length.")

    def _videos(self):
        page = self.page
        page.section("By video")
        if not self.keys:
            page.aside("Left out: there are no labels.")
            return
        rows = self._breakdown(insight.by_video(self.videos))
        rows.sort(
            key=lambda row: -sum(row[f"{name}_mse"] for name in self.targets)
        )
        listed = rows[:_LISTED]
        page.table(
            ("video", "utterances", *self._heads("MSE", "bias")),
            [
                (
                    row["group"],
                    _whole(row["utterances"]),
                    *self._cells(row, "mse", "bias"),
                )
                for row in listed
            ],
            caption="All videos"
            if len(rows) == len(listed)
            else f"The worst {len(listed)} of {len(rows):,} videos",
        )
        self._write_rows("videos", rows)
        drawing.videos(self._picture("videos"), rows, self.targets)
        self._show(
            "videos",
            "MSE by video, the worst first; behind the name its utterances.",
        )

    def _worst(self):
        page = self.page
        page.section("Worst utterances")
        if not self.keys:
            page.aside("Left out: there are no labels.")
            return
        worst = [
            int(i)
            for i in insight.worst(
                self.labels, self.predictions, self.options.worst
            )
        ]
        rows = [
            self._utterance(self.keys[i], self.labels[i], self.predictions[i])
            for i in worst
        ]
        self._write_rows("worst", rows)
        page.table(
            (
                "video",
                "utterance",
                *self._heads("true", "predicted"),
                "distance",
                *["seconds"] * bool(self.place),
            ),
            [
                (
                    row["video"],
                    row["utterance"],
                    *(
                        _number(row[f"{side}_{target}"])
                        for target in self.targets
                        for side in ("true", "predicted")
                    ),
                    _number(row["distance"]),
                    *[_number(row.get("seconds"), 1)] * bool(self.place),
                )
                for row in rows
            ],
            caption="The largest distance between predicted and true values "
            "first",
            words=2,
        )
        if self.options.records:
            self._contact_sheet(rows)
        else:
            page.aside("No faces are shown: no --records were given.")
        self._timelines(worst)

    def _contact_sheet(self, rows):
        from affwild_omg.data import crops  # TensorFlow: only if needed

        split = self.metrics.get("split")
        if not split:
            raise UserError(
                f"--results={self.options.results}: metrics.json does not say "
                "which split this is, so its faces can't be found; leave out "
                "--records"
            )
        keys = [f"{row['video']}/{row['utterance']}" for row in rows]
        found = crops.read(self.options.records, split, keys, CROPS)
        drawing.contact_sheet(
            self._picture("worst"),
            [
                (
                    self._caption(row),
                    found[key].images,
                    found[key].face,
                )
                for key, row in zip(keys, rows, strict=True)
            ],
            columns=CROPS,
        )
        self._show(
            "worst",
            "The worst utterances, each with evenly spaced frames from its "
            "first to its last.",
        )

    def _caption(self, row):
        name = f"{row['video']} / {row['utterance']}"
        values = [
            f"{target} {row[f'true_{target}']:+.2f}, predicted "
            f"{row[f'predicted_{target}']:+.2f}"
            for target in self.targets
        ]
        return f"{name}\ntrue {';  true '.join(values)}"

    def _timelines(self, worst):
        worst = [i for i in worst if self.keys[i] in self.place]
        if not worst:
            self.page.aside(
                "No timelines: the results folder holds no frames of these "
                "utterances."
            )
            return
        estimate = self.metrics.get("sequence_estimate", "median")
        courses = [self._course(i, estimate) for i in worst]
        drawing.timelines(
            self._picture("timelines"), courses, self.targets, estimate=estimate
        )
        self._write_rows(
            "timelines",
            [row for course in courses for row in self._course_rows(course)],
        )
        self._show(
            "timelines",
            "The worst utterances frame by frame"
            + (
                ", before post-processing; the utterance's estimate is after "
                "it."
                if self.metrics.get("postprocessing")
                else "."
            )
            + " Where the background is grey no face was found.",
        )

    def _course(self, i, estimate):
        """Returns what `drawing.timelines` takes of a labelled utterance."""
        at = self.place[self.keys[i]]
        frames, fps = self.frames, float(self.frames.fps[at])
        mask = np.asarray(frames.mask[at], bool)
        values = np.asarray(frames.values[at], float)
        length = len(mask)
        sequences = frames.sequences(at)
        nothing = np.full(len(self.targets), np.nan)
        estimates = [
            aggregation.sequence_estimate(values[part], mask[part], estimate)
            for part in sequences
        ]
        return {
            "title": self.keys[i],
            "times": np.arange(length) / fps,
            "face": mask,
            "values": np.where(mask[:, None], values, np.nan),
            "sequences": (
                np.array([part.start for part in sequences] + [length]) / fps,
                np.array([nothing if x is None else x for x in estimates]),
            ),
            "estimate": self.predictions[i],
            "truth": np.asarray(frames.labels[at], float),
        }

    def _course_rows(self, course):
        video, _, utterance = course["title"].rpartition("/")
        edges, estimates = course["sequences"]
        for frame, time in enumerate(course["times"]):
            sequence = np.searchsorted(edges, time, side="right") - 1
            row = {
                "video": video,
                "utterance": utterance,
                "frame": frame,
                "time_s": float(time),
                "face": int(course["face"][frame]),
            }
            for column, target in enumerate(self.targets):
                row |= {
                    target: float(course["values"][frame, column]),
                    f"{target}_of_sequence": float(estimates[sequence, column]),
                    f"{target}_of_utterance": float(course["estimate"][column]),
                    f"true_{target}": float(course["truth"][frame, column]),
                }
            yield row

    def _network(self):
        page, metrics = self.page, self.metrics
        page.section("Network and training")
        if metrics.get("members"):
            self._members()
        if metrics.get("network"):
            page.table(
                ("network", "value"),
                _flat(metrics["network"]),
                words=2,
            )
        elif not metrics.get("members"):
            page.aside("metrics.json does not describe the network.")
        if not metrics.get("model"):
            return
        workdir = pathlib.Path(metrics["model"])
        flags = _read(workdir / "flags.cfg")
        if flags is not None:
            page.table(
                ("flag of train.py", "value"),
                [
                    (name, value)
                    for line in flags.splitlines()
                    for name, _, value in [line.partition("=")]
                    if name
                ],
                words=2,
            )
        history = _read(workdir / "history.json")
        if history is None:
            page.aside(
                f"No training is shown: {workdir} is no workdir that is here."
            )
            return
        try:
            best, epochs = self._epochs(json.loads(history))
        except (ValueError, KeyError, TypeError, IndexError):
            page.aside(
                f"No training is shown: {workdir / 'history.json'} is not "
                "what train.py writes."
            )
            return
        self._write_rows("training", epochs)
        drawing.training(self._picture("training"), epochs, best)
        kept = next(epoch for epoch in epochs if epoch["epoch"] == best)
        self._show(
            "training",
            f"Of {_count(len(epochs), 'epoch')} the best is {best}, with a "
            f"mean CCC of {kept['mean_ccc']:.3f} on the validation split; its "
            "weights are the model's.",
        )

    def _members(self):
        self.page.table(
            ("run", *self._heads("weight", "CCC on validation")),
            [
                (
                    str(member["test"]),
                    *(
                        _number(member[name].get(target))
                        for target in self.targets
                        for name in ("weights", "validation_ccc")
                    ),
                )
                for member in self.metrics["members"]
            ],
            caption="What was fused",
        )

    @staticmethod
    def _epochs(history):
        epochs = []
        for epoch in history["epochs"]:
            validation = epoch["validation"]
            row = {"epoch": epoch["epoch"], "loss": epoch["loss"]}
            for target in TARGETS:
                if target in validation:
                    row[f"{target}_ccc"] = validation[target]["ccc"]
            epochs.append(row | {"mean_ccc": validation["mean_ccc"]})
        best = history["best_epoch"]
        if best not in [epoch["epoch"] for epoch in epochs]:
            raise ValueError(best)
        return best, epochs

    def _files(self):
        self.page.section("Files")
        self.page.paragraph(
            "This page needs none of the files beside it: they are its "
            "pictures, and the numbers in them as tables."
        )
        self.page.table(
            ("table", "picture", "what it holds"),
            [
                (
                    f"{name}.csv",
                    f"{name}.png"
                    if (self.directory / f"{name}.png").exists()
                    else _NONE,
                    what,
                )
                for name, what in FIGURES.items()
                if (self.directory / f"{name}.csv").exists()
            ],
            words=3,
        )

    # Pictures and tables.

    def _picture(self, name):
        return self.directory / f"{name}.png"

    def _show(self, name, caption):
        self.page.figure(
            self._picture(name),
            alt=caption,
            caption=caption,
            data=f"{name}.csv",
        )

    def _groups(self, name, rows, caption):
        self._write_rows(name, rows)
        drawing.groups(self._picture(name), rows, self.targets)
        whiskers = any(
            row.get(f"{target}_ccc_low") is not None
            for row in rows
            for target in self.targets
        )
        level = _level(self.metrics.get("intervals") or {})
        self._show(
            name,
            f"{caption} Lines beside the points: the {level}."
            if whiskers
            else caption,
        )

    def _write_rows(self, name, rows):
        path = self.directory / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            names = dict.fromkeys(key for row in rows for key in row)
            writer = csv.DictWriter(file, list(names), lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {key: _exact(value) for key, value in row.items()}
                for row in rows
            )

    def _heads(self, *names):
        return [
            f"{target}: {name}" for target in self.targets for name in names
        ]

    def _cells(self, row, *names):
        return [
            _interval(
                (row[f"{target}_ccc_low"], row[f"{target}_ccc_high"])
                if row.get(f"{target}_ccc_low") is not None
                else None
            )
            if name == "interval"
            else _number(row.get(f"{target}_{name}"), 4 if name == "mse" else 3)
            for target in self.targets
            for name in names
        ]


def _number(value, digits=3):
    if value is None or not np.isfinite(value):
        return _NONE
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _exact(value):
    """Returns a value as a CSV file holds it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.8g}" if np.isfinite(value) else ""
    return value


def _whole(value):
    return _NONE if value is None else f"{value:,}"


def _count(number, noun):
    return f"{number:,} {noun}" + "s" * (number != 1)


def _level(intervals):
    return f"{100 * intervals.get('level', 0.95):g} % interval"


def _interval(ends):
    return _NONE if not ends else " to ".join(map(_number, ends))


def _p_value(value):
    if value is None:
        return _NONE
    return f"{value:.2g}" if value >= 1e-99 else "< 1e-99"


def _filter(steps):
    window = steps.get("median_window", 1)
    return f"over {window} frames" if window > 1 else "none"


def _smoothing(steps):
    strength = steps.get("smoothing_strength", 0)
    return f"strength {strength:g} frames" if strength else "none"


def _flat(settings, prefix="") -> Sequence[tuple[str, str]]:
    """Returns nested settings as (name, value) rows."""
    rows = []
    for name, value in settings.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(
            isinstance(item, dict) for item in value
        ):
            for i, item in enumerate(value, start=1):
                rows += _flat({str(i): item}, f"{prefix}{name} ")
        elif isinstance(value, list):
            rows.append(
                (f"{prefix}{name}", ", ".join(map(str, value)) or _NONE)
            )
        else:
            rows.append(
                (f"{prefix}{name}", _NONE if value is None else str(value))
            )
    return rows


def _read(path):
    """Returns a text file's content, None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
