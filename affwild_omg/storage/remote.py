"""Paths of other file systems, such as s3://bucket/folder.

TensorFlow reads and writes them, with what tensorflow-io adds to it. A `Path`
has those methods of `pathlib.Path` by which this project reads and lists; what
must be a local file is fetched by `files.local`, and what is written takes its
place by `files.whole`, in one piece. Their errors are Python's own:
FileNotFoundError, and ConnectionError for all that tells nothing of the file,
because the server does not answer or refuses to.
"""

import contextlib
import ctypes
import errno
import fnmatch
import functools
import io
import itertools
import os
import pathlib
import types
import typing
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import is_address

_BLOCK = 2**20  # bytes read at a time
_QUESTIONS = 16  # that are asked at the same time
_TRIES = 3  # at what is missing, and is there when asked for otherwise

# What the S3 client waits for, unless the user says otherwise: by its own
# settings a server that is down holds it for minutes, and one that stalls for
# most of an hour.
_PATIENCE = {
    "S3_CONNECT_TIMEOUT_MSEC": "5000",
    "S3_REQUEST_TIMEOUT_MSEC": "15000",  # without a byte
    "AWS_RETRY_MODE": "standard",
    "AWS_MAX_ATTEMPTS": "3",
}


def path(text: os.PathLike | str) -> "pathlib.Path | Path":
    """Returns the path that a text names, on this machine or elsewhere."""
    text = os.fspath(text)
    return Path(text) if is_address(text) else pathlib.Path(text)


def errors(where: "pathlib.Path | Path") -> contextlib.AbstractContextManager:
    """Opens a block in which TensorFlow itself uses a path.

    Its errors are those of this module there, unless the path is local.
    """
    return (
        where.errors() if isinstance(where, Path) else contextlib.nullcontext()
    )


class Path(pathlib.PurePosixPath):
    """A file or folder elsewhere.

    There are no empty folders, as object stores have none: a folder is there
    once it holds a file.
    """

    def __str__(self) -> str:
        if not self.parts:
            return "."
        scheme, *rest = self.parts
        return f"{scheme}//{'/'.join(rest)}"

    def relative_to(self, *other) -> pathlib.PurePosixPath:
        """Returns what leads here from a folder."""
        return pathlib.PurePosixPath(*super().relative_to(*other).parts)

    def resolve(self) -> "Path":
        """Returns itself: there are no links."""
        return self

    def as_uri(self) -> str:
        """Returns the text itself, which is one."""
        return str(self)

    def exists(self) -> bool:
        """Tells whether there is a file or a folder."""
        return self._ask() is not None

    def is_file(self) -> bool:
        """Tells whether there is a file."""
        found = self._ask()
        return found is not None and not found.is_directory

    def is_dir(self) -> bool:
        """Tells whether there is a folder that holds something."""
        found = self._ask()
        return found is not None and found.is_directory

    def stat(self) -> types.SimpleNamespace:
        """Returns st_size, in bytes, and st_mtime_ns.

        Raises:
            FileNotFoundError: there is nothing.
        """
        found = self._ask()
        if found is None:
            raise self._missing()
        return types.SimpleNamespace(
            st_size=found.length, st_mtime_ns=found.mtime_nsec
        )

    def iterdir(self) -> Iterator["Path"]:
        """Returns an iterator of what a folder holds.

        Raises:
            FileNotFoundError: it holds nothing.
        """
        with self.errors():
            names = _children(self._uri)
        if not names:
            raise self._missing()
        return (self / name.rstrip("/") for name in names)

    def glob(self, pattern: str) -> Iterator["Path"]:
        """Yields what matches a pattern, which has no "**"."""
        first, _, rest = pattern.partition("/")
        with contextlib.suppress(FileNotFoundError):
            for entry in self.iterdir():
                if fnmatch.fnmatchcase(entry.name, first):
                    yield from entry.glob(rest) if rest else [entry]

    def files(self) -> Iterator["Path"]:
        """Yields the files of a folder and of all folders in it."""
        with ThreadPoolExecutor(_QUESTIONS) as pool:
            folders = [self]
            while folders:
                held = pool.map(lambda folder: [*folder.glob("*")], folders)
                entries = [*itertools.chain(*held)]
                kinds = [*pool.map(Path.is_dir, entries)]
                yield from itertools.compress(entries, (not x for x in kinds))
                folders = [*itertools.compress(entries, kinds)]

    @contextlib.contextmanager
    def open(
        self,
        mode: str = "r",
        *,
        encoding: str = "utf-8",
        newline: str | None = None,
    ) -> Iterator[typing.IO]:
        """Opens the file for reading; a text is read at once."""
        if mode == "rb":
            with _Reader(self) as file:
                yield file
        else:
            content = io.BytesIO(self.read_bytes())
            yield io.TextIOWrapper(content, encoding, newline=newline)

    def read_bytes(self) -> bytes:
        """Reads the file."""
        with self.open("rb") as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """Reads the file as a text."""
        with self.open(encoding=encoding) as file:
            return file.read()

    def fetch(self, place: pathlib.Path) -> None:
        """Copies the file to this machine.

        Raises:
            ConnectionError: not all of it came.
        """
        size, got = self.stat().st_size, 0
        with self.open("rb") as source, place.open("wb") as target:
            while block := source.read(_BLOCK):
                got += target.write(block)
        if got != size:
            raise self._unreachable(
                f"it cannot be reached ({got} of {size} bytes came)"
            )

    def put(self, place: pathlib.Path) -> None:
        """Makes it a copy of a file on this machine, whole or not at all."""
        with self.errors() as tf:
            tf.io.gfile.copy(os.fspath(place), self._uri, overwrite=True)

    def replace(self, target: "Path") -> None:
        """Moves the file over another one: copies it, then removes it here."""
        # Not by a renaming, which on S3 takes all whose names begin alike.
        with self.errors() as tf:
            tf.io.gfile.copy(self._uri, target._uri, overwrite=True)
        self.unlink()

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the file."""
        try:
            with self.errors() as tf:
                tf.io.gfile.remove(self._uri)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Does nothing: a folder is made with its first file."""

    def rmdir(self) -> None:
        """Does nothing: a folder goes with its last file."""

    @contextlib.contextmanager
    def errors(self) -> Iterator[types.ModuleType]:
        """Yields TensorFlow, whose errors become Python's, see above."""
        tf = _tensorflow(self.parts[0].removesuffix(":"))
        try:
            yield tf
        except tf.errors.OpError as error:
            raise self._translated(error, tf) from error

    @property
    def _uri(self):
        """The path as TensorFlow takes it: a bucket ends in a slash."""
        return f"{self}/" if len(self.parts) == 2 else str(self)

    def _ask(self):
        """Returns TensorFlow's statistics, None where nothing is."""
        for _ in range(_TRIES):
            try:
                with self.errors() as tf:
                    return tf.io.gfile.stat(self._uri)
            except FileNotFoundError as error:
                if error.filename != str(self):  # but the bucket
                    raise
                if error.errno == errno.ENOENT:
                    return None
        raise self._unreachable("it cannot be reached (it comes and goes)")

    def _translated(self, error, tf):
        """Returns an error of TensorFlow as one of Python."""
        # It has ": " where the server has no words of its own.
        why = error.message.removeprefix(": ").rstrip(".")
        if "internal temporary file" in why:
            why = "No space left in /tmp, where what is sent is held"
            return OSError(errno.ENOSPC, why, str(self))
        if isinstance(error, tf.errors.NotFoundError):
            if self.parts[0] != "s3:" or len(self.parts) == 2:
                return self._missing()
            return self._asked_again(tf)
        if isinstance(
            error,
            (
                tf.errors.PermissionDeniedError,
                tf.errors.UnauthenticatedError,
                tf.errors.InvalidArgumentError,  # such as by a key that expired
            ),
        ):
            return self._unreachable(
                f"access is refused ({why}); docs/storage.md names the "
                "variables of keys and region"
            )
        return self._unreachable(f"it cannot be reached ({why})")

    def _asked_again(self, tf):
        """Returns why S3's plugin found nothing.

        It says so also of what the server did not answer for, or refused. Its
        listing tells the truth of a folder, or that there is no bucket, and a
        read that of an object. Keys may be good for a folder alone: the bucket
        is not asked.
        """
        missing = Path(*self.parts[:2])
        try:
            held = _children(self._uri)
            missing = self
            if not held:
                with tf.io.gfile.GFile(self._uri, "rb") as file:
                    file.read(1)
        except tf.errors.NotFoundError:
            return missing._missing()
        except tf.errors.OpError as error:
            return self._translated(error, tf)
        # It came meanwhile.
        return FileNotFoundError(errno.ESTALE, "not there yet", str(self))

    def _missing(self):
        bucket = "there is no such bucket"
        why = bucket if len(self.parts) == 2 else os.strerror(errno.ENOENT)
        return FileNotFoundError(errno.ENOENT, why, str(self))

    def _unreachable(self, why):
        return ConnectionError(errno.EIO, why, str(self))


class _Reader(io.RawIOBase):
    """A file's bytes, from any place on; TensorFlow reads ahead by 512 KB.

    Attributes:
        failure: why the server did not answer, if so: who reads an archive
            takes any error at its end for damage.
    """

    def __init__(self, path):
        self._path, self._place, self.failure = path, 0, None
        with path.errors() as tf:
            self._file = tf.io.gfile.GFile(path._uri, "rb")

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._place

    def seek(self, offset, whence=io.SEEK_SET):
        start = 0
        if whence == io.SEEK_CUR:
            start = self._place
        elif whence == io.SEEK_END:
            with self._noting():
                start = self._path.stat().st_size
        if start + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._place = start + offset
        return self._place

    def readinto(self, buffer):
        with self._noting(), self._path.errors() as tf:
            try:
                self._file.seek(self._place)
                data = self._file.read(len(buffer))
            except tf.errors.OutOfRangeError:  # behind the end
                data = b""
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self):
        self._file.close()
        super().close()

    @contextlib.contextmanager
    def _noting(self):
        try:
            yield
        except ConnectionError as error:
            self.failure = error
            raise


def _children(uri: str) -> list[str]:
    """Lists the names in a folder, none where it is not there."""
    # What is public asks five times, and takes any failure for no folder.
    from tensorflow.python.lib.io import _pywrap_file_io

    return _pywrap_file_io.GetChildren(uri)


@functools.cache
def _tensorflow(scheme: str) -> types.ModuleType:
    """Returns TensorFlow with a file system.

    Raises:
        UserError: it has none of that name.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    import tensorflow as tf

    with contextlib.suppress(ImportError), warnings.catch_warnings():
        # It warns where it cannot load them; what is missing shows below.
        warnings.simplefilter("ignore")
        import tensorflow_io  # noqa: F401
    known = set(tf.io.gfile.get_registered_schemes()) - {"", "file", "ram"}
    if scheme not in known:
        if "s3" in known:
            way_out = f"here are {', '.join(sorted(known))}: name one of them"
        else:
            way_out = (
                f"TensorFlow {tf.__version__} here is without tensorflow-io, "
                "which needs TensorFlow 2.17: pip install "
                "'affwild_omg[remote]', or name a local path"
            )
        raise UserError(f"there is no file system for {scheme}://; {way_out}")
    _end_early()
    return tf


@functools.cache
def _end_early():
    """Ends this process before the plugin's threads abort it.

    Once S3 was used, the C++ library that holds them fails as it is unloaded,
    when all work is done ("pure virtual method called").
    """
    libc = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # of another C library
        # Called with the exit code, before what was registered earlier.
        libc.on_exit(libc._exit, None)
