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

import collections
import concurrent.futures
import csv
import dataclasses
import json
import multiprocessing
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from absl import logging

from affwild_omg import errors
from affwild_omg.corpora import demo_faces
from affwild_omg.corpora.clips import SPLITS

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

# OMG-Emotion's numbers of the categories in EmotionMaxVote.
ANGER, DISGUST, FEAR, HAPPY, NEUTRAL, SAD, SURPRISE = range(7)

_FORMAT = 1  # raise it when the same options give other frames or labels
_RATERS = 12  # of whom five see each utterance, as in OMG-Emotion
_VOTES = 5
# Standard deviations: a rater's bias, and the noise of one rating.
_BIAS = {"valence": 0.10, "arousal": 0.06}
_NOISE = {"valence": 0.22, "arousal": 0.14}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What the demo corpus is made of.

    Attributes:
        seed: from which all else is drawn.
        train_videos, validation_videos, test_videos: videos in each split;
            each video shows a person that no other video shows.
        min_utterances, max_utterances: utterances a video.
        fps: frames a second.
        size: width and height of the frames in pixels, a multiple of 16.
        median_seconds: median length of an utterance.
        shortest_seconds: length of the shortest possible utterance.
        long_utterances: utterances of 15 to 17 s in each split.
    """

    seed: int = 0
    train_videos: int = 28
    validation_videos: int = 8
    test_videos: int = 19
    min_utterances: int = 4
    max_utterances: int = 8
    fps: float = 12.0
    size: int = 256
    median_seconds: float = 2.1
    shortest_seconds: float = 0.6
    long_utterances: int = 1

    def __post_init__(self):
        for name in ("train_videos", "validation_videos", "test_videos"):
            if getattr(self, name) < 1:
                raise errors.UserError(
                    f"{name} must be at least 1, not {getattr(self, name)}"
                )
        if not 1 <= self.min_utterances <= self.max_utterances:
            raise errors.UserError(
                "min_utterances must be at least 1 and at most "
                f"max_utterances ({self.max_utterances}), not "
                f"{self.min_utterances}"
            )
        if self.size < 128 or self.size % 16:
            raise errors.UserError(
                f"size must be a multiple of 16 from 128 on, not {self.size}"
            )
        if not 5 <= self.fps <= 60:
            raise errors.UserError(f"fps must be in [5, 60], not {self.fps}")
        if self.seed < 0 or self.long_utterances < 0:
            raise errors.UserError(
                "seed and long_utterances must not be negative, but are "
                f"{self.seed} and {self.long_utterances}"
            )
        if not 0.2 <= self.shortest_seconds <= self.median_seconds <= 10:
            raise errors.UserError(
                "0.2 <= shortest_seconds <= median_seconds <= 10 must hold, "
                f"not {self.shortest_seconds} and {self.median_seconds}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoUtterance:
    """One planned utterance.

    Attributes:
        utterance: the clip's file name, such as "utterance_4.mp4".
        start, end: seconds in the video it is said to be cut from.
        frames: the clip's length.
        true_valence: in [-0.9, 0.9], what the face acts out.
        true_arousal: in [0.05, 0.95].
        valence: in [-1, 1], the raters' mean.
        arousal: in [0, 1], the raters' mean.
        emotion: 0 to 6, the category that most raters chose.
    """

    utterance: str
    start: float
    end: float
    frames: int
    true_valence: float
    true_arousal: float
    valence: float
    arousal: float
    emotion: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoVideo:
    """One planned video: one person, a few utterances.

    Attributes:
        split: one of `clips.SPLITS`.
        index: the video's number in its split, from 0.
        video: its name, unique in the corpus.
        blend: in [0, 1], the second portrait's share of the person's face;
            no two videos have the same.
        utterances: in order of their start.
    """

    split: str
    index: int
    video: str
    blend: float
    utterances: tuple[DemoUtterance, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The CCC of the raters' mean with the truth over the test split."""

    valence: float
    arousal: float


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
    find_landmarks: demo_faces.LandmarkFinder,
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
        return _summarise(directory, plan_corpus(options), reused=True)
    if directory.exists() and (
        not directory.is_dir() or any(directory.iterdir())
    ):
        raise errors.UserError(
            f"{directory}: holds something other than the demo corpus with "
            "these options; remove it or name another directory"
        )
    portraits = demo_faces.load_portraits(find_landmarks)
    videos = plan_corpus(options)
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(
        tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent)
    )
    try:
        root = scratch / "corpus"
        root.mkdir()
        _draw_videos(root, portraits, videos, options, workers, progress)
        _write_tables(root, videos)
        _write_about(root, videos, options)
        root.replace(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _summarise(directory, videos, reused=False)


def is_complete(directory: str | pathlib.Path, options: DemoOptions) -> bool:
    """Tells whether the directory holds the whole corpus of these options."""
    directory = pathlib.Path(directory)
    try:
        about = json.loads((directory / ABOUT).read_text())
    except (OSError, ValueError):
        return False
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        return False
    if about.get("options") != dataclasses.asdict(options):
        return False
    tables = [*TABLES.values(), UNLABELLED]
    clips = [
        f"{video.video}/{utterance.utterance}"
        for video in plan_corpus(options)
        for utterance in video.utterances
    ]
    return all((directory / name).is_file() for name in [*tables, *clips])


def read_ceiling(directory: str | pathlib.Path) -> Ceiling:
    """Reads the ceiling of a written demo corpus.

    Raises:
        UserError: if the directory holds no demo corpus.
    """
    path = pathlib.Path(directory) / ABOUT
    try:
        return Ceiling(**json.loads(path.read_text())["ceiling"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UserError(
            f"{path}: no demo corpus' ceiling can be read here ({error}); "
            "write the corpus anew"
        ) from error


def measure_ceiling(videos: Sequence[DemoVideo]) -> Ceiling:
    """Computes the raters' agreement with the truth over the test split."""
    test = [u for v in videos if v.split == "test" for u in v.utterances]
    return Ceiling(
        valence=_concordance(
            [u.valence for u in test], [u.true_valence for u in test]
        ),
        arousal=_concordance(
            [u.arousal for u in test], [u.true_arousal for u in test]
        ),
    )


def _concordance(first, second) -> float:
    """CCC with biased moments; 0 where both are constant."""
    first, second = np.array(first), np.array(second)
    apart = first.var() + second.var() + (first.mean() - second.mean()) ** 2
    if apart == 0:
        return 0.0
    together = ((first - first.mean()) * (second - second.mean())).mean()
    return float(2 * together / apart)


# Planning: all that the tables say, before a single frame is drawn.


def plan_corpus(options: DemoOptions) -> tuple[DemoVideo, ...]:
    """Draws who says what, how they feel, and what the raters think."""
    counts = {split: getattr(options, f"{split}_videos") for split in SPLITS}
    rng = np.random.default_rng([options.seed, 99])
    blends = _spread(rng, sum(counts.values()))
    # Nine hexadecimal digits, as the organisers' names have.
    names = rng.choice(16**4, sum(counts.values()), replace=False)
    names = [f"{n:04x}{rng.integers(16**5):05x}" for n in names]
    bias = {
        name: rng.normal(0, spread, _RATERS) for name, spread in _BIAS.items()
    }
    videos = []
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([options.seed, number])
        sizes = rng.integers(
            options.min_utterances, options.max_utterances + 1, counts[split]
        )
        seconds, truths = _draw_truths(rng, int(sizes.sum()), options)
        ends = np.cumsum(sizes)
        for index, (end, size) in enumerate(zip(ends, sizes, strict=True)):
            mine = slice(end - size, end)
            videos.append(
                DemoVideo(
                    split=split,
                    index=index,
                    video=names[len(videos)],
                    blend=float(blends[len(videos)]),
                    utterances=_plan_utterances(
                        rng, seconds[mine], truths[mine], bias, options
                    ),
                )
            )
    return tuple(videos)


def _spread(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draws `count` numbers in (0, 1), one from each of as many equal bins.

    Small splits then cover their range as well as large ones.
    """
    return (rng.permutation(count) + rng.uniform(0.02, 0.98, count)) / count


def _draw_truths(rng, count: int, options: DemoOptions):
    """Draws lengths in seconds (count,) and true valence, arousal (count, 2).

    All three are independent of each other and of the person.
    """
    seconds = options.median_seconds * np.exp(0.45 * rng.standard_normal(count))
    seconds = np.clip(seconds, options.shortest_seconds, 10)
    longest = np.argsort(seconds)[::-1][: options.long_utterances]
    seconds[longest] = rng.uniform(15.1, 17.0, len(longest))
    valence = -0.9 + 1.8 * _spread(rng, count)
    arousal = 0.05 + 0.9 * _spread(rng, count)
    return seconds, np.stack([valence, arousal], 1)


def _plan_utterances(rng, seconds, truths, bias, options):
    """Places a video's utterances in time and has them rated."""
    number, clock = int(rng.integers(1, 4)), rng.uniform(0, 20)
    planned = []
    for length, (valence, arousal) in zip(seconds, truths, strict=True):
        frames = max(2, round(length * options.fps))
        ratings = _rate(rng, valence, arousal, bias)
        planned.append(
            DemoUtterance(
                utterance=f"utterance_{number}.mp4",
                start=round(clock, 6),
                end=round(clock + frames / options.fps, 6),
                frames=frames,
                true_valence=round(float(valence), 6),
                true_arousal=round(float(arousal), 6),
                **ratings,
            )
        )
        # The organisers dropped clips (gaps in the numbers) and cut by
        # speech, so that one clip may begin before the last one ends.
        skipped = int(rng.choice([0, 1, 2], p=[0.75, 0.17, 0.08]))
        number += 1 + skipped
        clock = planned[-1].end + skipped * rng.uniform(1, 8)
        overlap = rng.random() < 0.25 and not skipped
        clock += -0.3 * min(length, 2) if overlap else rng.uniform(0, 1.5)
    return tuple(planned)


def _rate(rng, valence: float, arousal: float, bias) -> dict:
    """Asks five of the raters; returns their mean and their vote."""
    who = rng.choice(_RATERS, _VOTES, replace=False)
    felt = valence + bias["valence"][who]
    felt = felt + rng.normal(0, _NOISE["valence"], _VOTES)
    roused = arousal + bias["arousal"][who]
    roused = roused + rng.normal(0, _NOISE["arousal"], _VOTES)
    felt, roused = np.clip(felt, -1, 1), np.clip(roused, 0, 1)
    votes = [_name_emotion(rng, *pair) for pair in zip(felt, roused, strict=True)]
    return {
        "valence": round(float(felt.mean()), 6),
        "arousal": round(float(roused.mean()), 6),
        "emotion": collections.Counter(sorted(votes)).most_common(1)[0][0],
    }


def _name_emotion(rng, valence: float, arousal: float) -> int:
    """Names the category that a rater would hear in a pair of values."""
    if abs(valence) < 0.3:
        return SURPRISE if arousal > 0.7 else NEUTRAL
    if valence > 0:
        return HAPPY
    if arousal < 0.45:
        return SAD
    return int(rng.choice([ANGER, DISGUST, FEAR], p=[0.5, 0.2, 0.3]))


# Acting: valence and arousal to poses.


@dataclasses.dataclass(frozen=True)
class _Habits:
    """How a person moves whatever they feel: what a model must see past."""

    rest: float  # valence that the face at rest seems to show
    parted: float  # opening of the mouth at rest, units
    stare: float  # widening of the eyes at rest
    tilt: float  # radians
    gains: np.ndarray  # of smile, frown, raise, wide


def _draw_habits(rng: np.random.Generator) -> _Habits:
    return _Habits(
        rest=rng.normal(0, 0.08),
        parted=max(0.0, rng.normal(0.02, 0.03)),
        stare=rng.normal(0, 0.4),
        tilt=rng.normal(0, 0.04),
        gains=rng.uniform(0.85, 1.15, 4),
    )


def _wander(rng, seconds: np.ndarray, hertz: float) -> np.ndarray:
    """A smooth random curve of about unit deviation around `hertz`."""
    curve = np.zeros(len(seconds))
    for _ in range(3):
        speed = 2 * np.pi * hertz * rng.uniform(0.6, 1.5)
        curve += np.sin(speed * seconds + rng.uniform(0, 2 * np.pi))
    return curve * np.sqrt(2 / 3)


def _act(rng, utterance: DemoUtterance, habits: _Habits, fps: float):
    """Turns an utterance's truth into a pose a frame."""
    count, arousal = utterance.frames, utterance.true_arousal
    seconds = np.arange(count) / fps
    # Speed says most about arousal; extent says less, and less surely.
    pace = 0.3 + 2.2 * arousal
    extent = (0.40 + 0.85 * arousal) * np.exp(rng.normal(0, 0.16))
    mood = utterance.true_valence + habits.rest
    mood = mood + 0.10 * _wander(rng, seconds, 0.2 + 0.5 * arousal)
    raised = 0.15 * arousal + 0.35 * extent * np.maximum(
        _wander(rng, seconds, 0.5 * pace), 0
    )
    actions = np.zeros((count, len(demo_faces.ACTIONS)))
    actions[:, 0] = np.maximum(mood, 0) * habits.gains[0]
    actions[:, 1] = np.maximum(-mood, 0) * habits.gains[1]
    actions[:, 2] = raised * habits.gains[2]
    actions[:, 3] = (habits.stare + 0.5 * arousal) * habits.gains[3]
    actions[:, 4] = 0.09 * extent * _wander(rng, seconds, 0.35 * pace)
    actions[:, 5] = 0.07 * extent * _wander(rng, seconds, 0.5 * pace)
    lids = np.maximum(_blink(rng, seconds), 0.22 * np.maximum(mood, 0))
    gape = habits.parted + 0.02 * arousal + 0.19 * extent * _talk(
        rng, seconds, 0.7 + 2.6 * arousal
    )
    roll = habits.tilt + 0.055 * extent * _wander(rng, seconds, 0.3 * pace)
    size = 1 + 0.02 * extent * _wander(rng, seconds, 0.25 * pace)
    shift = 0.07 * extent * np.stack(
        [_wander(rng, seconds, 0.3 * pace), _wander(rng, seconds, 0.5 * pace)],
        1,
    )
    return [
        demo_faces.Pose(
            actions=actions[i],
            gape=gape[i],
            lids=lids[i],
            roll=float(np.clip(roll[i], -0.21, 0.21)),
            size=size[i],
            shift=tuple(shift[i]),
        )
        for i in range(count)
    ]


def _talk(rng, seconds: np.ndarray, hertz: float) -> np.ndarray:
    """The mouth's opening in speech, in [0, 1]: syllables and pauses."""
    hertz = hertz * (1 + 0.2 * _wander(rng, seconds, 0.4))
    step = seconds[1] - seconds[0]
    phase = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.cumsum(hertz) * step
    loud = np.clip(0.75 + 0.3 * _wander(rng, seconds, 0.5), 0.2, 1)
    return loud * (0.5 - 0.5 * np.cos(phase))


def _blink(rng, seconds: np.ndarray) -> np.ndarray:
    lids = np.zeros(len(seconds))
    for moment in rng.uniform(0, 10, rng.poisson(2.5)):
        # Times repeat every 10 s, which is enough for the few long clips.
        apart = np.abs((seconds - moment + 5) % 10 - 5)
        lids = np.maximum(lids, np.clip(1.25 - apart / 0.12, 0, 1))
    return lids


# Writing.


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
            _start_worker(portraits)
            for video in videos:
                report(_draw_video(root, video, options))
        finally:
            cv2.setNumThreads(threads)
            _start_worker(None, threads)
        return
    # Spawned, not forked: the caller may hold TensorFlow and its threads.
    executor = concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(portraits,),
    )
    try:
        # The longest first, so that no worker is left alone with it.
        ordered = sorted(
            videos, key=lambda v: -sum(u.frames for u in v.utterances)
        )
        tasks = [
            executor.submit(_draw_video, root, video, options)
            for video in ordered
        ]
        for task in concurrent.futures.as_completed(tasks):
            report(task.result())
    finally:
        executor.shutdown(cancel_futures=True)


_portraits: list[demo_faces.Portrait] | None = None


def _start_worker(portraits, threads: int = 1) -> None:
    global _portraits
    _portraits = portraits
    cv2.setNumThreads(threads)  # the workers fill the cores already


def _draw_video(root: pathlib.Path, video: DemoVideo, options) -> int:
    """Writes a video's clips and returns how many they are."""
    rng = np.random.default_rng(
        [options.seed, SPLITS.index(video.split), video.index]
    )
    looks = demo_faces.draw_looks(rng, blend=video.blend)
    person = demo_faces.Person(_portraits, looks, options.size)
    habits = _draw_habits(rng)
    (root / video.video).mkdir()
    for utterance in video.utterances:
        poses = _act(rng, utterance, habits, options.fps)
        camera = demo_faces.Camera(rng, options.size)
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


def _count(videos: Sequence[DemoVideo], measure) -> dict[str, int]:
    return {
        split: sum(measure(v) for v in videos if v.split == split)
        for split in SPLITS
    }


def _write_about(root, videos, options) -> None:
    about = {
        "format": _FORMAT,
        "options": dataclasses.asdict(options),
        "versions": {"numpy": np.__version__, "opencv": cv2.__version__},
        "ceiling": dataclasses.asdict(measure_ceiling(videos)),
    }
    text = json.dumps(about, indent=2) + "\n"
    (root / ABOUT).write_text(text, encoding="utf-8")


def _summarise(directory, videos, *, reused: bool) -> DemoSummary:
    return DemoSummary(
        directory=directory,
        videos=_count(videos, lambda v: 1),
        utterances=_count(videos, lambda v: len(v.utterances)),
        frames=_count(videos, lambda v: sum(u.frames for u in v.utterances)),
        ceiling=measure_ceiling(videos),
        reused=reused,
    )
