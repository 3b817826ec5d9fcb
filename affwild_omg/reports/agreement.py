"""How predictions and labels lie to each other, and their calibration."""

from affwild_omg import figures as drawing
from affwild_omg.evaluation import results
from affwild_omg.paper.task import TARGETS
from affwild_omg.reports import pictures, wording
from affwild_omg.reports.pages import Page
from affwild_omg.reports.run import Run
from affwild_omg.scoring import breakdown

_CALIBRATION = {  # of `insight.calibration`: as the page's table calls it
    "label_mean": "mean true",
    "prediction_mean": "mean predicted",
    "bias": "bias",
    "label_std": "spread true",
    "prediction_std": "spread predicted",
    "range_ratio": "range ratio",
    "pearson": "Pearson",
    "accuracy": "accuracy",
    "slope": "slope",
    "intercept": "intercept",
}


def add_agreement(page: Page, run: Run) -> None:
    """Adds the points, the plane and the distributions."""
    page.section("Predicted and true values")
    pictures.write_rows(
        run,
        "agreement",
        [
            pictures.utterance(run, key, label, prediction)
            for key, label, prediction in zip(
                run.results.keys,
                run.results.labels,
                run.results.predictions,
                strict=True,
            )
        ],
    )
    if run.keys:
        results.draw_scatter(
            pictures.picture(run, "agreement"),
            run.labels,
            run.predictions,
            run.targets,
        )
        pictures.show(
            page,
            run,
            "agreement",
            "Each point is an utterance; on the line it is predicted as it is.",
        )
    else:
        page.aside("There are no labels: only the predictions are shown.")
    if run.keys and run.targets == TARGETS:
        rows = drawing.plane_histograms(
            pictures.picture(run, "plane"), run.labels, run.predictions
        )
        pictures.write_rows(run, "plane", rows)
        pictures.show(
            page,
            run,
            "plane",
            "Where labels and predictions lie in the valence-arousal plane.",
        )
    rows = drawing.distributions(
        pictures.picture(run, "distributions"),
        run.labels if run.keys else run.results.labels,
        run.predictions if run.keys else run.results.predictions,
        run.targets,
    )
    pictures.write_rows(run, "distributions", rows)
    pictures.show(
        page,
        run,
        "distributions",
        "How often each value was predicted (filled)"
        + (" and is true (outline)." if run.keys else "."),
    )


def add_calibration(page: Page, run: Run) -> None:
    """Adds means and ranges, and what is true where so much is predicted."""
    page.section("Calibration")
    if not run.keys:
        page.aside("Left out: there are no labels.")
        return
    rows = breakdown.calibration(run.labels, run.predictions, run.targets)
    page.paragraph(
        "CCC is Pearson's r times the accuracy, which is 1 only if mean "
        "and range of the predictions are those of the labels. A range "
        "ratio under 1 tells of predictions that stay too near their "
        "mean; the bias is the mean predicted less the mean true value."
    )
    page.table(
        ("", *_CALIBRATION.values()),
        [
            (
                row["target"],
                *(wording.number(row[name]) for name in _CALIBRATION),
            )
            for row in rows
        ],
        caption="Spread: standard deviation. Slope and intercept of the "
        "line that fits labels to predictions, 1 and 0 if calibrated.",
    )
    pictures.write_rows(run, "calibration", rows)
    drawing.calibration(pictures.picture(run, "calibration"), rows)
    pictures.show(
        page,
        run,
        "calibration",
        "Range and mean of labels and predictions: a dot at the mean, a "
        "bar of one standard deviation to each side, a line from the 5 % "
        "to the 95 % quantile.",
    )
    rows = breakdown.reliability(run.labels, run.predictions, run.targets)
    pictures.write_rows(run, "reliability", rows)
    drawing.reliability(pictures.picture(run, "reliability"), rows)
    pictures.show(
        page,
        run,
        "reliability",
        "What is true on average where so much is predicted, in bins of "
        "equally many utterances.",
    )
