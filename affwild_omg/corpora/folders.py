"""Finds annotations, films and crops wherever a download put them."""

import os
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

from absl import logging

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.corpora.problems import Problems
from affwild_omg.storage import remote

# What --frames takes.
VIDEO, CROPS = "video", "crops"
FRAMES = (VIDEO, CROPS)

FILMS = {".mp4", ".avi", ".mkv", ".mov", ".webm"}
PICTURES = {".jpg", ".jpeg", ".png"}


def walk(
    source: pathlib.Path | str, problems: Problems
) -> Iterator[tuple[pathlib.Path, list[str]]]:
    """Yields each folder below the source, itself too, and its files' names.

    Links are followed, but not back to a folder that they lie in. What is
    hidden, such as the "._1.txt" of archives from a Macintosh, does not count.

    Raises:
        UserError: the source is not a folder.
        OSError: a folder cannot be read, which may pass.
    """
    source = remote.path(source)
    if not source.is_dir():
        raise UserError(
            f"--source={source} is not a folder; give the one that holds the "
            "corpus' annotations and its videos or crops"
        )
    left = [(source, ())]
    while left:
        folder, around = left.pop()
        real = os.path.realpath(folder)
        if real in around:
            problems.add(
                f"{folder}: a link to a folder that it lies in, not followed; "
                "remove it"
            )
            continue
        try:
            names = sorted(path.name for path in folder.iterdir())
        except PermissionError as error:
            problems.add(
                f"{folder}: {error.strerror}; folders must be readable: it is "
                "left out"
            )
            continue
        names = [x for x in names if not x.startswith((".", "__MACOSX"))]
        below = {
            name
            for name in names
            # Names of pictures spare millions of questions to the disk.
            if pathlib.PurePath(name).suffix.lower() not in PICTURES
            and (folder / name).is_dir()
        }
        yield folder, [name for name in names if name not in below]
        left += [
            (folder / x, (*around, real)) for x in sorted(below, reverse=True)
        ]


def tell_unused(paths: Sequence[os.PathLike], kind: str, what: str) -> None:
    """Logs how many paths of a kind were passed over, if any, and the first."""
    if paths:
        count = wording.count(len(paths), kind)
        logging.info("%s %s, such as %s: not used", count, what, paths[0])


class Media:
    """The films, or the folders of crops, of a corpus by their names.

    Args of `add` are what `walk` yields.
    """

    def __init__(self, source: pathlib.Path | str, frames: str):
        """Makes an empty collection of films or, for CROPS, of crops."""
        self._source = remote.path(source)
        self._frames = frames
        self._places = {}  # name -> paths
        self._asked = set()  # names of clips
        self._names = {}  # folder of crops -> names of its pictures

    def add(self, folder: pathlib.Path, names: Sequence[str]) -> None:
        """Takes the films of a folder, or the folder as one of crops."""
        kinds = FILMS if self._frames == VIDEO else PICTURES
        found = [
            x for x in names if pathlib.PurePath(x).suffix.lower() in kinds
        ]
        if self._frames == VIDEO:
            for name in found:
                stem = pathlib.PurePath(name).stem
                self._places.setdefault(stem, []).append(folder / name)
        elif found:
            self._places.setdefault(folder.name, []).append(folder)
            # All folders share the texts "00001.jpg", and so on.
            self._names[folder] = [sys.intern(name) for name in found]

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def of(self, name: str, problems: Problems) -> dict:
        """Returns `path` and `pictures` of the clip of that name.

        Crops are named by the number of their frame, from 1 on. What is not
        there may be at any depth, which its path says.
        """
        self._asked.add(name)
        suffix = ".mp4" if self._frames == VIDEO else ""
        places = self._places.get(
            name, [self._source / "**" / f"{name}{suffix}"]
        )
        # Aligned crops often lie beside others.
        aligned = [
            path
            for path in places
            if "aligned" in str(path.relative_to(self._source))
        ]
        path, *others = aligned or places
        for other in others:
            problems.add(
                f"{other}: {path} is of the same name, and is taken; remove "
                "one of the two"
            )
        if self._frames == VIDEO:
            return {"path": path}
        return {"path": path, "pictures": self._numbered(path, problems)}

    def tell_rest(self) -> None:
        """Tells how many of them no clip was made of, after all `of`."""
        rest = sorted(self._places.keys() - self._asked)
        kind = "film" if self._frames == VIDEO else "picture folder"
        paths = [self._places[name][0] for name in rest]
        tell_unused(paths, kind, "without a good annotation")

    def _numbered(self, folder, problems):
        pictures = {}
        for name in self._names.get(folder, ()):
            number = re.fullmatch(r"0*([1-9]\d{0,5})\.\w+", name)
            if number is None:
                what = "crops are named by their frame's number, from 1 on"
            elif int(number[1]) in pictures:
                what = f"{pictures[int(number[1])]} is of the same frame"
            else:
                pictures[int(number[1])] = name
                continue
            problems.add(f"{folder / name}: {what}; it is left out", folder)
        last = max(pictures, default=0)
        return [pictures.get(number, "") for number in range(1, last + 1)]
