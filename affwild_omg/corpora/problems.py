"""What is wrong with a corpus, a line each, while the rest goes on."""

import collections
import os

from absl import logging

from affwild_omg.cli.errors import UserError

SHOWN = 20  # lines on the console
OF_A_FILE = 10  # lines that are kept of each file; further ones are counted


class Problems:
    """Collects what readers leave out, and why.

    Attributes:
        left_out: how many clips of each split.
    """

    def __init__(self, *, strict: bool = False):
        """Makes an empty collection.

        Args:
            strict: make the first problem an error.
        """
        self.left_out = collections.Counter()
        self._lines, self._strict = [], strict
        self._of_files = collections.Counter()

    @property
    def lines(self) -> list[str]:
        """A line of each problem: what, where, the rule and the way out."""
        return self._lines + [
            f"{path}: {count - OF_A_FILE:,} more like these"
            for path, count in self._of_files.items()
            if count > OF_A_FILE
        ]

    def add(
        self,
        line: str,
        path: os.PathLike | None = None,
        split: str | None = None,
    ) -> None:
        """Takes a problem.

        Args:
            line: what tells it.
            path: the file, if it may have many.
            split: of which a clip is left out for it.

        Raises:
            UserError: problems are errors.
        """
        if self._strict:
            raise UserError(line)
        self.left_out.update([split] if split else ())
        if path is not None:
            self._of_files[path] += 1
            if self._of_files[path] > OF_A_FILE:
                return
        self._lines.append(line)
        if len(self._lines) <= SHOWN:
            logging.warning("%s", line)
        if len(self._lines) == SHOWN:
            logging.warning("further problems are kept, not shown")


STRICT = Problems(strict=True)
