"""Locks: who works on something, so that nobody else does meanwhile."""

import contextlib
import fcntl
import os
import pathlib
import time
from collections.abc import Iterator

from absl import logging

from affwild_omg.storage import files

_UNLOCKED = (
    "%s cannot be locked (%s): nothing keeps two commands from the same work, "
    "so see to it that there is one"
)
# How long one part is asked for, and how often.
_PATIENCE_S, _PAUSE_S = 1.0, 0.05


class Busy(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def hold(path: pathlib.Path, part: int | None = None) -> Iterator[None]:
    """Holds a lock, or one part of it, while the block runs.

    It is the operating system's own (POSIX), so it ends with its process,
    however that ends. Network file systems pass it on to other machines if
    they are mounted with locks; where there are none, as in an object store, a
    line says so.

    Args:
        path: of the lock's file, which is removed after its last use.
        part: from 0, so that others may hold other parts; None for all.

    Raises:
        Busy: another process holds it, or that part.
    """
    if files.is_remote(path):
        logging.warning(_UNLOCKED, path.parent, "no locks there")
        yield
        return
    deadline = time.monotonic() + _PATIENCE_S
    with contextlib.ExitStack() as stack:
        while True:
            file = stack.enter_context(path.open("a"))
            try:
                _lock(file, part)
            except (BlockingIOError, PermissionError) as error:
                # Who held another part may hold all of it, to remove the file.
                if part is None or time.monotonic() >= deadline:
                    raise Busy from error
                time.sleep(_PAUSE_S)
                continue
            except OSError as error:
                logging.warning(_UNLOCKED, path, error.strerror)
                path.unlink(missing_ok=True)
                yield
                return
            # Another may have removed it before it was locked here.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    break
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # others hold parts of it
                _lock(file, None)
                path.unlink()


def _lock(file, part):
    place = (0, 0) if part is None else (1, part)  # bytes; 0 for all
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *place)
