"""What is said in the demo corpus, by whom, and what the raters think.

All that the tables say is drawn here, before a single frame is.
"""

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np

from affwild_omg.corpora import omg
from affwild_omg.corpora.clips import SPLITS
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring.concordance import concordance

FPS = 12.0
# Each video shows a person that no other video shows.
VIDEOS = {"train": 60, "validation": 12, "test": 19}
_UTTERANCES = (4, 8)  # fewest and most of a video

# OMG-Emotion's numbers of the categories in EmotionMaxVote.
ANGER, DISGUST, FEAR, HAPPY, NEUTRAL, SAD, SURPRISE = range(7)

_RATERS = 12  # of whom five see each utterance, as in OMG-Emotion
_VOTES = 5
# Standard deviations: a rater's bias, and the noise of one rating.
_BIAS = {"valence": 0.10, "arousal": 0.06}
_NOISE = {"valence": 0.22, "arousal": 0.14}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mood:
    """What a face acts out for some time."""

    frames: int
    true_valence: float  # in [-0.9, 0.9]
    true_arousal: float  # in [0.05, 0.95]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Utterance(Mood):
    """One planned utterance: what is acted out, and what the raters say."""

    utterance: str  # the clip's file name, such as "utterance_4.mp4"
    start: float  # seconds in the video that it is said to be cut from
    end: float
    valence: float  # in [-1, 1], the raters' mean
    arousal: float  # in [0, 1], the raters' mean
    emotion: int  # 0 to 6, the category that most raters chose


@dataclasses.dataclass(frozen=True, kw_only=True)
class Video:
    """One planned video: one person, a few utterances."""

    split: str  # one of `clips.SPLITS`
    index: int  # in its split, from 0
    video: str  # its name, unique in the corpus
    blend: float  # the second portrait's share of the face; no two are equal
    utterances: tuple[Utterance, ...]  # in order of their start

    @property
    def frames(self) -> int:
        """How many frames its utterances have."""
        return sum(utterance.frames for utterance in self.utterances)


def plan_corpus() -> tuple[Video, ...]:
    """Draws who says what, how they feel, and what the raters think."""
    rng = np.random.default_rng([0, 99])
    blends = spread(rng, sum(VIDEOS.values()))
    # Like the organisers' names; a letter first, lest one be read as 12e345.
    names = rng.choice(range(0xA000, 0x10000), len(blends), replace=False)
    names = [f"{n:04x}{rng.integers(16**5):05x}" for n in names]
    people = iter(zip(names, blends, strict=True))
    bias = {name: rng.normal(0, s, _RATERS) for name, s in _BIAS.items()}
    videos = []
    for number, split in enumerate(SPLITS):
        # Apart from the videos' own seeds: zeros at the end do not count.
        rng = np.random.default_rng([0, 100 + number])
        fewest, most = _UTTERANCES
        sizes = rng.integers(fewest, most + 1, VIDEOS[split])
        truths = iter(_draw_truths(rng, int(sizes.sum())))
        for index, size in enumerate(sizes):
            name, blend = next(people)
            mine = [next(truths) for _ in range(size)]
            videos.append(
                Video(
                    split=split,
                    index=index,
                    video=name,
                    blend=float(blend),
                    utterances=_plan_utterances(rng, mine, bias),
                )
            )
    return tuple(videos)


def spread(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draws `count` numbers in (0, 1), one from each of as many equal bins.

    Small splits then cover their range as well as large ones.
    """
    return (rng.permutation(count) + rng.uniform(0.02, 0.98, count)) / count


def _draw_truths(rng, count: int) -> np.ndarray:
    """Draws [count, 3]: length in seconds, true valence, true arousal.

    All three are independent of each other and of the person. One utterance
    is longer than all others by far.
    """
    normal = statistics.NormalDist(0, 0.45).inv_cdf
    seconds = 2.1 * np.exp([normal(share) for share in spread(rng, count)])
    seconds = np.clip(seconds, 0.6, 10)
    seconds[seconds.argmax()] = rng.uniform(15.1, 17.0)
    valence = -0.9 + 1.8 * spread(rng, count)
    arousal = 0.05 + 0.9 * spread(rng, count)
    return np.stack([seconds, valence, arousal], 1)


def _plan_utterances(rng, truths, bias) -> tuple[Utterance, ...]:
    """Places a video's utterances in time and has them rated."""
    number, clock = int(rng.integers(1, 4)), rng.uniform(0, 20)
    planned = []
    for length, valence, arousal in truths:
        frames = round(length * FPS)
        planned.append(
            Utterance(
                utterance=f"utterance_{number}.mp4",
                start=round(clock, 6),
                end=round(clock + frames / FPS, 6),
                frames=frames,
                true_valence=round(float(valence), 6),
                true_arousal=round(float(arousal), 6),
                **_rate(rng, {"valence": valence, "arousal": arousal}, bias),
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


def _rate(rng, truth, bias) -> dict:
    """Asks five of the raters; returns their mean and their vote."""
    who = rng.choice(_RATERS, _VOTES, replace=False)
    ratings = {}
    for target in TARGETS:
        felt = truth[target] + bias[target][who]
        felt = felt + rng.normal(0, _NOISE[target], _VOTES)
        ratings[target] = np.clip(felt, *omg.LABEL_RANGES[target])
    votes = sorted(
        _name_emotion(rng, *pair)
        for pair in zip(*ratings.values(), strict=True)
    )
    means = {name: round(float(r.mean()), 6) for name, r in ratings.items()}
    return means | {"emotion": statistics.mode(votes)}


def _name_emotion(rng, valence: float, arousal: float) -> int:
    """Names the category that a rater would hear in a pair of values."""
    if abs(valence) < 0.3:
        return SURPRISE if arousal > 0.7 else NEUTRAL
    if valence > 0:
        return HAPPY
    if arousal < 0.45:
        return SAD
    return int(rng.choice([ANGER, DISGUST, FEAR], p=[0.5, 0.2, 0.3]))


def measure_ceiling(videos: Sequence[Video]) -> dict[str, float]:
    """Computes the CCC of the raters' mean with the truth, by target.

    It is that of the test split; no model can be expected to beat it.
    """
    test = [u for v in videos if v.split == "test" for u in v.utterances]
    return {
        target: concordance(
            [getattr(u, f"true_{target}") for u in test],
            [getattr(u, target) for u in test],
        )
        for target in TARGETS
    }
