"""The scores by other protocols, and without post-processing."""

from affwild_omg.pages import Page
from affwild_omg.run_report import figures, wording
from affwild_omg.run_report.run import Run


def add_protocols(page: Page, run: Run) -> None:
    """Adds the scores at each level, pooled and video by video."""
    page.section("By each protocol")
    protocols = run.metrics.get("protocols") or {}
    rows = [
        {"group": f"{level}, {pooling.replace('_', ' ')}"}
        | {"rows": scores.get("rows")}
        | _row(run, scores)
        for level, poolings in protocols.items()
        for pooling, scores in poolings.items()
        if any(target in scores for target in run.targets)
    ]
    if not rows:
        page.aside(
            "Left out: metrics.json holds the scores of one protocol only."
            if run.keys
            else "Left out: there are no labels."
        )
        return
    page.paragraph(
        "Papers score by frame, by sequence or by utterance, all together "
        "(pooled) or video by video (per video, then averaged). Compare a "
        "number only with one of the same protocol."
    )
    page.table(
        (
            "protocol",
            "rows",
            *wording.heads(run.targets, "CCC", "interval", "MSE"),
        ),
        [
            (
                row["group"],
                wording.whole(row["rows"]),
                *wording.cells(row, run.targets, "ccc", "interval", "mse"),
            )
            for row in rows
        ],
    )
    figures.add_groups(
        page,
        run,
        "protocols",
        rows,
        "CCC (more is better) and MSE (less is better) by protocol.",
    )


def _row(run, scores):
    """Returns the scores of metrics.json as `insight.breakdown` does."""
    row = {}
    intervals = scores.get("intervals") or {}
    for target in run.targets:
        if target in scores:
            low, high = intervals.get(target) or (None, None)
            row |= {
                f"{target}_ccc": scores[target]["ccc"],
                f"{target}_ccc_low": low,
                f"{target}_ccc_high": high,
                f"{target}_mse": scores[target]["mse"],
            }
    return row


def add_postprocessing(page: Page, run: Run) -> None:
    """Adds the steps that were applied, and the scores without them."""
    page.section("Post-processing")
    settings = run.metrics.get("postprocessing")
    if not settings and "members" not in run.metrics:
        page.aside("None was applied: these are the network's own values.")
        return
    if not settings:
        _add_members(page, run)
        return
    page.paragraph(
        "Chosen on the validation split, each step only where it raised "
        "CCC there, and applied here as it is."
    )
    if run.metrics.get("split") == "validation":
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
    _add_with_and_without(page, run)


def _add_members(page, run):
    if "unprocessed" not in run.metrics:
        page.aside("None: no member's predictions were processed.")
        return
    page.paragraph(
        "The runs that are fused here have been post-processed, each by "
        "its own steps; without, they are fused by the weights that they "
        "have without."
    )
    _add_with_and_without(page, run)


def _add_with_and_without(page, run):
    without = run.metrics.get("unprocessed")
    if not (without and run.keys):
        page.aside("Without labels there is no CCC with and without it.")
        return
    rows = [
        {"group": "with"} | _row(run, run.metrics),
        {"group": "without"} | _row(run, without),
    ]
    several = len(run.targets) > 1
    page.table(
        ("CCC", *run.targets, *["mean"] * several),
        [
            (
                row["group"],
                *wording.cells(row, run.targets, "ccc"),
                *[wording.number(scores["mean_ccc"])] * several,
            )
            for row, scores in zip(rows, (run.metrics, without), strict=True)
        ],
        caption="With and without post-processing, as in the paper's table 3",
    )
    figures.add_groups(
        page, run, "postprocessing", rows, "CCC and MSE with and without it."
    )


def _filter(steps):
    window = steps.get("median_window", 1)
    return f"over {window} frames" if window > 1 else "none"


def _smoothing(steps):
    strength = steps.get("smoothing_strength", 0)
    return f"strength {strength:g} frames" if strength else "none"
