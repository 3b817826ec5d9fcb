"""Numbers as text, for consoles, tables and pictures."""

import math
from collections.abc import Sequence

NONE = "-"


def number(value: float | None, digits: int = 3, *, none: str = NONE) -> str:
    """Returns a number of so many decimals, never -0.000.

    Args:
        value: what to write.
        digits: behind the point.
        none: what stands for None and for what is not finite.
    """
    if value is None or not math.isfinite(value):
        return none
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def interval(
    ends: Sequence[float] | None, digits: int = 3, *, none: str = NONE
) -> str:
    """Returns "0.472 to 0.500" of (low, high), `none` of None."""
    return (
        " to ".join(number(end, digits, none=none) for end in ends)
        if ends
        else none
    )


def p_value(value: float | None, *, none: str = NONE) -> str:
    """Returns a p-value of two digits, `none` of None."""
    if value is None:
        return none
    # What is too small for a float is not 0.
    return f"{value:.2g}" if value >= 1e-99 else "<1e-99"


def count(number: int, noun: str) -> str:
    """Returns so many of something: "1 video", "2,229 labels"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Returns a time in two units at most: "45 s", "12 min", "3 h 5 min"."""
    minutes = round(seconds / 60)
    hours, days = minutes // 60, minutes // (60 * 24)
    if seconds < 59.5:
        return f"{round(seconds)} s"
    if not hours:
        return f"{minutes} min"
    if not days:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"
