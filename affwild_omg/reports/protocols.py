"""The scores by other protocols, and without post-processing."""

from affwild_omg.reports import pictures, wording
from affwild_omg.reports.pages import Page
from affwild_omg.reports.run import Run


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
        *wording.group_table(rows, run.targets, group="protocol", count="rows")
    )
    pictures.add_groups(
        page,
        run,
        "protocols",
        rows,
        "CCC (more is better) and MSE (less is better) by protocol.",
    )


def _row(run, scores):
    """Returns the scores of metrics.json as `insight.breakdown` does.

    Beside the targets it has the mean of their CCCs, where there are several.
    """
    known = {name: scores[name] for name in run.targets if name in scores}
    if len(run.targets) > 1 and "mean_ccc" in scores:
        known["mean"] = {"ccc": scores["mean_ccc"]}
    intervals = scores.get("intervals") or {}
    row = {}
    for name, found in known.items():
        low, high = intervals.get(name) or (None, None)
        row |= {
            f"{name}_ccc": found["ccc"],
            f"{name}_ccc_low": low,
            f"{name}_ccc_high": high,
        }
        if "mse" in found:
            row[f"{name}_mse"] = found["mse"]
    return row


def add_postprocessing(page: Page, run: Run) -> None:
    """Adds the steps that were applied, and the scores without them."""
    page.section("Post-processing")
    settings = run.metrics.get("postprocessing")
    if "unmatched" in run.metrics:
        page.aside("Not known: these are anyone's predictions.")
        return
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
    _add_source(page, run.metrics.get("postprocessing_source"))
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


def _add_source(page, source):
    """Says which file the steps are of, and which model they are of."""
    if not source:
        return
    came = f"It comes from {source['file']}"
    same = source.get("same_model")
    if same:
        page.paragraph(f"{came}, and was chosen for this very model file.")
    elif same is None:
        page.paragraph(f"{came}; for which model it was chosen can't be told.")
    else:
        page.note(
            f"{came}, and was chosen for another model file than the one that "
            "is evaluated here."
        )


def _add_members(page, run):
    if "unprocessed" not in run.metrics:
        page.aside(
            "Not known: no member's folder holds predictions from before "
            "post-processing, or without it no member has a positive CCC on "
            "validation to be weighed by."
        )
        return
    page.paragraph(
        "The runs that are fused here have been post-processed, each by its "
        "own steps. Without, they are fused as they were before, by the "
        "weights that they have then."
    )
    _add_with_and_without(page, run)


def _add_with_and_without(page, run):
    without = run.metrics.get("unprocessed") or {}
    if not ("mean_ccc" in run.metrics and "mean_ccc" in without):
        page.aside("Left out: there is no CCC with and without it.")
        return
    rows = [
        {"group": "with"} | _row(run, run.metrics),
        {"group": "without"} | _row(run, without),
    ]
    columns = (*run.targets, *["mean"] * (len(run.targets) > 1))
    page.table(
        ("", *wording.heads(columns, "CCC", "interval")),
        [
            (row["group"], *wording.cells(row, columns, "ccc", "interval"))
            for row in rows
        ],
        caption="With and without post-processing, as in the paper's table 3",
    )
    pictures.add_groups(
        page,
        run,
        "postprocessing",
        rows,
        "CCC and MSE with and without post-processing.",
    )


def _filter(steps):
    window = steps.get("median_window", 1)
    return f"over {window} frames" if window > 1 else "none"


def _smoothing(steps):
    strength = steps.get("smoothing_strength", 0)
    return f"strength {strength:g} frames" if strength else "none"
