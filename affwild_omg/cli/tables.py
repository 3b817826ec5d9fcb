"""Tables as text: the same cells for a console and for Markdown."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose cells are text already, see `affwild_omg.cli.wording`.

    Attributes:
        header: the names of its columns.
        rows: its cells; what a row lacks at its end is left empty.
        words: how many columns, from the left, hold words and are aligned
            left; the others hold numbers and are aligned right.
        caption: what stands above it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    caption: str = ""

    def lines(self) -> list[str]:
        """Returns the table as lines for a console."""
        rows = [self.header, *map(self._whole, self.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i < self.words else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return [self.caption, "", *lines] if self.caption else lines

    def markdown(self) -> list[str]:
        """Returns the table as lines of Markdown."""
        rows = [
            [cell.replace("|", "\\|") for cell in row]
            for row in (self.header, *map(self._whole, self.rows))
        ]
        numbers = len(self.header) - self.words
        rows.insert(1, ["---"] * self.words + ["---:"] * numbers)
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return [self.caption, "", *lines] if self.caption else lines

    def _whole(self, row):
        return [*row, *[""] * (len(self.header) - len(row))]
