"""The report's end: the network, its training, and the files beside."""

import json
import pathlib

from affwild_omg import figures as drawing
from affwild_omg.paper.task import TARGETS
from affwild_omg.reports import pictures, wording
from affwild_omg.reports.pages import Page
from affwild_omg.reports.run import Run
from affwild_omg.training.options import FLAGFILE, HISTORY, flags_in


def add_network(page: Page, run: Run) -> None:
    """Adds the network, its flags and its training, as far as they are here."""
    metrics = run.metrics
    page.section("Network and training")
    if metrics.get("members"):
        _add_members(page, run)
    if metrics.get("network"):
        page.table(
            ("network", "value"), wording.flat(metrics["network"]), words=2
        )
    elif not metrics.get("members"):
        page.aside("metrics.json does not describe the network.")
    if metrics.get("model"):
        _add_training(page, run, pathlib.Path(metrics["model"]))


def _add_members(page, run):
    page.table(
        ("run", *wording.heads(run.targets, "weight", "CCC on validation")),
        [
            (
                str(member["test"]),
                *(
                    wording.number(member[name].get(target))
                    for target in run.targets
                    for name in ("weights", "validation_ccc")
                ),
            )
            for member in run.metrics["members"]
        ],
        caption="What was fused",
    )


def _add_training(page, run, workdir):
    flags = _text(workdir / FLAGFILE)
    if flags is not None:
        page.table(
            ("flag of train.py", "value"),
            [(f"--{name}", value) for name, value in flags_in(flags).items()],
            words=2,
        )
    history = _text(workdir / HISTORY)
    if history is None:
        page.aside(
            f"No training is shown: {workdir} is no workdir that is here."
        )
        return
    try:
        best, epochs = _epochs(json.loads(history))
    except (ValueError, KeyError, TypeError, IndexError):
        page.aside(
            f"No training is shown: {workdir / HISTORY} is not "
            "what train.py writes."
        )
        return
    pictures.write_rows(run, "training", epochs)
    drawing.training(pictures.picture(run, "training"), epochs, best)
    kept = next(epoch for epoch in epochs if epoch["epoch"] == best)
    pictures.show(
        page,
        run,
        "training",
        f"Of {wording.count(len(epochs), 'epoch')} the best is {best}, with a "
        f"mean CCC of {wording.number(kept['mean_ccc'])} on the validation "
        "split; its weights are the model's.",
    )


def _epochs(history):
    """Returns the best epoch's number, and the epochs as rows of a table."""
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


def add_files(page: Page, run: Run) -> None:
    """Adds a list of the files that lie beside the page."""
    page.section("Files")
    page.paragraph(
        "This page needs none of the files beside it: they are its "
        "pictures, and the numbers in them as tables."
    )
    page.table(
        ("table", "picture", "what it holds"),
        [
            (
                f"{name}.csv",
                f"{name}.png"
                if pictures.picture(run, name).exists()
                else wording.NONE,
                what,
            )
            for name, what in pictures.FIGURES.items()
            if (run.directory / f"{name}.csv").exists()
        ],
        words=3,
    )


def _text(path):
    """Returns a text file's content, None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
