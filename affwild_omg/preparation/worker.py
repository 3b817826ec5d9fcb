"""One video at a time: its clips become records and a report each."""

import json
import os
import pathlib

import numpy as np
from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora.clips import Clip
from affwild_omg.data import records
from affwild_omg.faces import detection, landmarks, tracking
from affwild_omg.faces.video import Video
from affwild_omg.preparation import staging
from affwild_omg.storage import files

_tracking = {}  # a worker process' own settings, made by `start`


def start(detect_every: int) -> None:
    """Makes this process a worker.

    Args:
        detect_every: frames from one face detection to the next.
    """
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


def prepare_video(folder: pathlib.Path, clips: list[Clip]) -> list[dict]:
    """Prepares the clips of one video.

    Args:
        folder: the staging folder, see `affwild_omg.preparation.staging`.
        clips: all of one video.

    Returns:
        A report a clip: split, video, utterance, found (whether its file is
        there), and either frames, frames_without_face, labelled and, if
        anything was lost, damaged; or the reason why it cannot be prepared.
    """
    path, report_path = staging.paths(folder, clips)
    inputs = staging.inputs(clips)
    path.unlink(missing_ok=True)  # of an earlier run, from other rows or files
    reports, prepared = [], []
    for clip in clips:
        report = {
            "split": clip.split,
            "video": clip.video,
            "utterance": clip.utterance,
            "found": clip.path.is_file(),
        }
        try:
            faces, facts = _prepare_clip(clip)
            prepared.append(faces)
            report |= facts
        except UserError as error:
            report["reason"] = str(error)
        reports.append(report)
    if prepared:
        partial = path.with_suffix(staging.PARTIAL)
        records.write_records(partial, prepared)
        os.replace(partial, path)
    finished = {"inputs": inputs, "reports": reports}
    files.write_text(report_path, json.dumps(finished))
    return reports


def _prepare_clip(clip):
    with Video(clip.path) as video:
        faces = [
            face for _, face in tracking.faces_of_video(video, **_tracking)
        ]
    found = np.array([face.found for face in faces])
    labels = {
        name: () if getattr(clip, name) is None else (getattr(clip, name),)
        for name in ("valence", "arousal")
    }
    prepared = records.PreparedClip(
        video=clip.video,
        utterance=clip.utterance,
        fps=video.fps,
        images=np.stack([face.crop for face in faces]),
        landmarks=np.stack([face.landmarks for face in faces]),
        face=found,
        **labels,
    )
    facts = {
        "frames": len(faces),
        "frames_without_face": int((~found).sum()),
        "labelled": bool(labels["valence"] and labels["arousal"]),
    }
    if video.damage:
        facts["damaged"] = video.damage
    return prepared, facts
