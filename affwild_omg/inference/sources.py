"""What --video names: films, folders of them, patterns, or a camera."""

import glob
import os
import pathlib

from absl import logging

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import folders
from affwild_omg.faces import camera
from affwild_omg.storage import files, remote

# Endings by which a film is known in a folder. A pattern, or its name, takes
# any other.
FILMS = folders.FILMS | {
    *(".3gp", ".flv", ".m4v", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".wmv"),
}


def find(
    text: str, *, quiet: bool = False, live: bool = False
) -> list[pathlib.Path]:
    """Finds the films that --video names.

    What exists is taken as it stands, commas and all. Any other text is split
    at its commas, and each part names a file, a folder, whose films count but
    not those of folders in it, or a pattern: `*`, `?`, `[abc]`, and `**` for
    any folders. A number alone is that of a camera.

    Args:
        text: the flag's.
        quiet: do not tell of files of a folder that are left out.
        live: whether it may be a camera.

    Returns:
        Each file once, in the order of the parts, then by name.

    Raises:
        UserError: a part names nothing, a folder holds no film, or a camera
            is not there or not allowed.
    """
    if text.isdecimal() and not os.path.exists(text):
        text = camera.path_of(int(text))
    parts = [text]
    if not os.path.exists(text):
        parts = list(filter(None, map(str.strip, text.split(","))))
    for part in parts:
        if camera.index_of(part) is None:
            continue
        if not live:
            raise UserError(
                f"--video={part} is a camera, whose frames do not wait for "
                "what comes after them; give --mode=stream"
            )
        if len(parts) > 1:
            raise UserError(
                f"--video={part} is a camera, which has no end; give it alone"
            )
    found = {}
    for part in parts:
        for path in _named(remote.path(part), quiet):
            found.setdefault(os.path.abspath(path), path)
    if not found:
        raise UserError("--video is empty; name a film, a folder or a pattern")
    return list(found.values())


def _named(path: pathlib.Path, quiet: bool) -> list[pathlib.Path]:
    """Returns the films that one part names."""
    if path.is_dir():
        held = sorted(
            x for x in path.iterdir() if x.is_file() and x.name[0] != "."
        )
        films = [x for x in held if x.suffix.lower() in FILMS]
        if not films:
            raise UserError(
                f"--video={path} holds no film: nothing in it ends in "
                f"{', '.join(sorted(FILMS))}; name another folder, or a "
                f"pattern, such as '{path}/*'"
            )
        others = len(held) - len(films)
        if others and not quiet:
            logging.info(
                "%s: %s left out, whose names do not end as a film's",
                path,
                wording.count(others, "file"),
            )
        return films
    if path.exists():
        return [path]
    if files.is_remote(path):
        matching = path.parent.glob(path.name)
    else:
        matching = map(pathlib.Path, glob.glob(str(path), recursive=True))
    films = sorted((x for x in matching if x.is_file()), key=str)
    if not films:
        raise UserError(
            f"--video={path} does not exist, and as a pattern it matches no "
            "file; name a film, a folder or a pattern in quotation marks"
        )
    return films
