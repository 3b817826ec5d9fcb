"""One clip at a time: it becomes a records file and a report."""

import collections
import contextlib
import functools
import json
import pathlib

from absl import logging

from affwild_omg import figures
from affwild_omg.cli.errors import UserError
from affwild_omg.corpora.clips import Clip
from affwild_omg.corpora.folders import CROPS
from affwild_omg.corpora.problems import Problems
from affwild_omg.data import records
from affwild_omg.faces import detection, landmarks, pictures, tracking, views
from affwild_omg.faces.thinning import Thinning
from affwild_omg.faces.video import Video
from affwild_omg.preparation import staging
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.storage import files

_tracking = {}  # a worker process' own settings, made by `start`


@functools.cache
def start(landmarker: str, detect_every: int | None) -> None:
    """Makes this process a worker, once.

    Args:
        landmarker: whose model finds landmarks, see `landmarks.load`.
        detect_every: frames from one face detection to the next; None without
            a detector, for ready crops.
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
    _tracking.update(landmarker=landmarks.load(landmarker))
    if detect_every is not None:
        _tracking.update(
            detector=detection.Detector(), detect_every=detect_every
        )


def settings(options: PreparationOptions) -> tuple[str, int | None]:
    """Returns what `start` needs to know."""
    ready = options.frames == CROPS
    return options.landmarks, None if ready else options.detect_every


def failed(clip: Clip, how: str) -> dict:
    """Returns the report of a clip that killed the process of `prepare`."""
    reason = (
        f"{clip.path}: its process died ({how}) each time; free memory, "
        "convert the file again, or leave it out"
    )
    return _facts(clip) | {"reason": reason}


def _facts(clip):
    """Returns what a report says of any clip."""
    facts = {
        "split": clip.split,
        "video": clip.video,
        "utterance": clip.utterance,
        "found": clip.found,
        "source": clip.source,
        "person": clip.person,
    }
    return {name: x for name, x in facts.items() if x not in (None, "")}


def prepare(
    folder: pathlib.Path, options: PreparationOptions, clip: Clip
) -> dict:
    """Prepares a clip, in memory that does not depend on its length.

    Args:
        folder: the staging folder, see `affwild_omg.preparation.staging`.
        options: of the preparation.
        clip: what to prepare.

    Returns:
        Its report: split, video, utterance, source and person where they are
        known, found (whether its file is there), and either what
        `records.write_clip` says, without_face (how many frames for which
        reason) and, if so, frames_left_out (how many, for --max_fps), damaged
        (what was lost), problems (lines on labels and files that do not fit)
        or no_preview (why none could be drawn); or the reason why it cannot be
        prepared, which is not kept for the next run: it may be the disk's, and
        pass.

    Raises:
        UserError: its files changed or vanished while they were read.
        OSError: it could not be read, which may pass, or nothing be written.
    """
    start(*settings(options))
    path, preview_path, report_path = staging.paths(folder, clip)
    inputs = staging.inputs(clip)
    for old in (path, preview_path, report_path):  # from another row or file
        old.unlink(missing_ok=True)
    report = _facts(clip)
    sheet = None
    if options.preview:
        sheet = figures.FaceSheet(clip.key, views.REASONS)
    reasons, thinning = collections.Counter(), Thinning(options.max_fps)
    try:
        with _open(clip, options) as video:
            # What is held meanwhile lies beside the records, or here.
            place = None if files.is_remote(path) else path.parent
            faces = (
                found
                for found in _faces(video, clip, options, place, sheet)
                if thinning.keeps(found[1])
            )
            report |= records.write_clip(
                path,
                clip.video,
                clip.utterance,
                _frames(faces, clip, reasons),
                options.crop_format,
            )
    except UserError as error:
        return report | {"reason": str(error)}
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # One odd clip among thousands must not end the work of days.
        path.unlink(missing_ok=True)
        reason = (
            f"{clip.path}: cannot be prepared ({error!r}); convert the file "
            "again, or leave it out"
        )
        return report | {"reason": reason}
    # What vanishes meanwhile looks like a film that is cut off.
    if video.damage and staging.inputs(clip) != inputs:
        raise UserError(
            f"{clip.path} changed while it was read, or is gone; once --source "
            "is whole, the same command goes on"
        )
    if reasons:
        report["without_face"] = dict(reasons)
    if thinning.left_out:
        report["frames_left_out"] = thinning.left_out
    if video.damage:
        report["damaged"] = video.damage
    if problems := _problems(video, clip):
        report["problems"] = problems
    if sheet:
        preview_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with files.whole(preview_path, contended=True) as partial:
                sheet.write(partial)
        except OSError:
            raise
        except Exception as error:
            preview_path.unlink(missing_ok=True)
            report["no_preview"] = repr(error)
    report_path.parent.mkdir(parents=True, exist_ok=True)
    finished = {"inputs": inputs, "report": report}
    with files.whole(report_path, contended=True) as partial:
        partial.write_text(json.dumps(finished), encoding="utf-8")
    return report


def _open(clip, options):
    if clip.pictures is None:
        return Video(clip.path)
    return contextlib.nullcontext(
        pictures.Pictures(clip.path, clip.pictures, options.fps)
    )


def _problems(video, clip):
    """Returns what does not fit between a clip's labels and its frames."""
    problems = Problems()
    damage = None
    if clip.pictures is None:
        frames, damage = video.number + 1, video.damage
    else:
        frames = len(clip.pictures)
        for path in video.unreadable:
            problems.add(
                f"{path}: not a picture; its frame counts as without a face",
                clip.path,
            )
    # Crops end where the last face was found.
    short = clip.pictures is None and frames < clip.rows
    if clip.frame_labels and (short or frames > clip.rows):
        problems.add(
            f"{clip.path}: {frames} frames, but {clip.rows} rows of labels; "
            "label i is that of frame i"
            f"{', as far as damage lets them be counted' if damage else ''}, "
            "and what is beyond has none"
        )
    return problems.lines


def _frames(faces, clip, reasons):
    """Yields a clip's frames for its records, and counts those without face."""
    nothing = float("nan")
    labels = tuple(
        nothing if label is None else label
        for label in (clip.valence, clip.arousal)
    )
    for number, time_s, face in faces:
        if not face.found:
            reasons[face.reason] += 1
        if clip.frame_labels:
            known = number < clip.rows
            labels = tuple(
                column[number] if known else nothing
                for column in clip.frame_labels
            )
        yield records.Frame(
            time_s=time_s,
            image=face.crop,
            landmarks=face.landmarks,
            face=face.found,
            labels=labels,
        )


def _faces(video, clip, options, folder, sheet):
    """Yields (number in the film, time_s, face) of each frame of a clip."""
    numbers = collections.deque()

    def watch(time_s, frame):
        numbers.append(video.number)
        if sheet:
            sheet.watch(time_s, frame)

    def numbered(faces):
        for time_s, face in faces:
            if sheet:
                sheet.add(face)
            yield numbers.popleft(), time_s, face

    if options.frames == CROPS:
        faces = pictures.faces_of_crops(video, _tracking["landmarker"], watch)
    else:
        faces = tracking.faces_of_video(
            video, watch=watch, folder=folder, side=clip.side, **_tracking
        )
    if clip.pictures is None:
        return numbered(faces)
    frames = max(len(clip.pictures), clip.rows)
    return pictures.with_gaps(numbered(faces), options.fps, frames)
