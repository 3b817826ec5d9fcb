"""The hidden folder beside the records that holds what is finished so far.

It holds a TFRecord file and a report for each clip, and a preview if those are
asked for. An interrupted run goes on with them, if rows, files and options are
still the same, wherever it was interrupted: `take_back` undoes half a
publication.
"""

import dataclasses
import json
import pathlib
import re
import zlib
from collections.abc import Mapping, Sequence

from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora.clips import SPLITS, Clip
from affwild_omg.data import records
from affwild_omg.data.manifest import MANIFEST
from affwild_omg.paper.task import PREPARATION
from affwild_omg.paper.treatment import Treatment
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.storage import files, remote

PREVIEWS = "previews"
_REPORTS = "reports"  # apart from the records, which leave before them
_SETTINGS = "settings.json"
_SHARDS = "shards"  # a file of each that is done
_MOVING = "moving"  # exists while records move to where they belong


def _folder(target: pathlib.Path) -> pathlib.Path:
    return target.parent / f".{target.name}.partial"


def lock(target: pathlib.Path) -> pathlib.Path:
    """Returns the file by which one preparation keeps others away."""
    return target.parent / f".{target.name}.lock"


def make(target: pathlib.Path, options: PreparationOptions) -> pathlib.Path:
    """Returns the staging folder, emptied if it is of other options.

    Raises:
        UserError: it holds shards, or is to hold them, and is not, or not
            surely, of the same options; or there are none to be merged.
    """
    folder = _folder(target)
    same = {
        "schema_version": records.SCHEMA_VERSION,
        "preparation": PREPARATION,
        "corpus": options.corpus,
        "source": str(remote.path(options.source).resolve()),
        "frames": options.frames,
        "fps": options.fps,
        "detect_every": options.detect_every,
        **dataclasses.asdict(options.treatment),
        "preview": options.preview,
    }
    number = options.part[1] if options.part else 0
    if options.merge and not (number := shards(folder)):
        raise UserError(
            f"--merge: no shard was prepared for --records={options.records}; "
            "give the same command with --shard=1/8, for instance, first"
        )
    wanted = same | ({"shards": number} if number else {})
    found = _read(folder / _SETTINGS)
    if found:  # perhaps of a version that had no other
        found = {"preparation": 1} | dataclasses.asdict(Treatment()) | found
    # Shards go on with what a single command began, too.
    if found in (wanted, same):
        logging.info("going on with the preparation in %s", folder)
    elif found and (options.part or shards(folder)):
        # The work of many jobs is not thrown away for a slip.
        others = [
            f"{name}={found.get(name)}"
            for name in wanted | found
            if found.get(name) != wanted.get(name)
        ]
        raise UserError(
            f"{folder} holds an unfinished preparation with "
            f"{', '.join(others)}; give it the same (--shard or --merge, too), "
            "or remove it to begin anew"
        )
    elif options.part and (folder / _REPORTS).exists():
        raise UserError(
            f"{folder} holds an unfinished preparation, but does not say with "
            "which flags; remove it to begin anew"
        )
    elif folder.exists() and not options.part:
        logging.warning(
            "starting anew: the interrupted preparation in %s had other flags, "
            "or is of another version",
            folder,
        )
        files.remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with files.whole(folder / _SETTINGS, contended=True) as partial:
        partial.write_text(json.dumps(wanted), encoding="utf-8")
    return folder


def shards(folder: pathlib.Path) -> int:
    """Returns of how many shards a staging folder is; 0 of none."""
    return (_read(folder / _SETTINGS) or {}).get("shards", 0)


def _read(path):
    """Returns what a JSON file holds; None if it is missing or cut off."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ConnectionError:  # it may well be there
        raise
    except (OSError, ValueError):
        return None


def finish_shard(
    folder: pathlib.Path, number: int, reports: Mapping[Clip, dict]
) -> None:
    """Notes that a shard is done, and those of its clips that failed."""
    path = folder / _SHARDS / f"{number}.json"
    path.parent.mkdir(exist_ok=True)
    failed = {
        f"{clip.split}/{clip.key}": {"inputs": inputs(clip), "report": report}
        for clip, report in reports.items()
        if "reason" in report
    }
    files.write_text(path, json.dumps(failed))


def gather(
    folder: pathlib.Path, clips: Sequence[Clip]
) -> tuple[dict[Clip, dict], dict[int, str]]:
    """Gathers what shards have prepared.

    Args:
        folder: the staging folder.
        clips: of the corpus.

    Returns:
        The report of each clip, in their order; and of each shard that must be
        prepared, its number and why.
    """
    number, missing, found = shards(folder), {}, {}
    for shard in range(1, number + 1):
        failed = _read(folder / _SHARDS / f"{shard}.json")
        if failed is None:
            missing[shard] = "it is not done"
            continue
        for clip in clips[shard - 1 :: number]:
            report = read_finished(folder, clip)
            failure = failed.get(f"{clip.split}/{clip.key}")
            if not report and failure and failure["inputs"] == inputs(clip):
                report = failure["report"]
            if not report:
                missing[shard] = f"{clip.path} or its labels changed since"
            found[clip] = report
    return {clip: found.get(clip) for clip in clips}, missing


def paths(
    folder: pathlib.Path, clip: Clip
) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """Returns the files of a clip: its records, its preview, its report."""
    return tuple(
        folder / place / clip.split / clip.video / f"{clip.utterance}{suffix}"
        for place, suffix in (
            ("", records.SUFFIX),
            (PREVIEWS, ".png"),
            (_REPORTS, ".json"),
        )
    )


def inputs(clip: Clip) -> list:
    """Returns what the records of a clip are made of, as JSON holds it."""
    labels = b"".join(column.tobytes() for column in clip.frame_labels or ())
    return [
        clip.valence,
        clip.arousal,
        zlib.crc32(labels),
        clip.side,
        clip.source,
        clip.person,
        *_files(clip),
    ]


def size(clip: Clip) -> int:
    """Returns the size of a clip's file in bytes, 0 without one.

    Of clips that are pictures, whose sizes would have to be asked one by one,
    the number of frames.
    """
    if clip.pictures is not None:
        return len(clip.pictures)
    return clip.path.stat().st_size if clip.found else 0


def _files(clip):
    """Returns what tells a clip's files from others."""
    if clip.pictures is None:
        return [
            clip.path.stat().st_mtime_ns if clip.found else None,
            size(clip),
        ]
    states = []
    for name in clip.pictures:
        path = clip.path / name
        state = path.stat() if name and path.is_file() else None
        states.append(state and [name, state.st_mtime_ns, state.st_size])
    return [zlib.crc32(json.dumps(states).encode()), size(clip)]


def read_finished(folder: pathlib.Path, clip: Clip) -> dict | None:
    """Returns the report of a clip that an earlier run finished.

    None if none did, or if its row in the table or its file has changed.
    """
    records_path, _, path = paths(folder, clip)
    finished = _read(path)
    if finished is None or finished["inputs"] != inputs(clip):
        return None
    return finished["report"] if records_path.is_file() else None


def publish(
    folder: pathlib.Path,
    target: pathlib.Path,
    manifest: dict,
    clips: Sequence[Clip],
) -> None:
    """Moves the finished records of some clips to where they belong."""
    text = json.dumps(manifest, indent=1)
    # The numbers of a record on a line, not each on its own.
    text = re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", text) + "\n"
    # First, because a full disk would stop it: the old records are whole yet.
    files.write_text(folder / MANIFEST, text)
    target.mkdir(parents=True, exist_ok=True)
    kept = {path for clip in clips for path in paths(folder, clip)}
    kept |= {folder / MANIFEST, folder / _SETTINGS}
    kept |= set((folder / _SHARDS).glob("*.json"))  # until it is done
    files.keep(folder, kept)
    # Records without a manifest are refused: there is none while old and
    # new are mixed.
    for name in (MANIFEST, *SPLITS, PREVIEWS):
        files.remove(target / name)
    # From here on, the target holds only what was moved there.
    (folder / MANIFEST).replace(folder / _MOVING)
    for split in manifest["splits"]:
        (folder / split).mkdir(exist_ok=True)
        files.move(folder / split, target / split)
    if (folder / PREVIEWS).is_dir():
        files.move(folder / PREVIEWS, target / PREVIEWS)
    files.sync(target)  # a manifest that is there vouches for all records
    files.write_text(target / MANIFEST, text)
    files.remove(folder)


def is_moving(target: pathlib.Path) -> bool:
    """Tells whether `publish` was interrupted while records moved."""
    moving = (_folder(target) / _MOVING).is_file()
    return moving and not (target / MANIFEST).is_file()


def take_back(target: pathlib.Path) -> None:
    """Takes back what an interrupted `publish` has moved, if there was one."""
    folder = _folder(target)
    if not is_moving(target):
        return
    for name in (*SPLITS, PREVIEWS):
        for path in files.within(target / name):
            back = folder / path.relative_to(target)
            # To another disk, files are copied before any is removed: what is
            # in both places may be cut off in the second.
            if not back.exists():
                back.parent.mkdir(parents=True, exist_ok=True)
                files.replace(path, back)
        files.remove(target / name)
    (folder / _MOVING).unlink()
