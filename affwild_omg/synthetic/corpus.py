"""Writes the demo corpus: moving faces whose emotion is known exactly.

No face corpus can be passed around freely, so this one is made: people
drawn by `demo_faces` act out utterances whose valence and arousal are
chosen first. Valence drives mouth corners, brows and cheeks. Arousal drives
how fast and how far things move, so it can't be read from one still. Five
simulated raters then label each utterance, each with a bias and noise of
their own; how well their mean agrees with the truth is the `ceiling` that
no model can be expected to beat.

The corpus lies on disk exactly as OMG-Emotion does: the organisers' tables
beside `<video>/utterance_<n>.mp4`. Two more files are for people only:
`truth.csv`, before any rater, and `demo.json`, which says how it was made.
"""

import csv
import dataclasses
import functools
import json
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from absl import logging

from affwild_omg.cli import errors
from affwild_omg.corpora.clips import SPLITS
from affwild_omg.storage.parallel import parallel_map
from affwild_omg.synthetic import acting, faces
from affwild_omg.synthetic.plan import (
    Ceiling,
    DemoOptions,
    DemoVideo,
    measure_ceiling,
    plan_corpus,
)
from affwild_omg.synthetic.portrait import (
    LandmarkFinder,
    Portrait,
    load_portraits,
)

COLUMNS = (
    "link",
    "start",
    "end",
    "video",
    "utterance",
    "arousal",
    "valence",
    "EmotionMaxVote",
)
TABLES = {
    "train": "omg_TrainVideos.csv",
    "validation": "omg_ValidationVideos.csv",
    "test": "omg_TestVideos_WithLabels.csv",
}
UNLABELLED = "omg_TestVideos_WithoutLabels.csv"
TRUTH = "truth.csv"
ABOUT = "demo.json"

_FORMAT = 1  # raise it when the same options give other frames or labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoSummary:
    """What was written, or found already written.

    Attributes:
        directory: the corpus' root.
        videos, utterances, frames: how many, by split.
        ceiling: the best that a model can be expected to reach.
        reused: whether the corpus was there already.
    """

    directory: pathlib.Path
    videos: dict[str, int]
    utterances: dict[str, int]
    frames: dict[str, int]
    ceiling: Ceiling
    reused: bool


def write_corpus(
    directory: str | pathlib.Path,
    *,
    find_landmarks: LandmarkFinder,
    options: DemoOptions | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> DemoSummary:
    """Writes the demo corpus, whole or not at all.

    The same options give the same labels and the same frames, whatever the
    number of workers. A complete corpus with the same options is left as it
    is. With two workers and more, a script that calls this needs the usual
    `if __name__ == "__main__":`, as processes are spawned.

    Args:
        directory: the corpus' root; it must not exist, or be empty, or hold
            a complete demo corpus with the same options.
        find_landmarks: takes a uint8 RGB image and returns the 68 landmarks
            of its face in pixels, float (68, 2), or None; it is called in
            this process, once for each of the two portraits.
        options: what to make; the defaults where None.
        workers: processes that draw; 1 draws in this process.
        progress: called with (clips written, clips in all) as it goes.

    Returns:
        The summary of what is in the directory now.

    Raises:
        UserError: if the directory holds something else, an argument is out
            of range, a portrait or its face is not found, or no video can
            be written.
    """
    options = DemoOptions() if options is None else options
    if workers < 1:
        raise errors.UserError(f"workers must be at least 1, not {workers}")
    directory = pathlib.Path(directory)
    if is_complete(directory, options):
        logging.info("%s: the demo corpus is there already", directory)
        return _read_summary(directory, reused=True)
    if directory.exists() and (
        not directory.is_dir() or any(directory.iterdir())
    ):
        raise errors.UserError(
            f"{directory}: holds something other than the demo corpus with "
            "these options; remove it or name another directory"
        )
    portraits = load_portraits(find_landmarks)
    videos = plan_corpus(options)
    scratch = _make_sibling(directory)
    try:
        root = scratch / "corpus"
        root.mkdir()
        _draw_videos(root, portraits, videos, options, workers, progress)
        _write_tables(root, videos)
        _write_about(root, videos, options)
        root.replace(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _read_summary(directory, reused=False)


def _make_sibling(directory: pathlib.Path) -> pathlib.Path:
    """Makes a folder from which a rename to `directory` is one step."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        return pathlib.Path(
            tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent)
        )
    except OSError as error:
        raise errors.UserError(
            f"{directory}: no folder can be made here ({error}); name "
            "another directory"
        ) from error


def is_complete(directory: str | pathlib.Path, options: DemoOptions) -> bool:
    """Tells whether the directory holds the whole corpus of these options."""
    directory = pathlib.Path(directory)
    try:
        about = json.loads((directory / ABOUT).read_text("utf-8"))
        with open(directory / TRUTH, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        clips = [f"{row['video']}/{row['utterance']}" for row in rows]
        made = about["format"], about["options"], about["utterances"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return (
        made[:2] == (_FORMAT, dataclasses.asdict(options))
        and len(clips) == sum(made[2].values())
        and all(
            (directory / name).is_file()
            for name in [*TABLES.values(), UNLABELLED, *clips]
        )
    )


def read_ceiling(directory: str | pathlib.Path) -> Ceiling:
    """Reads the ceiling of a written demo corpus.

    Raises:
        UserError: if the directory holds no demo corpus.
    """
    return _read_summary(pathlib.Path(directory), reused=True).ceiling


def _read_summary(directory: pathlib.Path, *, reused: bool) -> DemoSummary:
    path = directory / ABOUT
    try:
        about = json.loads(path.read_text("utf-8"))
        return DemoSummary(
            directory=directory,
            videos=about["videos"],
            utterances=about["utterances"],
            frames=about["frames"],
            ceiling=Ceiling(**about["ceiling"]),
            reused=reused,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UserError(
            f"{path}: no demo corpus is described here ({error}); write the "
            "corpus anew"
        ) from error


def _draw_videos(root, portraits, videos, options, workers, progress) -> None:
    total, done = sum(len(video.utterances) for video in videos), 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    if workers == 1:
        threads = cv2.getNumThreads()
        try:
            cv2.setNumThreads(1)
            for video in videos:
                report(_draw_video(portraits, root, video, options))
        finally:
            cv2.setNumThreads(threads)
        return
    ordered = sorted(videos, key=lambda v: -sum(u.frames for u in v.utterances))
    with parallel_map(
        functools.partial(_draw_in_worker, root, options),
        ordered,
        workers=workers,
        initializer=_start_worker,
        initargs=(portraits,),
    ) as results:
        for _, count in results:
            report(count)


_portraits: list[Portrait] = []  # of a worker process, sent to it once


def _start_worker(portraits: list[Portrait]) -> None:
    _portraits[:] = portraits
    cv2.setNumThreads(1)  # the workers fill the cores already


def _draw_in_worker(root, options, video) -> int:
    return _draw_video(_portraits, root, video, options)


def _draw_video(portraits, root, video: DemoVideo, options) -> int:
    """Writes a video's clips and returns how many they are."""
    rng = np.random.default_rng(
        [options.seed, SPLITS.index(video.split), video.index]
    )
    looks = faces.draw_looks(rng, blend=video.blend)
    person = faces.Person(portraits, looks, options.size)
    habits = acting.draw_habits(rng)
    (root / video.video).mkdir()
    for utterance in video.utterances:
        poses = acting.act(rng, utterance, habits, options.fps)
        camera = faces.Camera(rng, options.size)
        _write_clip(
            root / video.video / utterance.utterance,
            (camera.take(person.render(pose)) for pose in poses),
            options,
        )
    return len(video.utterances)


def _write_clip(path: pathlib.Path, frames, options) -> None:
    writer = cv2.VideoWriter(
        str(path),
        cv2.VideoWriter_fourcc(*"mp4v"),
        options.fps,
        (options.size, options.size),
    )
    if not writer.isOpened():
        raise errors.UserError(
            f"{path}: this OpenCV can't write MPEG-4; install the wheel "
            "opencv-python, which can"
        )
    try:
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()


def _write_tables(root: pathlib.Path, videos: Sequence[DemoVideo]) -> None:
    for split, name in TABLES.items():
        rows = [
            [
                f"demo:{v.video}",
                u.start,
                u.end,
                v.video,
                u.utterance,
                u.arousal,
                u.valence,
                u.emotion,
            ]
            for v in videos
            if v.split == split
            for u in v.utterances
        ]
        _write_table(root / name, COLUMNS, rows)
        if split == "test":
            short = [row[:5] for row in rows]
            _write_table(root / UNLABELLED, COLUMNS[:5], short)
    _write_table(
        root / TRUTH,
        ("video", "utterance", "true_arousal", "true_valence"),
        [
            [v.video, u.utterance, u.true_arousal, u.true_valence]
            for v in videos
            for u in v.utterances
        ],
    )


def _write_table(path: pathlib.Path, columns, rows) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _write_about(root, videos: Sequence[DemoVideo], options) -> None:
    def count(measure) -> dict[str, int]:
        return {
            split: sum(measure(v) for v in videos if v.split == split)
            for split in SPLITS
        }

    about = {
        "format": _FORMAT,
        "options": dataclasses.asdict(options),
        "versions": {"numpy": np.__version__, "opencv": cv2.__version__},
        "videos": count(lambda video: 1),
        "utterances": count(lambda video: len(video.utterances)),
        "frames": count(lambda v: sum(u.frames for u in v.utterances)),
        "ceiling": dataclasses.asdict(measure_ceiling(videos)),
    }
    text = json.dumps(about, indent=2) + "\n"
    (root / ABOUT).write_text(text, encoding="utf-8")
