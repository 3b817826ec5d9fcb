"""The pictures of a report, and the tables of what they show."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from affwild_omg import figures
from affwild_omg.reports import wording
from affwild_omg.reports.pages import Page
from affwild_omg.reports.run import Run
from affwild_omg.storage import files

REPORT = "report.html"
FIGURES = {  # in the order of the page: what their CSV holds
    "protocols": "the scores by each protocol",
    "postprocessing": "the scores with and without post-processing",
    "agreement": "every utterance: what is true, what was predicted",
    "plane": "counts in bins of the valence-arousal plane",
    "distributions": "counts in bins of each target",
    "calibration": "range and mean of labels and predictions",
    "reliability": "mean label against mean prediction, by bin",
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


def picture(run: Run, name: str) -> pathlib.Path:
    """Returns where a picture is drawn; name: one of `FIGURES`."""
    return run.directory / f"{name}.png"


def show(page: Page, run: Run, name: str, caption: str) -> None:
    """Adds a picture that is drawn; name: one of `FIGURES`."""
    page.figure(
        picture(run, name), alt=caption, caption=caption, data=f"{name}.csv"
    )


def write_rows(run: Run, name: str, rows: Iterable[Mapping]) -> None:
    """Writes what a picture shows as CSV; name: one of `FIGURES`."""
    files.write_csv(
        run.directory / f"{name}.csv",
        ({key: _exact(value) for key, value in row.items()} for row in rows),
    )


def utterance(run: Run, key: str, label, prediction) -> dict:
    """Returns an utterance's row for `write_rows`.

    Args:
        run: that it is of.
        key: "<video>/<utterance>".
        label: [targets], NaN where there is none.
        prediction: [targets].
    """
    video, _, name = key.rpartition("/")
    row = {"video": video, "utterance": name}
    for target, truth, predicted in zip(
        run.targets, label, prediction, strict=True
    ):
        row[f"true_{target}"] = float(truth)
        row[f"predicted_{target}"] = float(predicted)
    row["distance"] = float(np.linalg.norm(prediction - label))
    if run.place:
        row["seconds"] = run.seconds(key)
    return row


def add_groups(
    page: Page, run: Run, name: str, rows: Sequence[Mapping], caption: str
) -> None:
    """Adds a picture of CCC and MSE of groups, and writes its table.

    Args:
        page: to add to.
        run: whose groups they are.
        name: one of `FIGURES`.
        rows: of `insight.breakdown`, or like them.
        caption: what they are; whiskers are explained here.
    """
    write_rows(run, name, rows)
    figures.groups(picture(run, name), rows, run.targets)
    whiskers = any(
        row.get(f"{target}_ccc_low") is not None
        for row in rows
        for target in run.targets
    )
    level = wording.level(run.metrics.get("intervals") or {})
    show(
        page,
        run,
        name,
        f"{caption} Lines through the points: the {level}."
        if whiskers
        else caption,
    )


def _exact(value):
    """Returns a value as a CSV file holds it."""
    if isinstance(value, float):
        return f"{value:.8g}" if np.isfinite(value) else ""
    return value
