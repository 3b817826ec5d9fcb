"""What metrics.json claims: whole, and true of the tables beside it."""

from collections.abc import Iterator

import numpy as np

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import protocol, results
from affwild_omg.evaluation.options import POOLINGS
from affwild_omg.evaluation.results import Results

_SCORES = ("ccc", "pearson", "mse")  # of each target
_MEAN = "mean_ccc"
_TOLERANCE = 1e-5  # tables and sums are rounded; of large scores it is a share
_REMEDY = "write the folder again with evaluate.py --overwrite"


def check(directory: str, found: Results) -> None:
    """Holds that metrics.json has whole scores, those of the tables beside it.

    What no table tells, such as the scores by sequence, need only be whole.

    Args:
        directory: the results folder, for messages.
        found: what it holds.

    Raises:
        UserError: a score is missing or no number, or is of other predictions
            or labels.
    """
    where = f"--results={directory}: {results.METRICS}"
    claimed = dict(_claimed(where, found.metrics))
    for place, told in claimed.items():
        _check_whole(where, place, told, found.targets)
    if not np.isfinite(found.labels).all(axis=1).any():
        return
    for place, table, predictions, pooling in _told_by_tables(found):
        told = claimed.get(place, {})
        if not _scored(told, found.targets):
            continue
        rows = protocol.of_utterances(found.keys, predictions, found.labels)
        anew = protocol.score(rows, found.targets, pooling)
        for name, there, here in _pairs(told, anew, found.targets):
            # The other way round NaN, which is near to nothing, would pass.
            if not abs(here - there) <= _TOLERANCE * max(1, abs(here)):
                raise UserError(
                    f"{where} says that {name} is {there:.6f}{_at(place)}, but "
                    f"{table} and {results.LABELS} beside it give {here:.6f}; "
                    f"{_REMEDY}"
                )


def _pairs(told, anew, targets) -> Iterator[tuple[str, float, float]]:
    """Yields the name of each score, what was told and what was found."""
    for target in targets:
        for name in ("ccc", "mse"):
            called = f"{name.upper()} of {target}"
            yield called, told[target][name], anew[target][name]
    yield "mean CCC", told[_MEAN], anew[_MEAN]


def _claimed(where, metrics) -> Iterator[tuple[str, dict]]:
    """Yields all scores, each with its place: "" is the headline."""
    yield "", metrics
    yield "unprocessed", _dict(where, "unprocessed", metrics)
    protocols = _dict(where, "protocols", metrics)
    for level in protocols:
        poolings = _dict(where, level, protocols)
        for pooling in poolings:
            yield (
                f"protocols.{level}.{pooling}",
                _dict(where, pooling, poolings),
            )


def _dict(where, name, parent):
    """Returns what stands there by name, {} where nothing does."""
    found = parent.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UserError(
            f"{where} has {found!r} for {name}, where scores belong; {_REMEDY}"
        )
    return found


def _scored(told, targets):
    return any(target in told for target in targets)


def _check_whole(where, place, told, targets):
    if not _scored(told, targets):
        return
    for target in targets:
        scores = told.get(target)
        if not isinstance(scores, dict):
            raise UserError(
                f"{where} has {scores!r} for {target}{_at(place)}, where its "
                f"{', '.join(_SCORES)} belong; {_REMEDY}"
            )
        for name in _SCORES:
            _check_number(where, place, name, scores, f" of {target}")
    _check_number(where, place, _MEAN, told)


def _check_number(where, place, name, scores, of=""):
    if not isinstance(scores.get(name), int | float):
        raise UserError(
            f"{where} has no number for {name}{of}{_at(place)}; {_REMEDY}"
        )


def _at(place):
    return f", in {place}" if place else ""


def _told_by_tables(found):
    """Yields what can be scored anew: (place, table, predictions, pooling)."""
    predicted = (results.PREDICTIONS, found.predictions)
    if found.metrics.get("level", "utterance") == "utterance":
        pooling = found.metrics.get("pooling", "pooled")
        yield "", *predicted, pooling
        if found.unprocessed is not None:
            yield (
                "unprocessed",
                results.UNPROCESSED,
                found.unprocessed,
                pooling,
            )
    for pooling in POOLINGS:
        yield f"protocols.utterance.{pooling}", *predicted, pooling
