"""The scores of parts: regions of the plane, lengths, videos."""

import numpy as np

from affwild_omg import figures as drawing
from affwild_omg.paper.task import TARGETS
from affwild_omg.published import tables
from affwild_omg.reports import pictures, wording
from affwild_omg.reports.pages import Page
from affwild_omg.reports.run import Run
from affwild_omg.scoring import breakdown

_LISTED = 10  # videos in the page's table; all are in the CSV


def add_regions(page: Page, run: Run) -> None:
    """Adds the scores by region of the plane, beside the paper's."""
    page.section("By region of the plane")
    if not run.keys or run.targets != TARGETS:
        page.aside(
            "Left out: "
            + (
                "it takes both valence and arousal."
                if run.keys
                else "there are no labels."
            )
        )
        return
    regions = {region.heading: region for region in tables.TABLES[7].rows}
    rows = _breakdown(
        run,
        {
            name: region.contains(*run.labels.T)
            for name, region in regions.items()
        },
    )
    published = run.corpus == "omg"
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
    header, lines = wording.group_table(rows, run.targets, group="region")
    if published:
        header += wording.heads(run.targets, "MSE published")
        for row, line in zip(rows, lines, strict=True):
            theirs = regions[row["group"]].published
            line += [wording.number(getattr(theirs, x)) for x in run.targets]
    page.table(header, lines)
    _add_constant(page, run, rows)
    pictures.add_groups(
        page, run, "regions", rows, "CCC and MSE by region of the plane."
    )


def add_lengths(page: Page, run: Run) -> None:
    """Adds the scores by how long an utterance lasts."""
    page.section("By length")
    seconds = [run.seconds(key) for key in run.keys]
    if not run.keys or not run.place or None in seconds:
        page.aside(
            "Left out: "
            + (
                "the results folder holds no frames of these utterances, "
                "which tell how long they are."
                if run.keys
                else "there are no labels."
            )
        )
        return
    rows = _breakdown(run, breakdown.by_length(np.array(seconds)))
    page.table(*wording.group_table(rows, run.targets, group="length"))
    _add_constant(page, run, rows)
    pictures.add_groups(
        page, run, "lengths", rows, "CCC and MSE by the utterance's length."
    )


def add_videos(page: Page, run: Run) -> None:
    """Adds error and bias by video, the worst first."""
    page.section("By video")
    if not run.keys:
        page.aside("Left out: there are no labels.")
        return
    rows = _breakdown(run, breakdown.by_video(run.videos))
    rows.sort(key=lambda row: -sum(row[f"{name}_mse"] for name in run.targets))
    listed = rows[:_LISTED]
    page.table(
        *wording.group_table(
            listed, run.targets, ("MSE", "bias"), group="video"
        ),
        caption=(
            "All videos"
            if len(rows) == len(listed)
            else f"The worst {len(listed)} of {len(rows):,} videos"
        )
        + (", by the sum of their MSEs" if len(run.targets) > 1 else ""),
    )
    pictures.write_rows(run, "videos", rows)
    drawing.videos(pictures.picture(run, "videos"), rows, run.targets)
    pictures.show(
        page,
        run,
        "videos",
        "MSE by video, the worst first; behind the name its utterances.",
    )


def _breakdown(run, groups):
    return breakdown.breakdown(
        run.labels, run.predictions, run.videos, groups, run.targets
    )


def _add_constant(page, run, rows):
    if not all(
        row[f"{target}_varies"] for row in rows for target in run.targets
    ):
        page.aside(
            "Where there is one utterance only, or labels or predictions do "
            "not vary, CCC is 0 by definition, without an interval."
        )
