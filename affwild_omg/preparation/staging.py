"""The hidden folder beside the records that holds what is finished so far.

It holds a TFRecord file and a report for each video. An interrupted run goes
on with them, if rows, files and options are still the same.
"""

import json
import pathlib
from collections.abc import Sequence

from absl import logging

from affwild_omg.corpora.clips import SPLITS, Clip
from affwild_omg.data import records
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.storage import files

PARTIAL = ".partial"  # suffix of a file that a worker is writing
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
        }
    )
    marker = folder / _SETTINGS
    if marker.is_file() and marker.read_text(encoding="utf-8") == text:
        logging.info("going on with the interrupted preparation in %s", folder)
        for left in folder.glob(f"*/*{PARTIAL}"):
            left.unlink()
    else:
        files.remove(folder)
    for split in SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
    files.write_text(marker, text)
    return folder


def paths(
    folder: pathlib.Path, clips: Sequence[Clip]
) -> tuple[pathlib.Path, pathlib.Path]:
    """Returns the files of a video: its records and its report."""
    video, folder = clips[0].video, folder / clips[0].split
    return folder / f"{video}.tfrecord", folder / f"{video}.json"


def inputs(clips: Sequence[Clip]) -> list[list]:
    """Returns what the records of a video are made of, as JSON holds it."""
    return [
        [
            clip.utterance,
            clip.valence,
            clip.arousal,
            clip.path.stat().st_mtime_ns if clip.path.is_file() else None,
            size(clip),
        ]
        for clip in clips
    ]


def size(clip: Clip) -> int:
    """Returns the size of a clip's file in bytes; 0 without one."""
    return clip.path.stat().st_size if clip.path.is_file() else 0


def read_finished(
    folder: pathlib.Path, clips: Sequence[Clip]
) -> list[dict] | None:
    """Returns the reports of a video that an earlier run finished.

    None if none did, or if its rows in the table or its files have changed.
    """
    _, path = paths(folder, clips)
    if not path.is_file():
        return None
    finished = json.loads(path.read_text(encoding="utf-8"))
    return finished["reports"] if finished["inputs"] == inputs(clips) else None


def publish(folder: pathlib.Path, target: pathlib.Path, manifest: dict) -> None:
    """Moves the finished records to where they belong."""
    text = json.dumps(manifest, indent=1) + "\n"
    files.write_text(folder / records.MANIFEST, text)
    target.mkdir(parents=True, exist_ok=True)
    # Records without a manifest are refused: there is none while old and
    # new are mixed.
    for name in (records.MANIFEST, *SPLITS):
        files.remove(target / name)
    for split in manifest["splits"]:
        for report in (folder / split).glob("*.json"):
            report.unlink()
        files.replace(folder / split, target / split)
    files.replace(folder / records.MANIFEST, target / records.MANIFEST)
    files.remove(folder)
