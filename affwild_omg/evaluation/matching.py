"""Several runs' results of one split, brought into one order."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.evaluation import results
from affwild_omg.paper.task import TARGETS

TOLERANCE = 1e-6  # of two folders' labels of one utterance
MOST_NAMED = 100  # utterances in a message: who lacks more lacks a part


@dataclasses.dataclass(frozen=True)
class Split:
    """The runs' results on one split, utterance by utterance.

    Attributes:
        keys: [utterances], in the first run's order.
        targets: those that any run has.
        predictions: [runs, utterances, targets], NaN where a run lacks the
            target.
        labels: [utterances, targets], NaN where no run knows it.
    """

    keys: list[str]
    targets: tuple[str, ...]
    predictions: np.ndarray
    labels: np.ndarray


def align(runs: Mapping[str, results.Results]) -> Split:
    """Brings the runs of a split into the first one's order.

    Rows are matched by key and columns by name.

    Args:
        runs: by name, "--flag=folder", for messages; one or more.

    Raises:
        UserError: a run has other utterances than the first, or another label
            than one before it.
    """
    first = next(iter(runs))
    keys = runs[first].keys
    targets = tuple(
        name
        for name in TARGETS
        if any(name in run.targets for run in runs.values())
    )
    shape = (len(keys), len(targets))
    predictions = np.full((len(runs), *shape), np.nan)
    labels = np.full(shape, np.nan)
    for i, (name, run) in enumerate(runs.items()):
        rows = {key: row for row, key in enumerate(run.keys)}
        _check_same_keys(name, rows, first, keys)
        order = [rows[key] for key in keys]
        columns = [targets.index(target) for target in run.targets]
        predictions[i][:, columns] = run.predictions[order]
        own = np.full(shape, np.nan)
        own[:, columns] = run.labels[order]
        others = np.abs(own - labels) > TOLERANCE
        if others.any():
            row, column = np.argwhere(others)[0]
            raise UserError(
                f"{name}: {keys[row]} has the {targets[column]} label "
                f"{own[row, column]:g}, in a folder before it "
                f"{labels[row, column]:g}; evaluate all runs on the same "
                "records"
            )
        labels = np.where(np.isnan(labels), own, labels)
    return Split(keys, targets, predictions, labels)


def _check_same_keys(name, keys, first, first_keys):
    known = set(first_keys)
    differences = {
        "lacks": [key for key in first_keys if key not in keys],
        "adds": [key for key in keys if key not in known],
    }
    told = " and ".join(
        f"{verb} {len(some)} ({listed(some, MOST_NAMED)})"
        for verb, some in differences.items()
        if some
    )
    if told:
        raise UserError(
            f"{name} {told} against the {len(first_keys)} utterances of "
            f"{first}; evaluate all runs on the same records, or score them "
            "by the same annotations"
        )
