"""Numbers as the page's sentences and tables have them."""

import functools
from collections.abc import Iterable

from affwild_omg.cli import wording
from affwild_omg.scoring.significance import LEVEL, Interval

NONE = "–"
number = functools.partial(wording.number, none=NONE)


def interval(ends: Interval | None) -> str:
    """Returns "0.472 to 0.500", a dash for None."""
    return wording.interval(ends and (ends.low, ends.high), none=NONE)


def heads(targets: Iterable[str], *names: str) -> list[str]:
    """Returns the names of so many columns for each target."""
    return [f"{target}: {name}" for target in targets for name in names]


def sentence(text: str) -> str:
    """Returns a text from a console as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


GLOBALS = {
    "heads": heads,
    "interval_name": f"{LEVEL:.0%} interval",
    "none_sign": NONE,
}
FILTERS = {
    "count": wording.count,
    "interval": interval,
    "mse": functools.partial(number, digits=4),
    "number": number,
    "p_value": functools.partial(wording.p_value, none=NONE),
    "percent": "{:.1%}".format,
    "sentence": sentence,
    "thousands": "{:,}".format,
}
