"""What is wrong with a corpus, a line each, while the rest goes on."""

from absl import logging

from affwild_omg.cli.errors import UserError

SHOWN = 20  # lines on the console; all are kept


class Problems:
    """Collects what readers leave out, and why.

    Attributes:
        lines: one of each problem: what, where, the rule and the way out.
    """

    def __init__(self, *, strict: bool = False):
        """Makes an empty collection.

        Args:
            strict: make the first problem an error.
        """
        self.lines: list[str] = []
        self._strict = strict

    def add(self, line: str) -> None:
        """Takes a problem.

        Raises:
            UserError: problems are errors.
        """
        if self._strict:
            raise UserError(line)
        self.lines.append(line)
        if len(self.lines) <= SHOWN:
            logging.warning("%s", line)
        if len(self.lines) == SHOWN:
            logging.warning("further problems are counted, not shown")


STRICT = Problems(strict=True)
