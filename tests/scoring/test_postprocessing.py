import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

from affwild_omg.cli.errors import UserError
from affwild_omg.scoring import aggregation, postprocessing
from affwild_omg.scoring.concordance import concordance
from affwild_omg.scoring.frames import Frames
from affwild_omg.scoring.postprocessing import Settings, Steps

NAN = float("nan")
BOTH = ("valence", "arousal")


def test_median_filter_by_hand():
    # Mirrored: 5 | 5 1 9 2 7 | 7.
    filtered = postprocessing.median_filter([5, 1, 9, 2, 7], [True] * 5, 3)
    np.testing.assert_array_equal(filtered, [5, 5, 2, 7, 7])


@pytest.mark.parametrize(("length", "window"), [(200, 3), (200, 81), (12, 81)])
def test_median_filter_against_scipy(length, window):
    values = np.random.default_rng(0).normal(size=length)
    filtered = postprocessing.median_filter(values, [True] * length, window)
    # A second axis: scipy's filter of one axis has had faults.
    expected = ndimage.median_filter(values[:, np.newaxis], (window, 1))[:, 0]
    np.testing.assert_array_equal(filtered, expected)


@pytest.mark.parametrize(("length", "window"), [(1, 81), (10, 501)])
def test_median_filter_far_longer_than_the_sequence(length, window):
    values = np.random.default_rng(1).normal(size=length)
    there_and_back = [*values, *values[::-1]]
    around = np.arange(window) - window // 2
    places = (np.arange(length)[:, np.newaxis] + around) % (2 * length)
    expected = np.median(np.take(there_and_back, places), axis=1)
    filtered = postprocessing.median_filter(values, [True] * length, window)
    np.testing.assert_array_equal(filtered, expected)


def test_masked_frames_neither_count_nor_change():
    values = np.array([NAN, 5, 1, -99, 9, 2, 7, 1e9])
    mask = np.array([0, 1, 1, 0, 1, 1, 1, 0], bool)
    before = values.copy()
    filtered = postprocessing.median_filter(values, mask, 3)
    np.testing.assert_array_equal(filtered, [NAN, 5, 5, -99, 2, 7, 7, 1e9])
    np.testing.assert_array_equal(values, before)
    nothing = postprocessing.median_filter(values, [False] * 8, 3)
    np.testing.assert_array_equal(nothing, before)
    with pytest.raises(ValueError, match="finite"):
        postprocessing.median_filter(values, [True] * 8, 1)


# Videos may be one string, or bear the names of pandas' columns.
@pytest.mark.parametrize(
    "videos", [["a", "a", "a", "b"], "aaab", ["frames"] * 3 + ["values"]]
)
def test_smoothing_by_hand(videos):
    smoothed = postprocessing.smooth_utterances(
        [1, 5, 9, 3], [10, 30, 20, 5], videos, 10
    )
    # (10*1 + 10*5) / 20; neighbours (10*1 + 20*9) / 30 = 19/3, so
    # (30*5 + 10*19/3) / 40; (20*9 + 10*5) / 30; a lone one.
    np.testing.assert_allclose(smoothed, [3, 16 / 3, 23 / 3, 3], rtol=1e-15)


def test_smoothing_takes_videos_as_they_lie():
    random = np.random.default_rng(2)
    videos = ["b", "a", "c", "a", "b", "a", "b", "a"]
    estimates = random.normal(size=8)
    frames = random.integers(1, 50, 8)
    smoothed = postprocessing.smooth_utterances(estimates, frames, videos, 7)
    for video in "abc":
        rows = np.flatnonzero(np.array(videos) == video)
        expected = postprocessing.smooth_utterances(
            estimates[rows], frames[rows], [video] * len(rows), 7
        )
        np.testing.assert_array_equal(smoothed[rows], expected)
    assert smoothed[2] == estimates[2]
    assert smoothed[0] != estimates[0]


def test_smoothing_of_utterances_without_frames():
    def smoothed(frames):
        return list(
            postprocessing.smooth_utterances([2, 7, 4], frames, ["a"] * 3, 5)
        )

    assert smoothed([10, 0, 30]) == [2, 3.5, 4]
    assert smoothed([0, 0, 30]) == [2, 4, 4]
    assert smoothed([0, 0, 0]) == [2, 7, 4]


def test_no_strength_changes_nothing():
    estimates = np.random.default_rng(3).normal(size=5)
    given = estimates.copy(), [3, 0, 1, 0, 0], list("aaabb")
    smoothed = postprocessing.smooth_utterances(*given, 0)
    np.testing.assert_array_equal(smoothed, estimates)
    postprocessing.smooth_utterances(*given, 9)
    np.testing.assert_array_equal(given[0], estimates)


def split(videos, values, mask=None, labels=None, *, length, targets=BOTH):
    """Makes frames; values, mask and labels: of each utterance."""
    none = np.full((len(videos), len(targets)), NAN)
    frames = Frames(
        keys=[f"{video}/{i}" for i, video in enumerate(videos)],
        targets=targets,
        values=values,
        mask=mask or [np.ones(len(x), bool) for x in values],
        labels=[],
        times=[np.arange(len(x)) / 25 for x in values],
        sequence_length=length,
        tail="pad",
    )
    return labelled(frames, none if labels is None else labels)


def labelled(frames, labels):
    """Gives a split other labels."""
    each = zip(labels, frames.mask, strict=True)
    truth = [np.tile(label, (len(mask), 1)) for label, mask in each]
    return dataclasses.replace(frames, labels=truth)


def noise(videos=12, targets=BOTH):
    """Predicts noise: sequences of 30 frames, some of them masked."""
    random = np.random.default_rng(4)
    names = np.repeat(np.arange(videos), random.integers(1, 6, videos))
    lengths = 30 * random.integers(1, 4, len(names))
    return split(
        [f"video{name}" for name in names],
        [random.normal(size=(n, len(targets))) for n in lengths],
        [random.random(n) < 0.8 for n in lengths],
        length=30,
        targets=targets,
    )


def test_apply_by_hand():
    # In sequences of five the valence is filtered 5 5 2 7 7, so 5.2; masked
    # frames apart 3, so 3.
    valence, arousal = (
        [5, 1, 9, 2, 7, 3, 3, 3, NAN],
        [0, 0, 9, 0, 1, 2, 0, 4, 8],
    )
    frames = split(
        ["a", "a", "b"],
        [
            np.stack([valence, arousal], 1),
            np.array([[8, 1], [8, 3]]),
            np.array([[NAN, NAN]]),
        ],
        [np.arange(9) < 8, np.ones(2, bool), np.zeros(1, bool)],
        length=5,
    )
    settings = Settings(
        estimate="mean",
        targets={
            "arousal": Steps(),
            "valence": Steps(median_window=3, smoothing_strength=2),
        },
    )
    # Valence 4.1 and 8 of 8 and 2 frames, with strength 2: (8*4.1 + 2*8) / 10
    # and (2*8 + 2*4.1) / 4; the unseen one has the mean of the two before
    # that. Arousal: (2 + 2) / 2, 2, 2.
    np.testing.assert_allclose(
        postprocessing.apply(settings, frames),
        [[4.88, 2], [6.05, 2], [6.05, 2]],
    )
    filtered = postprocessing.filter_frames(settings, frames)
    np.testing.assert_array_equal(
        filtered.values[0],
        np.stack([[5, 5, 2, 7, 7, 3, 3, 3, NAN], arousal], 1),
    )
    assert np.isnan(filtered.values[2]).all()


def test_a_median_window_is_kept_only_where_it_raises_ccc():
    # Valence has the label in every frame but for a few wild ones, arousal in
    # a few frames only: means of filtered frames tell.
    random = np.random.default_rng(5)
    labels = random.uniform(0, 1, (40, 2))
    utterances = []
    for valence, arousal in labels:
        values = np.zeros((30, 2))
        values[:, 0] = valence
        values[[4, 13, 22], 0] += random.normal(0, 5, 3)
        values[[7, 18, 27], 1] = 10 * arousal
        utterances.append(values)
    videos = [f"video{i}" for i in range(40)]
    frames = split(videos, utterances, labels=labels, length=30)
    settings, search = postprocessing.choose(frames, estimate="mean")
    # All windows take the wild frames away: the first of equals.
    assert settings == Settings(
        estimate="mean",
        targets={"valence": Steps(median_window=3), "arousal": Steps()},
    )
    valence, arousal = search["valence"], search["arousal"]
    assert valence["ccc"] < 0.8
    assert valence["ccc_filtered"] == pytest.approx(1)
    assert arousal["ccc"] == pytest.approx(1)
    assert arousal["ccc_filtered"] == arousal["ccc"]
    # Lone utterances have no neighbours, so smoothing raises nothing.
    assert valence["ccc_smoothed"] == valence["ccc_filtered"]


def test_a_strength_is_kept_only_where_it_raises_ccc():
    random = np.random.default_rng(6)
    videos = np.repeat(np.arange(30), 6)
    rows = len(videos)
    # Valence belongs to the video and is seen through noise; arousal jumps
    # from one utterance to the next and is seen as it is.
    labels = np.stack(
        [random.normal(size=30)[videos], np.arange(rows) % 2], axis=1
    )
    seen = labels + random.normal(size=(rows, 1)) * [1, 0]
    frames = split(
        [f"video{video}" for video in videos],
        [row[np.newaxis].repeat(8, 0) for row in seen],
        labels=labels,
        length=8,
    )
    settings, search = postprocessing.choose(frames)
    assert settings.targets["valence"].median_window == 1
    assert settings.targets["valence"].smoothing_strength > 0
    assert settings.targets["arousal"] == Steps()
    assert search["valence"]["ccc_smoothed"] > search["valence"]["ccc"] + 0.05
    assert search["arousal"]["ccc_smoothed"] == search["arousal"]["ccc"]


def test_the_best_of_all_is_chosen_by_what_apply_gives():
    random = np.random.default_rng(7)
    frames = noise()
    labels = random.normal(size=(len(frames.keys), 2))
    labels[2, 0] = labels[5, 1] = labels[6] = NAN  # who count in the other
    frames = labelled(frames, labels)
    labels = aggregation.utterance_labels(frames)  # whose means are rounded
    settings, search = postprocessing.choose(frames)
    assert json.loads(json.dumps(search)) == search
    for column, name in enumerate(BOTH):

        def score(*steps, column=column):
            steps = Steps(median_window=steps[0], smoothing_strength=steps[1])
            estimates = postprocessing.apply(
                Settings(targets=dict.fromkeys(BOTH, steps)), frames
            )
            known = ~np.isnan(labels[:, column])
            return concordance(labels[known, column], estimates[known, column])

        windows = {x: score(x, 0.0) for x in (1, 3, 5, 9, 15, 25)}
        window, strength = vars(settings.targets[name]).values()
        assert window == max(windows, key=windows.get)
        strengths = {
            x: score(window, x) for x in postprocessing.SMOOTHING_STRENGTHS
        }
        assert strength == max(strengths, key=strengths.get)
        assert list(search[name].values()) == [
            windows[1],
            windows[window],
            strengths[strength],
        ]
    assert any(steps != Steps() for steps in settings.targets.values())


@pytest.mark.parametrize(("length", "widest"), [(4, 5), (5, 5), (80, 81)])
def test_no_window_is_longer_than_a_sequence_needs(length, widest, monkeypatch):
    tried, kept = set(), postprocessing.median_filter

    def keep(values, mask, window):
        tried.add(window)
        return kept(values, mask, window)

    monkeypatch.setattr(postprocessing, "median_filter", keep)
    frames = dataclasses.replace(noise(2), sequence_length=length)
    postprocessing.choose(labelled(frames, np.zeros((len(frames.keys), 2))))
    assert tried == {x for x in postprocessing.MEDIAN_WINDOWS if x <= widest}


def test_one_target_alone():
    frames = noise(targets=("arousal",))
    labels = np.random.default_rng(8).normal(size=(len(frames.keys), 1))
    frames = labelled(frames, labels)
    settings, search = postprocessing.choose(frames)
    assert list(settings.targets) == list(search) == ["arousal"]
    assert postprocessing.apply(settings, frames).shape == labels.shape
    for use in (postprocessing.apply, postprocessing.filter_frames):
        with pytest.raises(UserError, match="for arousal, not for valence"):
            use(settings, noise())
    with pytest.raises(UserError, match="no utterance of the validation set"):
        postprocessing.choose(labelled(frames, np.full_like(labels, NAN)))
    # With a second target that has no label: no step raises its CCC.
    both, found = postprocessing.choose(
        labelled(noise(), np.hstack([np.full_like(labels, NAN), labels]))
    )
    assert both.targets["valence"] == Steps()
    assert found.keys() == {"arousal"}


def test_settings_survive_json():
    settings = Settings(
        estimate="mean",
        targets={
            "valence": Steps(median_window=81),
            "arousal": Steps(median_window=3, smoothing_strength=12.5),
        },
    )
    text = json.dumps(settings.to_dict(), sort_keys=True)
    assert Settings.from_dict(json.loads(text)) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": 1}, "must hold estimate.*more"),
        ({"estimate": "mode"}, "median, mean, not 'mode'"),
        ({"targets": [1]}, "must hold estimate"),
        ({"targets": {"valence": {"window": 3}}}, "window"),
    ],
)
def test_other_contents_are_no_settings(change, message):
    content = Settings(targets={"valence": Steps()}).to_dict()
    with pytest.raises(UserError, match=message):
        Settings.from_dict(content | change)
    del content["targets"]
    with pytest.raises(UserError, match="must hold estimate.*targets"):
        Settings.from_dict(content)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("median_window", x) for x in (4, -3, 3.0, True)),
        *(("smoothing_strength", x) for x in (-1, NAN, None, True)),
    ],
)
def test_steps_out_of_range_are_refused(name, value):
    with pytest.raises(UserError, match=f"^{name} must be"):
        Steps(**{name: value})
