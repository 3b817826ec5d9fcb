"""Stages: which steps of a long command are done, and which must still run.

A stages file stands beside what the stages write. It holds of each stage its
options, its state, the digests of its inputs and outputs, and a fingerprint of
options and inputs, which alone decides whether the stage is the wanted one.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from absl import logging

from affwild_omg.cli.options import to_flags
from affwild_omg.storage import files

FILE = "stages.json"
BEGUN = "begun"
DONE = "done"
_FIELDS = {"fingerprint", "state", "options", "inputs", "outputs"}


class Stage(NamedTuple):
    """A stage before it runs: the arguments of `Stages.run`."""

    name: str
    function: Callable
    options: object
    command: str | None
    inputs: Sequence[os.PathLike | str] = ()
    outputs: Sequence[os.PathLike | str] = ()
    resume: Callable | None = None


class Stages:
    """Runs stages, each only if it is not done.

    A stage is done if it finished with the wanted fingerprint and its outputs
    are still what it wrote. The fingerprint is the SHA-256 of the options and
    of the contents of the inputs. Paths below the root count relative to it,
    and folders that hold an input count by its contents: everything may be
    moved.
    """

    def __init__(
        self, path: os.PathLike | str, root: os.PathLike | str | None = None
    ):
        """Reads what is done.

        Args:
            path: the stages file; if it is missing or damaged, nothing is
                done.
            root: folder that is moved as a whole; by default the one that
                holds the stages file.
        """
        self.path = pathlib.Path(path)
        self._root = pathlib.Path(root or self.path.parent)
        self._known = {}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            content = json.loads(self.path.read_text(encoding="utf-8"))
            self._known = {
                name: entry
                for name, entry in content.items()
                if isinstance(entry, dict) and entry.keys() >= _FIELDS
            }

    def run(
        self,
        name: str,
        function: Callable,
        options,
        *,
        command: str | None,
        inputs: Sequence[os.PathLike | str] = (),
        outputs: Iterable[os.PathLike | str] = (),
        resume: Callable | None = None,
    ) -> None:
        """Runs a stage unless it is done.

        Args:
            name: of the stage, in the stages file.
            function: called as function(options, overwrite=True).
            options: a dataclass.
            command: command line that takes the options as flags, shown; None
                if there is none.
            inputs: files and folders whose contents the stage depends on.
            outputs: files and folders that the stage writes.
            resume: called as resume(options) instead of the function if the
                stage was begun with the same fingerprint and did not finish.
        """
        entry = self._entry(options, inputs)
        same = self._is_same(name, entry)
        begun = same and self._known[name]["state"] == BEGUN
        if same and not begun:
            if not self._lost(name):
                logging.info("%s: already done", name)
                return
            logging.info("%s: its output has changed; it runs again", name)
        if command is not None:
            logging.info("\n$ %s", command_line(command, options))
        written = {self._key(path): None for path in outputs}
        self._note(name, entry | {"state": BEGUN, "outputs": written})
        if begun and resume is not None:
            resume(options)
        else:
            function(options, overwrite=True)
        digests = {key: _digest(self._root / key) for key in written}
        self._note(name, entry | {"state": DONE, "outputs": digests})

    def is_same(
        self, name: str, options, inputs: Sequence[os.PathLike | str] = ()
    ) -> bool:
        """Returns whether a stage, begun or done, is the wanted one.

        An input that was removed after an earlier stage had written it counts
        by what it held.
        """
        return self._is_same(name, self._entry(options, inputs))

    def is_begun(
        self, name: str, options, inputs: Sequence[os.PathLike | str] = ()
    ) -> bool:
        """Returns whether a stage is the wanted one, and did not finish."""
        same = self.is_same(name, options, inputs)
        return same and self._known[name]["state"] == BEGUN

    def is_done(
        self, name: str, options, inputs: Sequence[os.PathLike | str] = ()
    ) -> bool:
        """Returns whether `run` would have nothing to do."""
        same = self.is_same(name, options, inputs)
        done = same and self._known[name]["state"] == DONE
        return done and not self._lost(name)

    def is_changed(self, name: str) -> bool:
        """Returns whether an output of a finished stage is another by now."""
        done = self._known.get(name, {}).get("state") == DONE
        return done and any(
            (self._root / path).exists() for path in self._lost(name)
        )

    def is_current(self, name: str) -> bool:
        """Returns whether a stage is done, with inputs that are the same still.

        They are not while the stage that writes them runs anew. Inputs outside
        the root are not looked at.
        """
        entry = self._known.get(name)
        if entry is None or entry["state"] != DONE:
            return False
        recorded = self._recorded()
        return all(
            digest == recorded[path]
            if path in recorded
            else os.path.isabs(path) or digest == _digest(self._root / path)
            for path, digest in entry["inputs"].items()
        )

    def _is_same(self, name, entry):
        known = self._known.get(name, {})
        return known.get("fingerprint") == entry["fingerprint"]

    def _lost(self, name):
        """Returns the outputs that are not what a stage has written."""
        return [
            path
            for path, digest in self._known[name]["outputs"].items()
            if not digest or digest != _digest(self._root / path)
        ]

    def _entry(self, options, inputs):
        """Returns a stage's options, inputs and fingerprint."""
        recorded, digests = self._recorded(), {}
        for key in map(self._key, inputs):
            digests[key] = _digest(self._root / key) or recorded.get(key)
        options = self._portable(dataclasses.asdict(options), inputs)
        content = json.dumps([options, list(digests.values())], sort_keys=True)
        return {
            "fingerprint": hashlib.sha256(content.encode()).hexdigest(),
            "options": options,
            "inputs": digests,
        }

    def _recorded(self):
        """Returns {path: digest} of all outputs, None while they are made."""
        return {
            path: digest
            for entry in self._known.values()
            for path, digest in entry["outputs"].items()
        }

    def _note(self, name, entry):
        self._known[name] = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(self.path, self._known)

    def _key(self, path):
        """Returns a path relative to the root, or absolute if it is outside."""
        key = self._portable(os.fspath(path))
        return os.path.abspath(path) if key == os.fspath(path) else key

    def _portable(self, value, inputs=()):
        """Returns a value as JSON, with paths that survive a move."""
        if isinstance(value, dict):
            return {k: self._portable(v, inputs) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._portable(part, inputs) for part in value]
        if not isinstance(value, str) or not value:
            return value
        if value.startswith(f"{self._root}{os.sep}"):
            return os.path.relpath(value, self._root)
        for index, path in enumerate(inputs):
            if pathlib.Path(path).is_relative_to(value):
                return f"input {index}"
        return value


def _digest(path):
    """Returns the SHA-256 of a file or of a folder's files; None of none."""
    path = pathlib.Path(path)
    if path.is_file():
        return files.digest(path)
    if not path.is_dir():
        return None
    held = {
        str(file.relative_to(path)): files.digest(file)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    return hashlib.sha256(json.dumps(held).encode()).hexdigest()


def command_line(command: str, options) -> str:
    """Returns a command with options as flags, without those at a default.

    Args:
        command: such as "python train.py".
        options: a dataclass whose fields are the command's flags.
    """
    flags = to_flags(options, defaults=False)
    return " ".join([command, *map(shlex.quote, flags)])
