"""One look for every progress bar."""

import sys

import tqdm


def bar(iterable=None, *, description: str, unit: str, total=None):
    """Wraps an iterable (or counts by `update`) in a bar on standard error.

    Where standard error is no terminal, as in a log file, the bar writes a
    line only every ten seconds.
    """
    return tqdm.tqdm(
        iterable,
        desc=f"{description:<20}",
        unit=unit,
        total=total,
        mininterval=0.2 if sys.stderr.isatty() else 10,
        dynamic_ncols=True,
        smoothing=0.1,
    )
