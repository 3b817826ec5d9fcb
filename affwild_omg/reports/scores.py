"""The report's head: what was scored, how well, and what to doubt of it."""

import pathlib

import numpy as np

from affwild_omg.reports import wording
from affwild_omg.reports.pages import Page
from affwild_omg.reports.run import Run

FEW_VIDEOS = 20  # see `significance.interval`

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


def title(run: Run) -> str:
    """Returns the page's title."""
    members = run.metrics.get("members")
    name = f"Fusion of {len(members)} runs" if members else _model(run)
    split = run.metrics.get("split")
    return f"{name} on the {split} split" if split else name


def _model(run):
    model = str(run.metrics.get("model") or run.options.results)
    return pathlib.PurePath(model).name or model


def lead(run: Run) -> list[str]:
    """Returns the lines below the title: what the page is about."""
    lines = [f"Results folder: {run.options.results}"]
    for name in ("model", "predictions", "annotations"):
        if run.metrics.get(name):
            lines.append(f"{name.capitalize()}: {run.metrics[name]}")
    lines.append(f"Corpus: {run.corpus or 'not named in metrics.json'}")
    return lines


def add_scores(page: Page, run: Run) -> None:
    """Adds the headline scores, and warns of what they don't say."""
    metrics = run.metrics
    page.section("Scores")
    if run.corpus == "demo":
        page.note(_DEMO)
    if not run.keys:
        page.aside(
            "No utterance has labels: there are no scores, and nothing "
            "below that needs the truth."
        )
        page.paragraph(_basis(run))
        return
    if not all(target in metrics for target in run.targets):
        # By frame, where no utterance with labels has a face.
        page.aside("Left out: metrics.json holds no scores of this protocol.")
        page.paragraph(_basis(run))
        return
    intervals = metrics.get("intervals") or {}
    page.cards(_cards(run, intervals))
    page.paragraph(_basis(run))
    several = len(run.targets) > 1
    page.table(
        ("", "CCC", "interval", "Pearson", "p", "MSE"),
        [
            (
                target,
                wording.number(metrics[target]["ccc"]),
                wording.interval(intervals.get(target)),
                wording.number(metrics[target]["pearson"]),
                wording.p_value(metrics[target].get("pearson_p_value")),
                wording.number(metrics[target]["mse"], 4),
            )
            for target in run.targets
        ]
        + [
            (
                "mean",
                wording.number(metrics["mean_ccc"]),
                wording.interval(intervals.get("mean")),
                *[wording.NONE] * 3,
            )
        ]
        * several,
    )
    if any(metrics[x].get("pearson_p_value") is not None for x in run.targets):
        page.aside(
            "p is that of Pearson's r, as papers quote it. It takes "
            f"{metrics.get('level', 'utterance')}s for independent, which "
            "those of one video are not, and is far too small."
        )
    _add_doubts(page, run, intervals)


def _cards(run, intervals):
    def small(name, otherwise):
        if not intervals.get(name):
            return otherwise
        return f"{wording.level(intervals)} {wording.interval(intervals[name])}"

    cards = [
        (
            f"CCC of {target}",
            wording.number(run.metrics[target]["ccc"]),
            small(target, "no interval"),
        )
        for target in run.targets
    ]
    if len(run.targets) > 1:
        mean = wording.number(run.metrics["mean_ccc"])
        cards.append(("mean CCC", mean, small("mean", "of the targets")))
    return cards


def _basis(run):
    """Says in words what the scores are computed from."""
    metrics = run.metrics
    level = metrics.get("level", "utterance")
    text = ""
    if run.keys:
        rows = _ROWS_OF.get(level, level)
        text = f"Scored by {level}: CCC, Pearson's r and MSE are "
        text += (
            f"those of each video's {rows}, averaged over the videos. "
            if metrics.get("pooling") == "per_video"
            else f"taken over all {rows} together, with moments divided by N. "
        )
    text += f"{wording.count(len(run.keys), 'utterance')} with labels"
    anyones = "unmatched" in metrics
    if "expected" in metrics:
        where = "annotated" if anyones else "of the split"
        text += f" of the {metrics['expected']:,} {where}"
    if "coverage" in metrics and not anyones:
        text += f", of which {100 * metrics['coverage']:.1f} % were prepared"
    text += "."
    if anyones:
        alone = {side: len(x) for side, x in metrics["unmatched"].items()}
        text += (
            f" Rows were matched by {metrics['match']}; left out without a "
            f"match: {alone['predictions']:,} of the predictions, "
            f"{alone['annotations']:,} of the annotations."
        )
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
            f" {wording.count(metrics['utterances_without_face'], 'utterance')}"
            " without any face took the mean estimate of the others in the "
            "same video or, where there is none, of all"
        )
        smoothed = _smoothed(metrics)
        if smoothed:
            text += f"; the smoothing of {' and '.join(smoothed)} comes after"
        text += "."
    return text


def _smoothed(metrics):
    settings = metrics.get("postprocessing") or {}
    return [
        target
        for target, steps in settings.get("targets", {}).items()
        if steps.get("smoothing_strength")
    ]


def _add_doubts(page, run, intervals):
    """Warns of what makes the scores say less than they seem to."""
    constant = _constant(run)
    coverage = run.metrics.get("coverage", 1)
    if coverage < 1:
        page.note(
            f"Only {100 * coverage:.1f} % of the utterances are here: these "
            "CCCs are not to be compared with those of all."
        )
    if run.metrics.get("level", "utterance") != "utterance" or (
        run.metrics.get("pooling", "pooled") != "pooled"
    ):
        page.aside(
            "The pictures and tables further down are by utterance, pooled, "
            "unless they say otherwise."
        )
    for column, target in enumerate(run.targets):
        if target in constant:
            continue
        labels, mean = run.labels[:, column], run.predictions[:, column].mean()
        ends = labels.min(), labels.max()
        if not ends[0] <= mean <= ends[1]:
            page.note(
                f"The predictions of {target} average {wording.number(mean)}, "
                f"beyond all labels ({wording.interval(ends)}): so far off, "
                "CCC is near 0 whatever they follow."
            )
    if run.metrics.get("misordered"):
        page.note(
            f"{wording.count(len(run.metrics['misordered']), 'row')} of "
            f"{len(run.keys):,} are of another utterance in the predictions "
            "than in the annotations, and are scored by order all the same: "
            "see misordered in metrics.json."
        )
    if len(run.keys) == 1:
        page.note(
            "There is one utterance only: nothing varies, so CCC is 0 by "
            "definition and only the error can be read."
        )
    else:
        for target, sides in constant.items():
            for side, value in sides.items():
                page.note(
                    f"The {side} of {target} are constant "
                    f"({wording.number(value)}): CCC is 0 by definition."
                )
    videos = len(set(run.videos))
    widths = [
        f"{(intervals[target][1] - intervals[target][0]) / 2:.3f} ({target})"
        for target in run.targets
        if intervals.get(target)
    ]
    if not widths:
        if videos < 2:
            page.note(
                "No interval: it comes from drawing whole videos, and the "
                "labelled utterances are of 1 video by name."
            )
        elif constant.keys() != set(run.targets):
            page.note("No interval: metrics.json holds none.")
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


def _constant(run):
    """Returns {target: {side: value}} of the sides that do not vary."""
    sides = {"predictions": run.predictions, "labels": run.labels}
    constant = {}
    for column, target in enumerate(run.targets):
        found = {
            side: values[0, column]
            for side, values in sides.items()
            if np.ptp(values[:, column]) == 0
        }
        if found:
            constant[target] = found
    return constant
