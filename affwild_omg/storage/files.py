"""Output files and folders: written whole or not at all.

A process that dies leaves the earlier file or the new one, and so does a
machine that loses power: contents are on the disk before they get their names.
Elsewhere, see `storage.remote`, they are written here first, and put whole.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from affwild_omg.cli.errors import UserError
from affwild_omg.storage import remote

PARTIAL = ".partial-"  # begins the names of temporary files and folders

# What is wrong with a path itself; other errors, such as a disk's, may pass.
WRONG_PATH = (
    *(FileNotFoundError, NotADirectoryError),
    *(IsADirectoryError, PermissionError),
)


def is_remote(path: pathlib.PurePath) -> bool:
    """Tells whether a path is of another file system than this machine's."""
    return isinstance(path, remote.Path)


def is_empty(directory: pathlib.Path) -> bool:
    """Tells whether a folder is not there, or holds nothing.

    What a killed run left half written does not count.
    """
    return all(x.name.startswith(PARTIAL) for x in directory.glob("*"))


def check_output(
    directory: os.PathLike | str, *, flag: str, overwrite: bool
) -> pathlib.Path:
    """Returns the folder as a path if the results may go there.

    Raises:
        UserError: it is a file or not writable, or holds anything and
            `overwrite` is False.
    """
    directory = remote.path(directory)
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{flag}={directory} is a file; name a folder")
    local = not is_remote(directory)
    if (
        local
        and directory.is_dir()
        and not os.access(directory, os.W_OK | os.X_OK)
    ):
        raise UserError(
            f"{flag}={directory} is not writable for this user; name another "
            "folder or change its permissions"
        )
    if not overwrite and not is_empty(directory):
        raise UserError(
            f"{flag}={directory} is not empty; name another folder or give "
            "--overwrite to replace the results in it"
        )
    return directory


@contextlib.contextmanager
def atomic_directory(
    directory: os.PathLike | str,
    *,
    flag: str,
    overwrite: bool,
    owned: Iterable[str] = (),
    last: Sequence[str] = (),
) -> Iterator[pathlib.Path]:
    """Yields a temporary folder whose contents move into place at the end.

    Nothing moves, and nothing is left, when the block raises. Moving replaces
    entries of the same name, removes those of `owned` that were not written
    again, and leaves alone what else the folder holds. If it is interrupted,
    old and new may be mixed, and the last of `last` is not there.

    Args:
        directory: where the contents go.
        flag: that named it, for messages.
        overwrite: allow a folder that holds something.
        owned: names of earlier results, which would contradict the new ones.
        last: names of what tells that all is there: the new ones come last,
            in this order, and the old ones go first, in the other.

    Raises:
        UserError: as `check_output`.
    """
    target = check_output(directory, flag=flag, overwrite=overwrite)
    if is_remote(target):
        with tempfile.TemporaryDirectory(prefix=PARTIAL) as temporary:
            yield pathlib.Path(temporary)
            _put_all(pathlib.Path(temporary), target, set(owned), last)
        return
    with contextlib.ExitStack() as undo:
        undo.callback(make_folder(target))
        # Inside the target: moving is then renaming in one file system, and
        # the folder around the target need not be writable.
        with tempfile.TemporaryDirectory(
            prefix=PARTIAL, dir=target
        ) as temporary:
            yield pathlib.Path(temporary)
            written = {x.name: x for x in pathlib.Path(temporary).iterdir()}
            for name in (*last[::-1], *(set(owned) - written.keys())):
                remove(target / name)
            for name in sorted(written, key=lambda x: (_place(x, last), x)):
                replace(written[name], target / name)
        undo.pop_all()


def _place(name, last):
    return last.index(name) if name in last else -1


def _put_all(folder, target, owned, last):
    """Puts what a local folder holds into a remote one, file by file."""
    written = within(folder)
    entries = {path.name for path in folder.iterdir()}
    kept = {target / path.relative_to(folder) for path in written}
    for name in (*last[::-1], *sorted((owned | entries) - {*last})):
        for path in within(target / name):
            if path not in kept or name in last:
                path.unlink()

    def order(path):  # files of folders first
        name, *_ = path.relative_to(folder).parts
        return _place(name, last), -len(path.parts), path

    for path in sorted(written, key=order):
        (target / path.relative_to(folder)).put(path)


def make_folder(directory: pathlib.Path) -> Callable[[], None]:
    """Makes a folder and its parents.

    Returns:
        A function that removes those that were made and are empty.
    """
    if is_remote(directory):  # which has no empty ones
        return lambda: None
    missing = [
        folder
        for folder in [directory, *directory.parents]
        if not folder.exists()
    ]
    directory.mkdir(parents=True, exist_ok=True)

    def undo():
        with contextlib.suppress(OSError):
            for folder in missing:
                folder.rmdir()

    return undo


def replace(source: pathlib.Path, target: pathlib.Path) -> None:
    """Moves a file or folder over one of the same name."""
    if is_remote(target):
        source.replace(target) if is_remote(source) else target.put(source)
        return
    # Where the target is on another disk this copies, so that it is done beside
    # the target, which appears whole.
    beside = target.with_name(f"{PARTIAL}{target.name}")
    remove(beside)
    shutil.move(source, beside)
    sync(beside)
    aside = target.with_name(f"{PARTIAL}old.{target.name}")
    remove(aside)
    if target.is_dir():  # which no other takes the place of at once
        os.replace(target, aside)
    os.replace(beside, target)
    _sync(target.parent)
    remove(aside)


def move(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Moves a folder to where none is."""
    if not is_remote(target):
        shutil.move(folder, target)
        return
    for path in within(folder):
        path.replace(target / path.relative_to(folder))


def within(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns all files of a folder, or the file itself."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    if is_remote(path):
        return sorted(path.files())
    return sorted(x for x in path.rglob("*") if x.is_file())


def keep(folder: pathlib.Path, kept: Collection[pathlib.Path]) -> None:
    """Removes all files of a folder but some, and folders without any."""
    for path in within(folder):
        if path not in kept:
            path.unlink()
    if is_remote(folder):
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


@contextlib.contextmanager
def local(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a file or folder as it lies on this machine.

    What is remote is fetched into a temporary folder, for what reads local
    files alone. On Linux, who has opened it may read on behind the block.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix=PARTIAL) as temporary:
        place = pathlib.Path(temporary, path.name)
        for file in within(path) or [path]:  # which tells that it is missing
            own = place / file.relative_to(path)
            own.parent.mkdir(parents=True, exist_ok=True)
            file.fetch(own)
        try:
            yield place
        except UserError as error:  # which should name what the user knows
            text = str(error).replace(str(place), str(path))
            raise UserError(text) from error


def remove(path: pathlib.Path) -> None:
    """Removes a file or folder, if it is there."""
    if is_remote(path):
        for file in within(path):
            file.unlink(missing_ok=True)
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: pathlib.Path) -> None:
    """Waits until a file, or all that a folder holds, is on the disk."""
    if is_remote(path):  # what is there was put whole
        return
    for entry in path.rglob("*"):  # nothing, of a file
        _sync(entry)
    _sync(path)


def _sync(path):
    if path.is_symlink():
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Some network file systems know of no such order for folders.
        if not path.is_dir():
            raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def whole(
    path: pathlib.Path, *, contended: bool = False
) -> Iterator[pathlib.Path]:
    """Yields where to write a file, which takes its place at the end.

    Nothing is left of it when the block raises.

    Args:
        path: the file.
        contended: others may write it meanwhile; the last to end counts. Of a
            writer that is killed, a file is left that nobody will replace.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory(prefix=PARTIAL) as temporary:
            unfinished = pathlib.Path(temporary, path.name)
            yield unfinished
            path.put(unfinished)
        return
    own = f"{uuid.uuid4().hex}-" if contended else ""
    unfinished = path.with_name(f"{PARTIAL}{own}{path.name}")
    try:
        yield unfinished
        _sync(unfinished)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextlib.contextmanager
def archive(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    """Opens a ZIP archive to be read, of which only what is asked for is.

    Raises:
        BadZipFile: it is damaged, or something else.
        OSError: it cannot be read, which may pass; ConnectionError, if it is
            elsewhere.
    """
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as opened:
                yield opened
        except zipfile.BadZipFile as error:
            failure = getattr(file, "failure", None) or error.__context__
            if isinstance(failure, OSError) and not _is_damage(failure):
                raise failure from error
            raise
        except OSError as error:
            if _is_damage(error):
                raise zipfile.BadZipFile(str(error)) from error
            raise


def _is_damage(error):
    """Tells whether a wrong number led to before the file's beginning."""
    return error.errno == errno.EINVAL


def write_text(path: os.PathLike | str, text: str) -> None:
    """Writes a text file whole or not at all."""
    with whole(remote.path(path)) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: os.PathLike | str, value: object) -> None:
    """Writes a value as a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def digest(*paths: pathlib.Path) -> str:
    """Returns the SHA-256 of the contents of files, one after the other."""
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                found.update(block)
    return found.hexdigest()


def require_apart(folders: Iterable[tuple[str, str]]) -> None:
    """Checks that no folder is given twice.

    Args:
        folders: (flag, folder) of each, in the order of the command line.

    Raises:
        UserError: two are the same folder.
    """
    places = {}
    for name, folder in folders:
        place = remote.path(folder).resolve()
        if place in places:
            raise UserError(
                f"--{name}={folder} is the same folder as --{places[place]}; "
                "each must be another"
            )
        places[place] = f"{name}={folder}"
