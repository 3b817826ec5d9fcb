"""Output folders: never half written, never lost by accident."""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator

from affwild_omg.errors import UserError


def check_output(
    directory: os.PathLike | str, *, flag: str, overwrite: bool
) -> pathlib.Path:
    """Returns the folder as a path if the results may go there.

    Raises:
        UserError: it is a file or not writable, or holds anything and
            `overwrite` is False.
    """
    directory = pathlib.Path(directory)
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{flag}={directory} is a file; name a folder")
    if directory.is_dir() and not os.access(directory, os.W_OK | os.X_OK):
        raise UserError(
            f"{flag}={directory} is not writable for this user; name another "
            "folder or change its permissions"
        )
    if not overwrite and directory.is_dir() and any(directory.iterdir()):
        raise UserError(
            f"{flag}={directory} is not empty; name another folder or give "
            "--overwrite to replace the results in it"
        )
    return directory


@contextlib.contextmanager
def whole_directory(
    directory: os.PathLike | str,
    *,
    flag: str,
    overwrite: bool,
    owned: Iterable[str] = (),
) -> Iterator[pathlib.Path]:
    """Yields a temporary folder whose contents move into place at the end.

    Nothing moves, and nothing is left, when the block raises. Moving replaces
    entries of the same name, removes those of `owned` that were not written
    again, and leaves alone what else the folder holds.

    Args:
        directory: where the contents go.
        flag: that named it, for messages.
        overwrite: go on although the folder holds something.
        owned: names of earlier results, which would contradict the new ones.

    Raises:
        UserError: as `check_output`.
    """
    # Resolved, so that the temporary folder is a sibling of the real one,
    # behind any symbolic link: moving is then renaming in one file system.
    target = check_output(directory, flag=flag, overwrite=overwrite).resolve()
    with contextlib.ExitStack() as undo:
        for parent in [*reversed(target.parents), target]:
            if not parent.exists():
                parent.mkdir()
                undo.callback(_remove_if_empty, parent)
        with tempfile.TemporaryDirectory(
            prefix=f".{target.name}.", dir=target.parent
        ) as temporary:
            yield pathlib.Path(temporary)
            written = list(pathlib.Path(temporary).iterdir())
            for name in set(owned) - {entry.name for entry in written}:
                remove(target / name)
            for entry in written:
                replace(entry, target / entry.name)
        undo.pop_all()


def _remove_if_empty(directory):
    with contextlib.suppress(OSError):
        directory.rmdir()


def replace(source: pathlib.Path, target: pathlib.Path) -> None:
    """Moves a file or folder over one of the same name."""
    try:
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # The target is a mount point, so its sibling is on another file
        # system: copy beside the target first, so that it appears whole.
        beside = target.with_name(f".{target.name}.partial")
        remove(beside)
        shutil.move(source, beside)
        os.replace(beside, target)


def remove(path: pathlib.Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: os.PathLike | str, text: str) -> None:
    """Writes a text file whole or not at all."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
