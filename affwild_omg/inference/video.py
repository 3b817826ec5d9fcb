"""Prediction: videos become valence and arousal for every frame."""

import array
import contextlib
import dataclasses
import itertools
import pathlib
import typing
from collections.abc import Iterator

import numpy as np
from absl import logging

from affwild_omg.cli import progress
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data import windows
from affwild_omg.faces import camera, detection, landmarks, tracking
from affwild_omg.faces.annotation import AnnotatedFilm
from affwild_omg.faces.camera import Camera
from affwild_omg.faces.thinning import Thinning
from affwild_omg.faces.video import Video
from affwild_omg.faces.views import LEFT_OUT, Face, View
from affwild_omg.inference import (
    folder,
    formats,
    golden,
    live,
    runtimes,
    sources,
)
from affwild_omg.inference.course import Course
from affwild_omg.inference.moments import Moment, Table
from affwild_omg.inference.options import PredictionOptions
from affwild_omg.inference.precision import choose
from affwild_omg.inference.predictor import Predictor, load_predictor
from affwild_omg.paper.task import TARGETS
from affwild_omg.paper.windows import cut, overlapping
from affwild_omg.scoring.conformal import HalfWidths
from affwild_omg.storage import files
from affwild_omg.weights import model_file

DEFAULT_SEQUENCE_LENGTH = 80


def predict(
    options: PredictionOptions, *, overwrite: bool = False
) -> list[dict]:
    """Predicts videos, frame by frame.

    Writes of each `<stem>.csv` with one row per frame and face (see `Table`;
    docs/inference.md says what the columns mean), `<stem>.png`, the course of
    the targets, and at last `<stem>.json`, what was found and what made it. A
    video that cannot be predicted does not end the others.

    Args:
        options: what and where.
        overwrite: replace results of videos of the same names.

    Returns:
        Of each video its name, "video", what was lost of it, "damage", and what
        `Course.clip` sums up.

    Raises:
        UserError: the model or the output cannot be used, or a video; of
            several, when all others are done.
    """
    # On another machine, "auto" may be something else.
    runtime = runtimes.choose(options.model, options.runtime)
    precision = choose(options.precision, runtime)
    options = dataclasses.replace(options, precision=precision, runtime=runtime)
    films = sources.find(options.video, live=options.mode == "stream")
    if options.annotate and camera.index_of(films[0]) is not None:
        raise UserError(
            f"--annotate draws on a film, and of {films[0]} none is kept; "
            "leave the flag out, or record a film first"
        )
    jobs = folder.plan(films, options, overwrite=overwrite)
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
        video, index = None, camera.index_of(job.path)
        with told(job):
            video = Video(job.path) if index is None else Camera(index)
        if video is None:
            continue
        if models is None:  # not before there is something to predict
            models = Models.load(options)
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
class Models:
    """What is loaded once for all videos."""

    predictor: Predictor
    sha256: str
    detector: detection.Detector
    landmarker: landmarks.Landmarker
    length: int  # frames of a window
    tail: str
    half_widths: HalfWidths | None  # of values that are as those measured

    @classmethod
    def load(cls, options):
        predictor = load_predictor(
            options.model, precision=options.precision, runtime=options.runtime
        )
        if options.verify:
            for step in golden.verify(options.model, predictor):
                logging.info("as where it was exported: %s", step)
        if "abaw" in (options.format or ()) and predictor.targets != TARGETS:
            raise UserError(
                "--format=abaw needs valence and arousal, and --model="
                f"{options.model} predicts {predictor.targets[0]} alone"
            )
        card, treatment = predictor.card, predictor.treatment
        if treatment.max_fps:
            logging.info(
                "the model sees at most %g frames a second, as in training; a "
                "frame between has the values of the one before it",
                treatment.max_fps,
            )
        own = card.sequence_length if card else DEFAULT_SEQUENCE_LENGTH
        length = options.sequence_length or own
        as_measured = (
            options.mode == "windows"
            and length == own
            and options.precision == "float32"
        )
        return cls(
            predictor=predictor,
            sha256=model_file.digest(options.model),
            detector=detection.Detector(),
            landmarker=landmarks.load(treatment.landmarks),
            length=length,
            tail=card.tail if card else "pad",
            half_widths=predictor.half_widths if as_measured else None,
        )


def _predict(job, video, models, options, count) -> dict:
    """Writes the results of a video; returns what they sum up to."""
    targets = models.predictor.targets
    stream, latency = None, {}
    with (
        files.atomic_directory(
            job.folder, flag="--output", overwrite=True, owned=job.owned
        ) as temporary,
        contextlib.ExitStack() as stack,
    ):
        if options.mode == "stream":
            stream = stack.enter_context(_stream(video, models, options))
            found = live.moments(video, stream, targets, count)
        else:
            found = moments(video, models, options, temporary, count)
        # A thread that reads the film ends before the film is closed.
        stack.enter_context(contextlib.closing(found))
        course = Course(targets, main=None if stream else 1)
        with contextlib.ExitStack() as opened:
            writers = [course]
            for writer in _writers(job, temporary, options, models):
                writers.append(opened.enter_context(writer))
            for moment in found:
                for writer in writers:
                    writer.add(moment)
        if not len(course.times):
            raise UserError(
                f"--video={job.path} was stopped before its first frame; there "
                "are no results"
            )
        if isinstance(video, Camera):  # the frames of a film come in chunks
            latency = {"latency": stream.latency()}
        course.draw(
            temporary / job.name(folder.TIMELINE),
            job.path.name,
            window=models.length,
            tail=models.tail,
            max_fps=models.predictor.treatment.max_fps,
        )
        if "elan" in (options.format or ()):
            path = temporary / job.name(folder.FORMATS["elan"])
            formats.write_elan(path, course, job.path, targets)
        sizes = {x.name: x.stat().st_size for x in temporary.iterdir()}
    clip = {"video": job.path.name, "damage": video.damage, **course.clip()}
    clip |= latency
    _tell_unlike(job.path.name, clip["crops"], models.predictor.card)
    content = {
        "clip": clip,
        "made_by": folder.made_by(job.path, options, models.sha256),
        "files": dict(sorted(sizes.items())),
        "seconds": course.seconds(),
    }
    if models.half_widths:
        content["half_widths"] = dataclasses.asdict(models.half_widths)
    files.write_json(job.folder / job.name(folder.SUMMARY), content)
    return clip


def _tell_unlike(name, crops, card):
    """Warns of a video whose crops are unlike those of training."""
    known = (card and card.crops) or {}
    unlike = [
        f"{what} {crops[what]:.3g} (in training {low:.3g} to {high:.3g})"
        for what, (low, high) in known.items()
        if crops.get(what) is not None and not low <= crops[what] <= high
    ]
    if unlike:
        logging.warning(
            "%s: its faces look unlike those of training, and their values may "
            "be off; medians: %s",
            name,
            ", ".join(unlike),
        )


def _stream(video, models, options):
    """Opens a stream for a film; a camera does not wait for the detector."""
    return models.predictor.stream(
        faces=options.faces,
        fps=video.fps,
        detect_every=options.detect_every,
        wait=isinstance(video, Video),
        detector=models.detector,
        landmarker=models.landmarker,
    )


def _writers(job, place, options, models):
    """Yields what writes a file of a video, frame by frame."""
    targets, widths = models.predictor.targets, models.half_widths
    yield Table(
        place / job.name(folder.TABLE), targets, widths and widths.frame
    )
    if options.annotate:
        yield AnnotatedFilm(
            job.path, place / job.name(folder.ANNOTATED), targets
        )
    for name, writer in (("fex", formats.Fex), ("abaw", formats.Abaw)):
        if name in (options.format or ()):
            path = place / job.name(folder.FORMATS[name])
            yield writer(path, job.path, targets)


def moments(
    video: Video,
    models: Models,
    options: PredictionOptions,
    place: pathlib.Path,
    count: str = "",
) -> Iterator[Moment]:
    """Predicts a video, frame by frame.

    The pixels of a window at a time are held, so that a video of any length
    fits into memory. The network sees the frames that the model's rate keeps;
    those between have the values of the one before, of whom it shows.

    Args:
        video: an open one.
        models: what `Models.load` loads.
        options: how.
        place: folder for the file that holds the faces meanwhile.
        count: to be shown behind what is being done.

    Yields:
        Exactly one Moment for each frame, in order.
    """
    numbers = array.array("q")  # in the film, which may have lost some
    thinning, kept = Thinning(models.predictor.treatment.max_fps), []
    with progress.bar(
        description=f"finding faces{count}",
        unit="frame",
        total=video.expected_frames,
    ) as finding:

        def watch(time_s, _):
            numbers.append(video.number)
            kept.append(thinning.keeps(time_s))
            finding.update()

        timed = tracking.people_of_video(
            video,
            most=options.faces,
            watch=watch,
            detector=models.detector,
            landmarker=models.landmarker,
            detect_every=options.detect_every,
            folder=place,
        )
        # Whose face it is shows at the end of the video, and how long it is.
        first = list(itertools.islice(timed, 1))
    timed = zip(numbers, kept, itertools.chain(first, timed), strict=True)
    steps = _steps(timed)
    window, begin = [], 0
    with progress.bar(
        description=f"predicting{count}",
        unit="frame",
        total=video.decoded_frames,
    ) as predicting:
        for start, scored, stop in _cut(sum(kept), models, options.mode):
            window = window[start - begin :]
            window += itertools.islice(steps, stop - scored)
            begin = start
            views = [step[0].view for step in window]
            values = _predict_window(views, scored - start, models)
            for index in range(scored - start, stop - start):
                for number, time_s, view in window[index]:
                    faces = {
                        track: face
                        for track, face in view.faces.items()
                        if track in views[index].faces
                    }
                    lost = view.faces and not faces
                    yield Moment(
                        number=number,
                        time_s=time_s,
                        faces=faces,
                        values={x: values[x][index] for x in faces},
                        reason=LEFT_OUT if lost else view.reason,
                    )
                    predicting.update()


class _Seen(typing.NamedTuple):
    """What a frame of a film shows."""

    number: int
    time_s: float
    view: View


def _steps(frames):
    """Yields each frame that the network sees, and those up to the next."""
    step = []
    for number, kept, (time_s, view) in frames:
        if kept and step:
            yield step
            step = []
        step.append(_Seen(number, time_s, view))
    if step:
        yield step


def _cut(frames, models, mode):
    """Returns the windows of so many frames."""
    if mode == "overlap":
        return overlapping(frames, models.length)
    return cut(frames, models.length, models.tail)


def _predict_window(views, scored, models):
    """Returns {track: [frames, targets]} of those seen from a frame on."""
    tracks = sorted({track for view in views[scored:] for track in view.faces})
    if not tracks:
        return {}
    missing = Face.missing()
    batch = []
    for track in tracks:
        faces = [view.faces.get(track, missing) for view in views]
        window = windows.pad(
            {
                "frames": models.predictor.as_learned(
                    np.stack([face.crop for face in faces])
                ),
                "landmarks": np.stack([face.landmarks for face in faces]),
                "mask": np.array([face.found for face in faces]),
            },
            models.length,
        )
        batch.append(window)
    inputs = {name: np.stack([x[name] for x in batch]) for name in batch[0]}
    values = models.predictor.predict(inputs)[:, : len(views)]
    return dict(zip(tracks, values, strict=True))
