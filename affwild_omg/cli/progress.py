"""Progress bars, and lines that are written above them."""

import io
import sys

import tqdm


def bar(
    iterable=None,
    *,
    description: str,
    unit: str,
    total=None,
    initial: int = 0,
    hidden: bool = False,
) -> tqdm.tqdm:
    """Wraps an iterable (or counts by `update`) in a bar on standard error.

    Iterate over it, or use it as a context manager: both end its line after an
    error, so that the message stands below. In a log file, which is not a
    terminal, it writes a line every ten seconds.

    Args:
        iterable: what to iterate over, or None.
        description: what is being done.
        unit: of the count, in the singular.
        total: how many there are; None if unknown.
        initial: how many were done before.
        hidden: whether nothing is written.
    """
    return tqdm.tqdm(
        iterable,
        desc=f"{description:<20}",
        unit=unit,
        total=total,
        initial=initial,
        disable=hidden,
        mininterval=0.2 if sys.stderr.isatty() else 10,
        dynamic_ncols=True,
        smoothing=0.1,
    )


class Lines(io.TextIOBase):
    """Standard error for whole lines, above any bar that is on it."""

    def write(self, text: str) -> int:
        with tqdm.tqdm.external_write_mode(file=sys.stderr):
            return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
