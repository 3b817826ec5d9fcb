"""The manifest of a records folder: what was prepared, and what was not."""

import pathlib
from collections.abc import Sequence

from affwild_omg.cli.tables import Table
from affwild_omg.corpora import omg
from affwild_omg.corpora.clips import SPLITS
from affwild_omg.data import records
from affwild_omg.preparation.options import PreparationOptions


def summarise(reports: Sequence[dict], options: PreparationOptions) -> dict:
    """Sums the reports of all clips up by split.

    Args:
        reports: of `worker.prepare_video`, in the order of the tables.
        options: of the preparation.

    Returns:
        The manifest. Each of its splits holds the numbers of utterances
        expected (rows of the table), found (files there) and prepared, of
        frames and of frames without a face; what was damaged, and how; every
        clip that failed, with its reason; and the utterances in the records'
        order.
    """
    # What the demo drew has no scores to compare with those of real corpora.
    drawn = pathlib.Path(options.source, omg.DEMO).is_file()
    of_splits = {
        split: [report for report in reports if report["split"] == split]
        for split in SPLITS
    }
    return {
        "schema_version": records.SCHEMA_VERSION,
        "corpus": "demo" if drawn else options.corpus,
        "detect_every": options.detect_every,
        "splits": {name: _split(x) for name, x in of_splits.items() if x},
    }


def _split(reports):
    good = [report for report in reports if "reason" not in report]
    return {
        "expected": len(reports),
        "found": sum(report["found"] for report in reports),
        "prepared": len(good),
        "frames": sum(report["frames"] for report in good),
        "frames_without_face": sum(x["frames_without_face"] for x in good),
        "damaged": _facts(reports, "damaged"),
        "failed": _facts(reports, "reason"),
        "utterances": _facts(
            reports, "frames", "frames_without_face", "labelled"
        ),
    }


def _facts(reports, *names):
    """Returns some facts of those clips that have them."""
    return [
        {name: report[name] for name in ("video", "utterance", *names)}
        for report in reports
        if names[0] in report
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
    failed = [clip for part in parts.values() for clip in part["failed"]]
    if failed:
        lines.append(
            f"{records.MANIFEST} says why {len(failed)} failed; the first: "
            f"{failed[0]['reason']}"
        )
    return lines
