"""The manifest of a records folder: what was prepared, and what was not."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from affwild_omg.cli import wording
from affwild_omg.cli.tables import Table
from affwild_omg.corpora import omg
from affwild_omg.corpora.clips import SPLITS
from affwild_omg.data import records
from affwild_omg.data.manifest import MANIFEST
from affwild_omg.paper.task import PREPARATION
from affwild_omg.paper.treatment import JPEG, JPEG_QUALITY
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.storage import remote


def summarise(
    reports: Sequence[dict],
    options: PreparationOptions,
    problems: Sequence[str],
    left_out: Mapping[str, int],
) -> dict:
    """Sums the reports of all clips up by split.

    Args:
        reports: of `worker.prepare`, in the order of the tables.
        options: of the preparation.
        problems: of the corpus' reader.
        left_out: how many clips of each split it left out.

    Returns:
        The manifest. Its problems are those of the reader, then those of each
        clip. Each of its splits holds the numbers of utterances expected (rows
        of the table), found (files there) and prepared, of frames, of frames
        left out for max_fps, and of frames without a face, for each reason;
        every clip that was damaged, and how; every clip that failed, with its
        reason; and the utterances, as `worker.prepare` describes them.
    """
    # What the demo drew has no scores to compare with those of real corpora.
    drawn = (remote.path(options.source) / omg.DEMO).is_file()
    jpeg = options.crop_format == JPEG
    of_splits = {
        split: [report for report in reports if report["split"] == split]
        for split in SPLITS
    }
    return {
        "schema_version": records.SCHEMA_VERSION,
        "preparation": PREPARATION,
        "corpus": "demo" if drawn else options.corpus,
        "detect_every": options.detect_every,
        **dataclasses.asdict(options.treatment),
        **({"jpeg_quality": JPEG_QUALITY} if jpeg else {}),
        "problems": [
            *problems,
            *(line for x in reports for line in x.get("problems", ())),
        ],
        "splits": {
            name: _split(x, left_out.get(name, 0))
            for name, x in of_splits.items()
            if x
        },
    }


def _split(reports, left_out):
    good = [report for report in reports if "reason" not in report]
    thinned = sum(report.get("frames_left_out", 0) for report in good)
    return {
        "expected": len(reports) + left_out,
        "found": sum(report["found"] for report in reports),
        "prepared": len(good),
        "frames": sum(report["frames"] for report in good),
        **({"frames_left_out": thinned} if thinned else {}),
        "frames_without_face": sum(x["frames_without_face"] for x in good),
        "without_face": dict(
            sum(
                (collections.Counter(x.get("without_face")) for x in good),
                collections.Counter(),
            )
        ),
        "damaged": _facts(reports, "damaged"),
        "failed": _facts(reports, "reason"),
        "utterances": [
            {
                k: v
                for k, v in report.items()
                if k not in ("split", "found", "problems")
            }
            for report in good
        ],
    }


def _facts(reports, fact):
    """Returns a fact of those clips that have it."""
    return [
        {name: report[name] for name in ("video", "utterance", fact)}
        for report in reports
        if fact in report
    ]


def table(manifest: dict) -> list[str]:
    """Returns the manifest as lines for a console."""
    columns = {
        "expected": lambda part: part["expected"],
        "found": lambda part: part["found"],
        "prepared": lambda part: part["prepared"],
        "damaged": lambda part: len(part["damaged"]),
        "failed": lambda part: len(part["failed"]),
        "frames": lambda part: part["frames"],
        "no face": lambda part: part["frames_without_face"],
    }
    parts = manifest["splits"]
    rows = [
        [split, *(str(number(part)) for number in columns.values())]
        for split, part in parts.items()
    ]
    lines = Table(["", *columns], rows).lines()
    if manifest.get("max_fps"):  # of an earlier version, without
        lines.append(_thinned(manifest))
    if manifest["problems"]:
        count = wording.count(len(manifest["problems"]), "problem")
        lines.append(f"{MANIFEST} lists {count} of the corpus")
    failed = [clip for part in parts.values() for clip in part["failed"]]
    if failed:
        lines.append(
            f"{MANIFEST} says why {len(failed)} failed; the first: "
            f"{failed[0]['reason']}"
        )
    return lines


def _thinned(manifest):
    """Returns in a line what was left out for a frame rate."""
    clips = [
        clip
        for part in manifest["splits"].values()
        for clip in part["utterances"]
    ]
    faster = [clip for clip in clips if "frames_left_out" in clip]
    left = sum(clip["frames_left_out"] for clip in faster)
    total = left + sum(clip["frames"] for clip in clips)
    return (
        f"--max_fps={manifest['max_fps']:g} left out {left:,} of {total:,} "
        f"frames, in {len(faster):,} of {wording.count(len(clips), 'clip')}"
    )
