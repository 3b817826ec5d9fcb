"""Predicting: a video becomes valence and arousal for every frame."""

import csv
import itertools
import pathlib

import numpy as np

from affwild_omg import figures
from affwild_omg.cli import progress
from affwild_omg.faces import detection, landmarks, tracking
from affwild_omg.faces.video import Video
from affwild_omg.inference.options import PredictionOptions
from affwild_omg.inference.predictor import load_predictor
from affwild_omg.storage import files

DEFAULT_SEQUENCE_LENGTH = 80
FACE_COLUMNS = ("x", "y", "width", "height", "confidence")


def predict(options: PredictionOptions, *, overwrite: bool = False) -> dict:
    """Predicts a video, frame by frame.

    Writes `<stem>.csv` with one row a frame (frame, time_s, face, x, y,
    width, height, confidence, and valence and arousal as the model has them;
    empty where there is no face; boxes in pixels of the video) and
    `<stem>.png`, the course of the targets.

    Args:
        options: what and where.
        overwrite: go on although the folder holds something; only results
            of a video of the same name are replaced.

    Returns:
        {"frames", "frames_with_face", "truncated", and for each target its
        median over the frames with a face, None without any}.

    Raises:
        UserError: the video, the model or the output can't be used.
    """
    stem = pathlib.Path(options.video).stem
    with (
        files.atomic_directory(
            options.output, flag="--output", overwrite=overwrite
        ) as temporary,
        Video(options.video) as video,
    ):
        predictor = load_predictor(options.model)
        length = _sequence_length(options, predictor)
        rows, values = _predict_video(video, predictor, length, options)
        _write_table(temporary / f"{stem}.csv", rows, values, predictor.targets)
        figures.timeline(
            temporary / f"{stem}.png",
            [float(row[1]) for row in rows],
            values,
            predictor.targets,
            window=length,
            title=pathlib.Path(options.video).name,
        )
    seen = np.isfinite(values).all(axis=1)
    return {
        "frames": len(rows),
        "frames_with_face": int(seen.sum()),
        "truncated": video.truncated,
    } | {
        target: float(np.median(values[seen, column])) if seen.any() else None
        for column, target in enumerate(predictor.targets)
    }


def _sequence_length(options, predictor):
    return options.sequence_length or (
        predictor.card.sequence_length
        if predictor.card
        else DEFAULT_SEQUENCE_LENGTH
    )


def _predict_video(video, predictor, length, options):
    """Returns the rows of the table but for the targets, and the targets.

    The pixels of a window at a time are held, so that a video of any length
    fits into memory.
    """
    bar = progress.bar(
        tracking.faces_of_video(
            video,
            detector=detection.Detector(),
            landmarker=landmarks.Landmarker(),
            detect_every=options.detect_every,
        ),
        description="predicting",
        unit="frame",
        total=video.announced_frames,
    )
    rows, values = [], []
    with bar:
        faces = iter(bar)
        while window := list(itertools.islice(faces, length)):
            values.append(_predict_window(window, length, predictor))
            for time_s, face in window:
                row = [len(rows), f"{time_s:.3f}", int(face.found)]
                if face.found:
                    row += [f"{x:.1f}" for x in face.box]
                    row.append(f"{face.confidence:.4f}")
                else:
                    row += [""] * len(FACE_COLUMNS)
                rows.append(row)
    return rows, np.concatenate(values)


def _predict_window(window, length, predictor):
    """Returns [frames of the window, targets], NaN where there is no face."""
    faces = [face for _, face in window]
    found = np.array([face.found for face in faces])
    missing = [(0, length - len(faces))]
    inputs = {
        "frames": np.stack([face.crop for face in faces]),
        "landmarks": np.stack([face.landmarks for face in faces]),
        "mask": found,
    }
    inputs = {
        name: np.pad(x, missing + [(0, 0)] * (x.ndim - 1))[None]
        for name, x in inputs.items()
    }
    values = predictor.predict(inputs)[0, : len(faces)]
    return np.where(found[:, None], values, np.nan)


def _write_table(path, rows, values, targets):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["frame", "time_s", "face", *FACE_COLUMNS, *targets])
        for row, predicted in zip(rows, values, strict=True):
            writer.writerow(
                row + ["" if np.isnan(x) else f"{x:.6f}" for x in predicted]
            )
