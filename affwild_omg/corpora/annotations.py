"""Text files with a label for each frame, whatever is wrong with them."""

import array
import errno
import os
import pathlib
from collections.abc import Iterable, Sequence

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora.problems import Problems

NAN = float("nan")
# What stands for "not annotated" in Aff-Wild and Aff-Wild2: either value.
NONE = -5.0
UNANNOTATED = {NONE, -NONE}

Columns = tuple[array.array, array.array]


def read_lines(
    path: pathlib.Path, problems: Problems, split: str | None = None
) -> list[str] | None:
    """Returns the lines of a text file; None, and a problem, if it has none.

    Line i of the file is item i - 1; empty lines at the end do not count.

    Args:
        path: of the file.
        problems: takes what is wrong.
        split: of the clip that is left out for it, if one is.

    Raises:
        OSError: it cannot be read, which may pass.
    """
    rule = "a text in UTF-8 is needed: get the file again; it is left out"
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except UnicodeDecodeError:
        text = "\0"
    except OSError as error:
        nowhere = error.errno in (errno.ENOENT, errno.ELOOP)
        # Others may pass.
        if not (
            isinstance(error, PermissionError)
            or (nowhere and os.path.islink(path))
        ):
            raise
        problems.add(f"{path}: {error.strerror}; {rule}", split=split)
        return None
    if not text or "\0" in text:
        what = "is no text" if text else "is empty"
        problems.add(f"{path} {what}; {rule}", split=split)
        return None
    return text.split("\n")


def columns(
    rows: Iterable[Sequence[str]],
    path: pathlib.Path,
    problems: Problems,
    *,
    first: int = 1,
    scale: float = 1.0,
    unit: str = "line",
) -> Columns:
    """Returns the labels of frames, NaN where a frame has none.

    A row that is wrong keeps its place, and its frame has no label.

    Args:
        rows: of each frame, valence and arousal as text.
        path: the file that they stand in, for messages.
        problems: takes what is wrong.
        first: number of the first row.
        scale: what the values are divided by.
        unit: what is numbered.
    """
    labels = array.array("d"), array.array("d")
    for number, row in enumerate(rows, first):
        try:
            pair = parse(row, scale)
        except UserError as error:
            problems.add(
                f"{path}, {unit} {number}: {error}; its frame counts as not "
                "annotated",
                path,
            )
            pair = NAN, NAN
        for column, value in zip(labels, pair, strict=True):
            column.append(value)
    return labels


def parse(row: Sequence[str], scale: float = 1.0) -> tuple[float, float]:
    """Returns valence and arousal, both NaN if either is not annotated.

    Raises:
        UserError: they are not two numbers, or one lies outside [-1, 1].
    """
    try:
        valence, arousal = (float(text) / scale for text in row)
    except ValueError as error:
        raise UserError(
            f"valence and arousal must be two numbers, not {','.join(row)!r}"
        ) from error
    if {valence, arousal} & UNANNOTATED:
        return NAN, NAN
    if not (abs(valence) <= 1 and abs(arousal) <= 1):
        raise UserError(
            f"valence and arousal must lie in [{-scale:g}, {scale:g}], not "
            f"{','.join(row)!r} ({scale * NONE:g} for none)"
        )
    return valence, arousal
