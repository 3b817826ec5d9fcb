"""Progress bars, lines that are written above them, and none."""

import contextlib
import io
import logging
import os
import sys
import warnings

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


@contextlib.contextmanager
def quiet():
    """Silences what libraries tell of themselves; they raise what matters."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    # Their C++ sides write to the descriptor of standard error.
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nothing:
            warnings.simplefilter("ignore")
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        logging.disable(level)
