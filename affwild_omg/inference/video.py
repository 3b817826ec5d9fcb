"""Prediction: a video becomes valence and arousal for every frame."""

import itertools
import pathlib

import numpy as np
import pandas as pd

from affwild_omg import figures
from affwild_omg.cli import progress
from affwild_omg.data import windows
from affwild_omg.faces import detection, landmarks, tracking
from affwild_omg.faces.video import Video
from affwild_omg.inference.options import PredictionOptions
from affwild_omg.inference.predictor import load_predictor
from affwild_omg.paper.windows import cut
from affwild_omg.storage import files

DEFAULT_SEQUENCE_LENGTH = 80
FACE_COLUMNS = ("x", "y", "width", "height", "confidence")
FORMATS = {  # of the table's columns; the targets have six decimals
    "time_s": "{:.6f}",
    **dict.fromkeys(FACE_COLUMNS, "{:.1f}"),
    "confidence": "{:.4f}",
}


def predict(options: PredictionOptions, *, overwrite: bool = False) -> dict:
    """Predicts a video, frame by frame.

    Writes `<stem>.csv` with one row per frame (frame, time_s, face, x, y,
    width, height, confidence, and valence and arousal as the model has them;
    empty where there is no face; boxes in pixels of the video) and
    `<stem>.png`, the course of the targets.

    Args:
        options: what and where.
        overwrite: allow a folder that holds something; only results
            of a video of the same name are replaced.

    Returns:
        {"frames", "frames_with_face", "damage", and for each target its
        median over the frames with a face, None without any}.

    Raises:
        UserError: the video, the model or the output cannot be used.
    """
    path = pathlib.Path(options.video)
    with (
        files.atomic_directory(
            options.output, flag="--output", overwrite=overwrite
        ) as temporary,
        Video(options.video) as video,
    ):
        predictor = load_predictor(options.model)
        card = predictor.card
        length = options.sequence_length or (
            card.sequence_length if card else DEFAULT_SEQUENCE_LENGTH
        )
        tail = card.tail if card else "pad"
        table = _predict_video(
            video, predictor, length, tail, options.detect_every, temporary
        )
        _write(table, temporary / f"{path.stem}.csv")
        targets = list(predictor.targets)
        figures.timeline(
            temporary / f"{path.stem}.png",
            table["time_s"].to_numpy(),
            table[targets].to_numpy(),
            predictor.targets,
            window=length,
            tail=tail,
            title=path.name,
        )
    seen = table[table["face"]]
    return {
        "frames": len(table),
        "frames_with_face": len(seen),
        "damage": video.damage,
    } | {
        target: float(seen[target].median()) if len(seen) else None
        for target in targets
    }


def _predict_video(video, predictor, length, tail, detect_every, folder):
    """Returns one row per frame; NaN where there is no face.

    The pixels of a window at a time are held, so that a video of any length
    fits into memory.
    """
    with progress.bar(
        description="finding faces", unit="frame", total=video.expected_frames
    ) as finding:
        timed = tracking.faces_of_video(
            video,
            watch=lambda *_: finding.update(),
            detector=detection.Detector(),
            landmarker=landmarks.Landmarker(),
            detect_every=detect_every,
            folder=folder,
        )
        # Whose face it is shows at the end of the video, and how long it is.
        first = list(itertools.islice(timed, 1))
    bar = progress.bar(
        itertools.chain(first, timed),
        description="predicting",
        unit="frame",
        total=video.decoded_frames,
    )
    parts, window, begin = [], [], 0
    with bar:
        frames = iter(bar)
        for start, scored, stop in cut(video.decoded_frames, length, tail):
            window = window[start - begin :]
            window += itertools.islice(frames, stop - scored)
            begin, skip = start, scored - start
            _, faces = zip(*window, strict=True)
            values = _predict_window(faces, length, predictor)[skip:]
            times, faces = zip(*window[skip:], strict=True)
            found = np.array([face.found for face in faces])
            boxes = [(*face.box, face.confidence) for face in faces]
            part = pd.DataFrame(
                np.where(found[:, None], np.hstack([boxes, values]), np.nan),
                columns=[*FACE_COLUMNS, *predictor.targets],
            )
            part.insert(0, "time_s", times)
            part.insert(1, "face", found)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _predict_window(faces, length, predictor):
    """Returns [frames of the window, targets]."""
    window = windows.pad(
        {
            "frames": np.stack([face.crop for face in faces]),
            "landmarks": np.stack([face.landmarks for face in faces]),
            "mask": np.array([face.found for face in faces]),
        },
        length,
    )
    batch = {name: values[np.newaxis] for name, values in window.items()}
    return predictor.predict(batch)[0, : len(faces)]


def _write(table, path):
    table = table.assign(face=table["face"].astype(int))
    for name in table.columns.drop("face"):
        form = FORMATS.get(name, "{:.6f}").format
        table[name] = table[name].map(form, na_action="ignore")
    table.to_csv(path, index_label="frame", lineterminator="\n")
