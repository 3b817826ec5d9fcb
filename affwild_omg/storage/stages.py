"""Stages: what a long command has made, of what, and what is to be made again.

A stages file stands beside what the stages of a folder make. It says of each
stage its options, what it was made of and when; no time, if it was begun and
not finished.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import shlex
from collections.abc import Callable, Iterable, Mapping

from absl import logging

from affwild_omg.cli.options import to_flags
from affwild_omg.storage import files as outputs

FILE = "stages.json"


class Stages:
    """Runs stages that take options, each only where it must be.

    What a stage made is kept if it is whole, was made with the same options,
    and everything it was made of is still the same making. Folders below the
    stages file's are compared relative to it: all of it may be moved.
    """

    def __init__(
        self,
        path: os.PathLike | str,
        contents: Mapping[str, str] | None = None,
    ):
        """Reads what is done.

        Args:
            path: the stages file; where there is none, or what can't be read
                of it, nothing is done.
            contents: {path: digest} of sources: options that name one are
                compared by what it holds, wherever it lies.
        """
        self.path = pathlib.Path(path)
        self._contents = contents or {}
        self._known = {}
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                self._known = {
                    name: entry
                    for name, entry in content.items()
                    if _is_entry(entry)
                }

    def run(
        self,
        name: str,
        stage: Callable,
        options,
        command: str,
        *,
        whole: Callable[[], bool],
        of: Iterable[str] = (),
        resume: Callable | None = None,
    ) -> str:
        """Runs a stage unless what it makes is whole, of these options.

        Args:
            name: the stage's, in the stages file.
            stage: called as stage(options, overwrite=True).
            options: a dataclass.
            command: the command line that takes the options as flags; shown.
            whole: whether all that the stage makes is there.
            of: what it is made of: what `run` returned of other stages, or
                any text that changes with a source.
            resume: called as resume(options) in the place of the stage if
                that was begun, with the same options and of the same, and
                never finished.

        Returns:
            This making: another text whenever the stage is run.
        """
        entry = {
            "options": self._portable(dataclasses.asdict(options)),
            "of": list(of),
        }
        known = self._known.get(name, {})
        same = all(known.get(key) == entry[key] for key in entry)
        if same and known.get("made") and whole():
            logging.info("%s: there already", name)
            return known["made"]
        logging.info("\n$ %s", command_line(command, options))
        begun = same and "made" in known and not known["made"]
        self._outdate(known.get("made"))
        self._note(name, entry | {"made": None})
        if begun and resume is not None:
            resume(options)
        else:
            stage(options, overwrite=True)
        made = datetime.datetime.now(datetime.timezone.utc).isoformat()
        self._note(name, entry | {"made": made})
        return made

    def is_same(self, name: str, options, sources: Iterable[str]) -> bool:
        """Tells whether a stage, done or begun, is the one that is wanted.

        Args:
            name: the stage's.
            options: that it is wanted with.
            sources: what it is wanted to be made of, among others.
        """
        known = self._known.get(name)
        if known is None:
            return False
        wanted = self._portable(dataclasses.asdict(options))
        return known["options"] == wanted and set(sources) <= set(known["of"])

    def made(self, name: str) -> str:
        """Returns the making of a stage that is done, as `run` returned it.

        Raises:
            KeyError: it isn't done.
        """
        if not self._known[name]["made"]:
            raise KeyError(name)
        return self._known[name]["made"]

    def is_made(self, name: str, of: Iterable[str] | None = None) -> bool:
        """Tells whether a stage is done, of what stands now.

        Args:
            name: the stage's.
            of: what it must be made of, where that stands in other files.
        """
        known = self._known.get(name)
        return (
            known is not None
            and bool(known["made"])
            and (of is None or known["of"] == list(of))
        )

    def _outdate(self, making):
        """Takes back what was made of a making that is no more."""
        if not making:
            return
        for entry in self._known.values():
            if making in entry["of"]:
                self._outdate(entry["made"])
                entry["made"] = None

    def _note(self, name, entry):
        self._known[name] = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        outputs.write_text(self.path, json.dumps(self._known, indent=2) + "\n")

    def _portable(self, value):
        """Returns a value as JSON has it, paths such that all may be moved."""
        if isinstance(value, dict):
            return {name: self._portable(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._portable(part) for part in value]
        if isinstance(value, str) and value in self._contents:
            return self._contents[value]
        here = f"{self.path.parent}{os.sep}"
        if isinstance(value, str) and value.startswith(here):
            return value.removeprefix(here)
        return value


def _is_entry(entry):
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("options"), dict)
        and isinstance(entry.get("of"), list)
        and isinstance(entry.get("made", 0), str | None)
    )


def files(directory: os.PathLike | str, *names: str) -> Callable[[], bool]:
    """Returns a function that tells whether a folder holds these files."""
    return lambda: all(
        pathlib.Path(directory, name).is_file() for name in names
    )


def command_line(command: str, options) -> str:
    """Returns a command with options as flags, those left at a default out.

    Args:
        command: such as "python train.py".
        options: a dataclass whose fields are the command's flags.
    """
    flags = to_flags(options, defaults=False)
    return " ".join([command, *map(shlex.quote, flags)])
