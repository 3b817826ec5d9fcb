"""Numbers and settings as the page's text and its tables have them."""

from collections.abc import Mapping, Sequence

import numpy as np

NONE = "–"


def number(value: float | None, digits: int = 3) -> str:
    """Returns a number of so many decimals; a dash for None and NaN."""
    if value is None or not np.isfinite(value):
        return NONE
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def whole(value: int | None) -> str:
    """Returns a whole number, a dash for None."""
    return NONE if value is None else f"{value:,}"


def count(number: int, noun: str) -> str:
    """Returns so many of something: "1 video", "2 videos"."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def level(intervals: Mapping) -> str:
    """Returns what the intervals of metrics.json are: "95 % interval"."""
    return f"{100 * intervals.get('level', 0.95):g} % interval"


def interval(ends: Sequence[float] | None) -> str:
    """Returns an interval, (low, high), a dash for None."""
    return NONE if not ends else " to ".join(map(number, ends))


def p_value(value: float | None) -> str:
    """Returns a p-value, a dash for None."""
    if value is None:
        return NONE
    return f"{value:.2g}" if value >= 1e-99 else "< 1e-99"


def heads(targets: Sequence[str], *names: str) -> list[str]:
    """Returns the header of `cells`: so many columns for each target."""
    return [f"{target}: {name}" for target in targets for name in names]


def cells(row: Mapping, targets: Sequence[str], *names: str) -> list[str]:
    """Returns a part of a table's row.

    Args:
        row: of `insight.breakdown`, or like one.
        targets: each gets the columns.
        names: "ccc", "mse", "bias", or "interval" for that of CCC.
    """
    return [
        interval(
            (row[f"{target}_ccc_low"], row[f"{target}_ccc_high"])
            if row.get(f"{target}_ccc_low") is not None
            else None
        )
        if name == "interval"
        else number(row.get(f"{target}_{name}"), 4 if name == "mse" else 3)
        for target in targets
        for name in names
    ]


def flat(settings: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """Returns nested settings as (name, value) rows."""
    rows = []
    for name, value in settings.items():
        if isinstance(value, dict):
            rows += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(
            isinstance(item, dict) for item in value
        ):
            for i, item in enumerate(value, start=1):
                rows += flat({str(i): item}, f"{prefix}{name} ")
        elif isinstance(value, list):
            rows.append((f"{prefix}{name}", ", ".join(map(str, value)) or NONE))
        else:
            rows.append(
                (f"{prefix}{name}", NONE if value is None else str(value))
            )
    return rows
