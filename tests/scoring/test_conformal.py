import dataclasses
import math

import numpy as np
import pytest

from affwild_omg.scoring import conformal
from affwild_omg.scoring.frames import Frames


def test_with_a_value_each_it_is_the_textbook_order_statistic():
    """The ceil(0.9 (n + 1))-th smallest of n, as of n = 19 the 18th."""
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 20)) / 10
    signs = np.where(np.arange(19) % 2, -1, 1)
    width = conformal.half_width(signs * errors, [f"v{i}" for i in range(19)])
    assert width == 1.8


def test_a_long_video_counts_as_one():
    """Of 9 videos all must be covered for 0.9: 0.9 x (9 + 1) = 9."""
    errors = np.concatenate([np.full(1000, 0.1), np.linspace(0.2, 0.9, 8)])
    clusters = ["long"] * 1000 + list("abcdefgh")
    assert conformal.half_width(errors, clusters) == 0.9
    # Of 10, 9.9 videos: the last one's half of two values is not enough.
    errors, clusters = [0.1] * 9 + [0.3, 0.7], [*"abcdefghi", "j", "j"]
    assert conformal.half_width(errors, clusters) == 0.7
    assert conformal.half_width(errors, clusters, 9.5 / 11) == 0.3


@pytest.mark.parametrize("count", [0, 1, 8])
def test_too_few_videos_promise_nothing(count):
    width = conformal.half_width(np.ones(count), [*map(str, range(count))])
    assert width == math.inf


def test_new_videos_are_covered_as_often_as_promised():
    """Videos that differ in how far they are off, and in length."""
    rng = np.random.default_rng(3)

    def draw(videos):
        scales = rng.gamma(2, 1, videos)
        lengths = rng.integers(1, 60, videos)
        errors = rng.normal(0, np.repeat(scales, lengths))
        return errors, np.repeat(np.arange(videos), lengths)

    covered = []
    for _ in range(400):
        width = conformal.half_width(*draw(30))
        errors, clusters = draw(20)
        inside = (np.abs(errors) <= width).astype(float)
        covered.append(
            np.mean([inside[clusters == k].mean() for k in range(20)])
        )
    # At least 0.9, and at most 1 / (30 + 1) more, but for chance.
    assert 0.89 < np.mean(covered) < 0.94


def make_frames(off):
    """Twelve videos of two utterances: three frames, one unlike the others."""
    keys = [f"v{i:02d}/{j}" for i in range(12) for j in "ab"]
    labels = [np.full((3, 1), 0.5)] * len(keys)
    labels[0] = np.full((3, 1), np.nan)
    values = [
        np.array([[0.5 + x], [0.5 - x], [0.5 + 9 * x]])
        for x in np.repeat(off, 2)
    ]
    values[3] = np.full((3, 1), 7.0)
    masks = [np.ones(3, bool)] * len(keys)
    masks[3] = np.zeros(3, bool)
    return Frames(
        keys=keys,
        targets=("valence",),
        values=values,
        mask=masks,
        labels=labels,
        times=[np.arange(3.0)] * len(keys),
        sequence_length=3,
        tail="pad",
    )


def test_frames_and_utterances_have_their_own():
    """What has no label or no face is left out.

    Of 12 videos 11.7 must be covered: all but three tenths of the last one. Its
    frames are off by 0.12, 0.12 and 1.08, and the median of an utterance by
    0.12; the last but one's third frame by 0.99.
    """
    frames = make_frames(np.arange(1, 13) / 100)
    clusters = [key.split("/")[0] for key in frames.keys]
    found = conformal.HalfWidths.measure(frames, clusters)
    assert (found.coverage, found.clusters) == (0.9, 12)
    assert found.frame == {"valence": pytest.approx(1.08)}
    assert found.utterance == {"valence": pytest.approx(0.12)}
    # Half as far off: all; three times: of the first six videos two frames of
    # three, and of the utterances of the first four.
    thrice = make_frames(np.arange(1, 13) * 3 / 100)
    narrow = dataclasses.replace(
        found, frame={"valence": 0.19}, utterance={"valence": 0.12 + 1e-9}
    )
    inside = narrow.inside(thrice, clusters)
    assert inside["utterance"] == {"valence": pytest.approx(4 / 12)}
    assert inside["frame"] == {"valence": pytest.approx(6 * (2 / 3) / 12)}
    assert found.inside(
        make_frames(np.arange(1, 13) / 200), clusters
    ) == dict.fromkeys(("frame", "utterance"), {"valence": 1.0})


def test_of_too_few_videos_there_are_none():
    frames = make_frames(np.arange(1, 13) / 100)
    clusters = [int(key[1:3]) % 8 for key in frames.keys]
    found = conformal.HalfWidths.measure(frames, clusters)
    none = {"valence": None}
    assert (found.frame, found.utterance) == (none, none)
    assert found.inside(frames, clusters) == {"frame": none, "utterance": none}
