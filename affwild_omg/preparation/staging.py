"""The hidden folder beside the records that holds what is finished so far.

It holds a TFRecord file and a report for each clip, and a preview if those are
asked for. An interrupted run goes on with them, if rows, files and options are
still the same.
"""

import json
import pathlib
import re
from collections.abc import Sequence

from absl import logging

from affwild_omg.corpora.clips import SPLITS, Clip
from affwild_omg.data import records
from affwild_omg.data.manifest import MANIFEST
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.storage import files

PREVIEWS = "previews"
_SETTINGS = "settings.json"


def make(target: pathlib.Path, options: PreparationOptions) -> pathlib.Path:
    """Returns the staging folder, emptied if it is of other options."""
    folder = target.parent / f".{target.name}.partial"
    text = json.dumps(
        {
            "schema_version": records.SCHEMA_VERSION,
            "corpus": options.corpus,
            "source": str(pathlib.Path(options.source).resolve()),
            "detect_every": options.detect_every,
            "preview": options.preview,
        }
    )
    marker = folder / _SETTINGS
    if marker.is_file() and marker.read_text(encoding="utf-8") == text:
        logging.info("going on with the interrupted preparation in %s", folder)
    else:
        files.remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(marker, text)
    return folder


def paths(
    folder: pathlib.Path, clip: Clip
) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """Returns the files of a clip: its records, its preview, its report."""
    return tuple(
        folder / place / clip.split / clip.video / f"{clip.utterance}{suffix}"
        for place, suffix in (
            ("", records.SUFFIX),
            (PREVIEWS, ".png"),
            ("", ".json"),
        )
    )


def inputs(clip: Clip) -> list:
    """Returns what the records of a clip are made of, as JSON holds it."""
    return [
        clip.valence,
        clip.arousal,
        clip.source,
        clip.person,
        clip.path.stat().st_mtime_ns if clip.path.is_file() else None,
        size(clip),
    ]


def size(clip: Clip) -> int:
    """Returns the size of a clip's file in bytes; 0 without one."""
    return clip.path.stat().st_size if clip.path.is_file() else 0


def read_finished(folder: pathlib.Path, clip: Clip) -> dict | None:
    """Returns the report of a clip that an earlier run finished.

    None if none did, or if its row in the table or its file has changed.
    """
    records_path, _, path = paths(folder, clip)
    try:
        finished = json.loads(path.read_text(encoding="utf-8"))
        report = finished["report"]
        same = finished["inputs"] == inputs(clip)
    except (OSError, ValueError, KeyError):
        return None
    whole = "reason" in report or records_path.is_file()
    return report if same and whole else None


def publish(
    folder: pathlib.Path,
    target: pathlib.Path,
    manifest: dict,
    clips: Sequence[Clip],
) -> None:
    """Moves the finished records of some clips to where they belong."""
    text = json.dumps(manifest, indent=1)
    # The numbers of a record on a line, not each on its own.
    text = re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", text)
    # First, because a full disk would stop it: all can go on from here.
    files.write_text(folder / MANIFEST, f"{text}\n")
    target.mkdir(parents=True, exist_ok=True)
    kept = {path for clip in clips for path in paths(folder, clip)[:2]}
    kept |= {folder / MANIFEST, folder / _SETTINGS}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path not in kept:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    # Records without a manifest are refused: there is none while old and
    # new are mixed.
    for name in (MANIFEST, *SPLITS, PREVIEWS):
        files.remove(target / name)
    for split in manifest["splits"]:
        (folder / split).mkdir(exist_ok=True)
        files.replace(folder / split, target / split)
    if (folder / PREVIEWS).is_dir():
        files.replace(folder / PREVIEWS, target / PREVIEWS)
    files.replace(folder / MANIFEST, target / MANIFEST)
    files.remove(folder)
