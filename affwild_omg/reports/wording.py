"""Numbers and settings as the page's text and its tables have them."""

import functools
from collections.abc import Mapping, Sequence

from affwild_omg.cli import wording

NONE = "–"
number = functools.partial(wording.number, none=NONE)
interval = functools.partial(wording.interval, none=NONE)
p_value = functools.partial(wording.p_value, none=NONE)
count = wording.count


def whole(value: int | None) -> str:
    """Returns a whole number, a dash for None."""
    return NONE if value is None else f"{value:,}"


def level(intervals: Mapping) -> str:
    """Returns what the intervals of metrics.json are: "95 % interval"."""
    return f"{100 * intervals.get('level', 0.95):g} % interval"


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


def group_table(
    rows: Sequence[Mapping],
    targets: Sequence[str],
    names: Sequence[str] = ("CCC", "interval", "MSE"),
    *,
    group: str,
    count: str = "utterances",
) -> tuple[list[str], list[list[str]]]:
    """Returns the header of a table of groups, and its rows.

    Args:
        rows: of `insight.breakdown`, or like them.
        targets: each gets the columns.
        names: their heads, see `cells`.
        group: head of the groups' names.
        count: key, and head, of how much a group has.
    """
    keys = [name.lower() for name in names]
    return [group, count, *heads(targets, *names)], [
        [row["group"], whole(row[count]), *cells(row, targets, *keys)]
        for row in rows
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
