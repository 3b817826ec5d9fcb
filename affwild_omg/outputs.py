"""Output folders: never half written, never lost by accident."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from affwild_omg.errors import UserError


def check_output(
    directory: os.PathLike | str, *, flag: str, overwrite: bool
) -> pathlib.Path:
    """Returns the folder as a path if the results may go there.

    Raises:
        UserError: it is a file, or holds anything and `overwrite` is False.
    """
    directory = pathlib.Path(directory)
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{flag}={directory} is a file; name a folder")
    if not overwrite and directory.is_dir() and any(directory.iterdir()):
        raise UserError(
            f"{flag}={directory} is not empty; name another folder or give "
            "--overwrite to replace the results in it"
        )
    return directory


@contextlib.contextmanager
def whole_directory(
    directory: os.PathLike | str, *, flag: str, overwrite: bool
) -> Iterator[pathlib.Path]:
    """Yields a temporary folder whose contents move into place at the end.

    Nothing moves when the block raises. Moving replaces entries of the same
    name and leaves alone what else the folder holds.

    Raises:
        UserError: as `check_output`.
    """
    directory = check_output(directory, flag=flag, overwrite=overwrite)
    directory.parent.mkdir(parents=True, exist_ok=True)
    # A sibling, so that moving is renaming within one file system.
    with tempfile.TemporaryDirectory(
        prefix=f".{directory.name}.", dir=directory.parent
    ) as temporary:
        yield pathlib.Path(temporary)
        directory.mkdir(exist_ok=True)
        for entry in pathlib.Path(temporary).iterdir():
            replace(entry, directory / entry.name)


def replace(source: pathlib.Path, target: pathlib.Path) -> None:
    """Moves a file or folder over one of the same name."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    os.replace(source, target)


def write_text(path: os.PathLike | str, text: str) -> None:
    """Writes a text file whole or not at all."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
