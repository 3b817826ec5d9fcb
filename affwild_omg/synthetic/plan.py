"""What is said in the demo corpus, by whom, and what the raters think.

All that the tables say is drawn here, before a single frame is.
"""

import collections
import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np

from affwild_omg.cli import errors
from affwild_omg.corpora.clips import SPLITS

# OMG-Emotion's numbers of the categories in EmotionMaxVote.
ANGER, DISGUST, FEAR, HAPPY, NEUTRAL, SAD, SURPRISE = range(7)

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
    train_videos: int = 60
    validation_videos: int = 12
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


def plan_corpus(options: DemoOptions) -> tuple[DemoVideo, ...]:
    """Draws who says what, how they feel, and what the raters think."""
    counts = {split: getattr(options, f"{split}_videos") for split in SPLITS}
    rng = np.random.default_rng([options.seed, 99])
    blends = _spread(rng, sum(counts.values()))
    # Like the organisers' names; a letter first, lest one be read as 12e345.
    names = rng.choice(range(0xA000, 0x10000), len(blends), replace=False)
    names = [f"{n:04x}{rng.integers(16**5):05x}" for n in names]
    bias = {
        name: rng.normal(0, spread, _RATERS) for name, spread in _BIAS.items()
    }
    videos = []
    for number, split in enumerate(SPLITS):
        # Apart from the videos' own seeds: zeros at the end do not count.
        rng = np.random.default_rng([options.seed, 100 + number])
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
    normal = statistics.NormalDist(0, 0.45).inv_cdf
    seconds = np.exp([normal(share) for share in _spread(rng, count)])
    seconds *= options.median_seconds
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
    votes = [
        _name_emotion(rng, *pair) for pair in zip(felt, roused, strict=True)
    ]
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
