"""Preparing: from a corpus' clips to records of aligned faces.

Videos are prepared in parallel. Each finished one is kept in a hidden
folder beside the records until all are done, so that an interrupted run of
hours goes on where it stopped, and a records folder is always whole.
"""

import functools
import json
import os
import pathlib
import shutil

import numpy as np
from absl import logging

from affwild_omg.cli import progress
from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import omg
from affwild_omg.corpora.clips import SPLITS, Clip
from affwild_omg.data import records
from affwild_omg.faces import detection, landmarks, tracking
from affwild_omg.faces.video import Video
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.storage import files
from affwild_omg.storage import parallel as workers


def prepare(options: PreparationOptions, *, overwrite: bool = False) -> dict:
    """Prepares a corpus.

    Args:
        options: what, from where, to where.
        overwrite: replace records that are there.

    Returns:
        The manifest, see `_manifest`.

    Raises:
        UserError: the source or the target can't be used, not one clip could
            be prepared, or a worker process died.
    """
    target = files.check_output(
        options.records, flag="--records", overwrite=overwrite
    ).resolve()
    clips = omg.read(options.source)
    _require_some_files(clips, options.source)
    remove_parents = files.make_folder(target.parent)
    staging = _staging(target, options)
    reports = _prepare_videos(clips, staging, options)
    manifest = _manifest(reports, options)
    if not any(part["prepared"] for part in manifest["splits"].values()):
        shutil.rmtree(staging)
        remove_parents()
        present = next(
            (report for report in reports if report["found"]), reports[0]
        )
        raise UserError(
            f"--source={options.source}: not one clip could be prepared; "
            f"the first that is there: {present['failed']['reason']}"
        )
    _publish(staging, target, manifest)
    return manifest


def _require_some_files(clips, source):
    if not any(clip.path.is_file() for clip in clips):
        raise UserError(
            f"--source={source}: none of the tables' {len(clips)} clips is "
            f"there; they must lie at <source>/<video>/<utterance>, such as "
            f"{clips[0].path}"
        )


def _staging(target, options):
    """Returns the folder for work in progress, kept if it fits the options."""
    staging = target.parent / f".{target.name}.partial"
    text = json.dumps(
        {
            "schema_version": records.SCHEMA_VERSION,
            "source": str(pathlib.Path(options.source).resolve()),
            "detect_every": options.detect_every,
        }
    )
    marker = staging / "settings.json"
    if marker.is_file() and marker.read_text(encoding="utf-8") == text:
        logging.info("going on with the interrupted preparation in %s", staging)
        for left in staging.glob("*/*.partial"):
            left.unlink()
        return staging
    files.remove(staging)
    staging.mkdir()
    files.write_text(marker, text)
    return staging


def _prepare_videos(clips, staging, options):
    videos = {}
    for clip in clips:
        videos.setdefault((clip.split, clip.video), []).append(clip)
        (staging / clip.split).mkdir(exist_ok=True)
    reports = {}
    with progress.bar(
        description="finding faces", unit="clip", total=len(clips)
    ) as bar:

        def keep(job, video_reports):
            for clip, report in zip(job, video_reports, strict=True):
                reports[clip.split, clip.key] = report
            bar.update(len(job))

        jobs = []
        for job in videos.values():
            finished = _read_finished(staging, job)
            if finished is None:
                jobs.append(job)
            else:
                keep(job, finished)
        if jobs:
            jobs.sort(key=lambda job: -sum(map(_size, job)))
            # A video that is unfinished when this stops leaves only a partial
            # file, which the next run removes.
            with workers.parallel_map(
                functools.partial(_prepare_video, staging),
                jobs,
                workers=min(options.workers or workers.cores(), len(jobs)),
                initializer=_start_worker,
                initargs=(options.detect_every,),
            ) as results:
                for job, video_reports in results:
                    keep(job, video_reports)
    return [reports[clip.split, clip.key] for clip in clips]


_tracking = {}  # a worker process' own settings, made by _start_worker


def _start_worker(detect_every):
    import cv2
    import tensorflow as tf

    # One thread a worker: the cores are shared out by process, and the order
    # of sums, so every result, is the same for any number of workers.
    cv2.setNumThreads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")
    # The manifest tells what a warning would, and no line runs into the bar.
    logging.set_verbosity(logging.ERROR)
    _tracking.update(
        detector=detection.Detector(),
        landmarker=landmarks.Landmarker(),
        detect_every=detect_every,
    )


def _prepare_video(staging, clips: list[Clip]) -> list[dict]:
    """Prepares the clips of one video.

    Returns:
        A report a clip: split, video, utterance, found, and either frames
        and the like or failed, with the reason.
    """
    path, report_path = _paths(staging, clips)
    inputs = _inputs(clips)
    # Of an earlier run, from other rows or files.
    path.unlink(missing_ok=True)
    reports, prepared = [], []
    for clip in clips:
        report = {
            "split": clip.split,
            "video": clip.video,
            "utterance": clip.utterance,
            "found": clip.path.is_file(),
        }
        try:
            faces, more = _prepare_clip(clip)
            prepared.append(faces)
            report |= more
        except UserError as error:
            report["failed"] = {
                "video": clip.video,
                "utterance": clip.utterance,
                "reason": str(error),
            }
        reports.append(report)
    if prepared:
        partial = path.with_suffix(".partial")
        records.write_records(partial, prepared)
        os.replace(partial, path)
    files.write_text(
        report_path, json.dumps({"inputs": inputs, "reports": reports})
    )
    return reports


def _read_finished(staging, clips):
    """Returns the reports of a video that an earlier run finished, or None.

    None too where its rows in the table or its files have changed since.
    """
    _, report_path = _paths(staging, clips)
    if not report_path.is_file():
        return None
    finished = json.loads(report_path.read_text(encoding="utf-8"))
    if finished["inputs"] != _inputs(clips):
        return None
    return finished["reports"]


def _paths(staging, clips):
    folder = staging / clips[0].split
    video = clips[0].video
    return folder / f"{video}.tfrecord", folder / f"{video}.json"


def _inputs(clips):
    """Returns what the records of a video are made of, as JSON holds it."""
    return [
        [
            clip.utterance,
            clip.valence,
            clip.arousal,
            clip.path.stat().st_mtime_ns if clip.path.is_file() else None,
            _size(clip),
        ]
        for clip in clips
    ]


def _size(clip):
    return clip.path.stat().st_size if clip.path.is_file() else 0


def _prepare_clip(clip):
    with Video(clip.path) as video:
        faces = [
            face for _, face in tracking.faces_of_video(video, **_tracking)
        ]
        note = (
            f"decoded {video.decoded_frames} of {video.announced_frames} "
            "announced frames"
            if video.truncated
            else None
        )
        fps = video.fps
    found = np.array([face.found for face in faces])
    labels = {
        name: () if getattr(clip, name) is None else (getattr(clip, name),)
        for name in ("valence", "arousal")
    }
    prepared = records.PreparedClip(
        video=clip.video,
        utterance=clip.utterance,
        fps=fps,
        images=np.stack([face.crop for face in faces]),
        landmarks=np.stack([face.landmarks for face in faces]),
        face=found,
        **labels,
    )
    report = {
        "frames": len(faces),
        "frames_without_face": int((~found).sum()),
        "labelled": bool(labels["valence"] and labels["arousal"]),
    }
    return prepared, report | ({"truncated": note} if note else {})


def _manifest(reports, options):
    """Sums the reports up by split.

    Each split holds the numbers of utterances expected (rows of the table),
    found (files there) and prepared, of frames and of frames without a face;
    what was truncated; every clip that failed, with its reason; and the
    utterances in the records' order.
    """
    splits = {}
    for split in SPLITS:
        ours = [report for report in reports if report["split"] == split]
        if not ours:
            continue
        good = [report for report in ours if "failed" not in report]
        splits[split] = {
            "expected": len(ours),
            "found": sum(report["found"] for report in ours),
            "prepared": len(good),
            "frames": sum(report["frames"] for report in good),
            "frames_without_face": sum(
                report["frames_without_face"] for report in good
            ),
            "truncated": [
                {name: report[name] for name in _TRUNCATED}
                for report in good
                if "truncated" in report
            ],
            "failed": [
                report["failed"] for report in ours if "failed" in report
            ],
            "utterances": [
                {name: report[name] for name in _UTTERANCE} for report in good
            ],
        }
    # What the demo drew has no scores to compare with those of real corpora.
    drawn = pathlib.Path(options.source, omg.DEMO).is_file()
    return {
        "schema_version": records.SCHEMA_VERSION,
        "corpus": "demo" if drawn else options.corpus,
        "detect_every": options.detect_every,
        "splits": splits,
    }


_TRUNCATED = ("video", "utterance", "truncated")
_UTTERANCE = (
    "video",
    "utterance",
    "frames",
    "frames_without_face",
    "labelled",
)


def _publish(staging, target, manifest):
    for split in SPLITS:
        for report in (staging / split).glob("*.json"):
            report.unlink()
    (staging / "settings.json").unlink()
    files.write_text(
        staging / records.MANIFEST, json.dumps(manifest, indent=1) + "\n"
    )
    target.mkdir(parents=True, exist_ok=True)
    # Without a manifest records are refused: none lies there while old and
    # new are mixed.
    for name in (records.MANIFEST, *SPLITS):
        files.remove(target / name)
    for name in (*manifest["splits"], records.MANIFEST):
        files.replace(staging / name, target / name)
    staging.rmdir()


def table(manifest: dict) -> list[str]:
    """Returns the manifest as lines for a console."""
    parts = manifest["splits"].items()
    columns = {
        "expected": lambda part: part["expected"],
        "found": lambda part: part["found"],
        "prepared": lambda part: part["prepared"],
        "truncated": lambda part: len(part["truncated"]),
        "failed": lambda part: len(part["failed"]),
        "frames": lambda part: part["frames"],
        "no face": lambda part: part["frames_without_face"],
    }
    lines = [f"{'':<12}" + "".join(f"{name:>10}" for name in columns)]
    for split, part in parts:
        numbers = (f"{count(part):>10}" for count in columns.values())
        lines.append(f"{split:<12}" + "".join(numbers))
    failed = [clip for _, part in parts for clip in part["failed"]]
    if failed:
        lines.append(
            f"{records.MANIFEST} says why {len(failed)} failed; the first: "
            f"{failed[0]['reason']}"
        )
    return lines
