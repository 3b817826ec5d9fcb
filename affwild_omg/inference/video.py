"""Prediction: videos become valence and arousal for every frame."""

import array
import contextlib
import csv
import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
from absl import logging

from affwild_omg import figures
from affwild_omg.cli import progress
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data import windows
from affwild_omg.faces import detection, landmarks, tracking
from affwild_omg.faces.video import Video
from affwild_omg.faces.views import Face
from affwild_omg.inference import folder, sources
from affwild_omg.inference.options import PredictionOptions
from affwild_omg.inference.predictor import Predictor, load_predictor
from affwild_omg.paper.windows import cut
from affwild_omg.storage import files
from affwild_omg.weights import model_file

DEFAULT_SEQUENCE_LENGTH = 80
FACE_COLUMNS = ("x", "y", "width", "height", "confidence")


def predict(
    options: PredictionOptions, *, overwrite: bool = False
) -> list[dict]:
    """Predicts videos, frame by frame.

    Writes of each `<stem>.csv` with one row per frame (frame, time_s, face, x,
    y, width, height, confidence, and valence and arousal as the model has them;
    empty where there is no face; boxes in pixels of the video), `<stem>.png`,
    the course of the targets, and at last `<stem>.json`, what was found and
    what made it. A video that cannot be predicted does not end the others.

    Args:
        options: what and where.
        overwrite: replace results of videos of the same names.

    Returns:
        Of each video {"video", "frames", "frames_with_face", "damage", and for
        each target its median over the frames with a face, None without any}.

    Raises:
        UserError: the model or the output cannot be used, or a video; of
            several, when all others are done.
    """
    jobs = folder.plan(
        sources.find(options.video), options, overwrite=overwrite
    )
    summaries, failed, models = [], [], None

    @contextlib.contextmanager
    def told(job):
        """Tells of a video that fails, and goes on, unless it is the only."""
        try:
            yield
        except UserError as error:
            if len(jobs) == 1:
                raise
            line = str(error)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            # One odd film among hundreds must not end the work of a night.
            if len(jobs) == 1:
                raise
            line = f"{job.path}: cannot be predicted ({error!r})"
        else:
            return
        failed.append(job.path.name)
        logging.error("%s", line)

    for number, job in enumerate(jobs, 1):
        video = None
        with told(job):
            video = Video(job.path)
        if video is None:
            continue
        if models is None:  # not before there is something to predict
            models = _Models.load(options)
        count = f" {number}/{len(jobs)}" if len(jobs) > 1 else ""
        with told(job), video:
            summaries.append(_predict(job, video, models, options, count))
    if failed:
        raise UserError(
            f"{len(failed)} of {len(jobs)} videos have no results: "
            f"{listed(failed)}; the lines above say why, and those of the "
            f"others are in {options.output}"
        )
    return summaries


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Models:
    """What is loaded once for all videos."""

    predictor: Predictor
    sha256: str
    detector: detection.Detector
    landmarker: landmarks.Landmarker
    length: int  # frames of a window
    tail: str

    @classmethod
    def load(cls, options):
        predictor = load_predictor(options.model)
        card = predictor.card
        return cls(
            predictor=predictor,
            sha256=model_file.digest(options.model),
            detector=detection.Detector(),
            landmarker=landmarks.Landmarker(),
            length=options.sequence_length
            or (card.sequence_length if card else DEFAULT_SEQUENCE_LENGTH),
            tail=card.tail if card else "pad",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """What is known of a frame in the end.

    Attributes:
        number: of the frame, from 0 on.
        time_s: its time since the first frame, in seconds.
        face: that of the clip's main person.
        values: predicted, [targets], NaN where there is no face.
    """

    number: int
    time_s: float
    face: Face
    values: np.ndarray


def _predict(job, video, models, options, count) -> dict:
    """Writes the results of a video; returns its summary."""
    targets = models.predictor.targets
    course = _Course(targets)
    with files.atomic_directory(
        job.folder, flag="--output", overwrite=True, owned=job.names
    ) as temporary:
        with _Table(temporary / job.name(folder.TABLE), targets) as table:
            for moment in _moments(video, models, options, temporary, count):
                table.add(moment)
                course.add(moment)
        course.draw(temporary / job.name(folder.TIMELINE), job, models)
        sizes = {x.name: x.stat().st_size for x in temporary.iterdir()}
    summary = {"video": job.path.name, **course.summary()}
    summary["damage"] = video.damage
    content = {
        "clip": summary,
        "made_by": folder.made_by(job.path, options, models.sha256),
        "files": dict(sorted(sizes.items())),
    }
    files.write_json(job.folder / job.name(folder.SUMMARY), content)
    return summary


def _moments(video, models, options, place, count) -> Iterator[Moment]:
    """Yields what is known of each frame of a video, in order.

    The pixels of a window at a time are held, so that a video of any length
    fits into memory.
    """
    with progress.bar(
        description=f"finding faces{count}",
        unit="frame",
        total=video.expected_frames,
    ) as finding:
        timed = tracking.faces_of_video(
            video,
            watch=lambda *_: finding.update(),
            detector=models.detector,
            landmarker=models.landmarker,
            detect_every=options.detect_every,
            folder=place,
        )
        # Whose face it is shows at the end of the video, and how long it is.
        first = list(itertools.islice(timed, 1))
    timed = itertools.chain(first, timed)
    window, begin = [], 0
    with progress.bar(
        description=f"predicting{count}",
        unit="frame",
        total=video.decoded_frames,
    ) as predicting:
        for start, scored, stop in cut(
            video.decoded_frames, models.length, models.tail
        ):
            window = window[start - begin :]
            window += itertools.islice(timed, stop - scored)
            begin = start
            _, faces = zip(*window, strict=True)
            values = _predict_window(faces, models)
            predicting.update(stop - scored)
            for number in range(scored, stop):
                time_s, face = window[number - start]
                own = values[number - start]
                yield Moment(
                    number=number,
                    time_s=time_s,
                    face=face,
                    values=own if face.found else np.full_like(own, np.nan),
                )


def _predict_window(faces, models):
    """Returns [frames of the window, targets]."""
    window = windows.pad(
        {
            "frames": np.stack([face.crop for face in faces]),
            "landmarks": np.stack([face.landmarks for face in faces]),
            "mask": np.array([face.found for face in faces]),
        },
        models.length,
    )
    batch = {name: values[np.newaxis] for name, values in window.items()}
    return models.predictor.predict(batch)[0, : len(faces)]


class _Table(contextlib.AbstractContextManager):
    """Writes the table of a video, a row for each frame."""

    def __init__(self, path: pathlib.Path, targets):
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._targets = targets
        self._writer.writerow(
            ["frame", "time_s", "face", *FACE_COLUMNS, *targets]
        )

    def add(self, moment: Moment) -> None:
        face, found = moment.face, []
        if face.found:
            found = [f"{x:.1f}" for x in face.box]
            found += [f"{face.confidence:.4f}"]
            found += [f"{x:.6f}" for x in moment.values]
        else:
            found = [""] * (len(FACE_COLUMNS) + len(self._targets))
        self._writer.writerow(
            [moment.number, f"{moment.time_s:.6f}", int(face.found), *found]
        )

    def __exit__(self, *exception: object) -> None:
        self._file.close()


class _Course:
    """The values of a video over time, 16 bytes a frame, for its picture."""

    def __init__(self, targets):
        self._targets = targets
        self._times = array.array("d")
        self._values = array.array("f")

    def add(self, moment: Moment) -> None:
        self._times.append(moment.time_s)
        self._values.extend(moment.values)

    @property
    def _table(self) -> np.ndarray:
        values = np.frombuffer(self._values, np.float32)
        return values.reshape(-1, len(self._targets))

    def summary(self) -> Mapping:
        values = self._table
        seen = values[~np.isnan(values).all(axis=1)]
        return {"frames": len(values), "frames_with_face": len(seen)} | {
            target: float(np.median(seen[:, i])) if len(seen) else None
            for i, target in enumerate(self._targets)
        }

    def draw(self, path, job, models) -> None:
        figures.timeline(
            path,
            np.frombuffer(self._times),
            self._table,
            self._targets,
            window=models.length,
            tail=models.tail,
            title=job.path.name,
        )
