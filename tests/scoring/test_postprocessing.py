import json

import numpy as np
import pytest
from scipy import ndimage

from affwild_omg import protocol
from affwild_omg.errors import UserError
from affwild_omg.scoring import postprocessing
from affwild_omg.scoring.concordance import concordance
from affwild_omg.scoring.postprocessing import Clips, Settings, Steps

NAN = float("nan")
BOTH = ("valence", "arousal")


def test_median_filter_by_hand():
    # Mirrored: 5 | 5 1 9 2 7 | 7.
    filtered = postprocessing.median_filter([5, 1, 9, 2, 7], [True] * 5, 3)
    np.testing.assert_array_equal(filtered, [5, 5, 2, 7, 7])


@pytest.mark.parametrize("window", [1, 3, 5, 41, 81])
@pytest.mark.parametrize("length", [12, 39, 79, 80, 200])
def test_median_filter_against_scipy(length, window):
    values = np.random.default_rng(0).normal(size=length)
    filtered = postprocessing.median_filter(values, [True] * length, window)
    # A second axis: scipy's filter of one axis has had faults.
    expected = ndimage.median_filter(values[:, np.newaxis], (window, 1))[:, 0]
    np.testing.assert_array_equal(filtered, expected)


@pytest.mark.parametrize("length", [1, 2, 3, 10, 26])
@pytest.mark.parametrize("window", [3, 81, 501])
def test_median_filter_far_longer_than_the_sequence(length, window):
    values = np.random.default_rng(1).normal(size=length)
    there_and_back = [*values, *values[::-1]]
    half = window // 2
    expected = [
        np.median(
            [
                there_and_back[place % (2 * length)]
                for place in range(frame - half, frame + half + 1)
            ]
        )
        for frame in range(length)
    ]
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


@pytest.mark.parametrize(
    ("values", "mask", "window", "message"),
    [
        ([1, 2], [True] * 2, 2, "odd"),
        ([1, 2], [True] * 2, 0, "odd"),
        ([1, 2], [True] * 2, 3.0, "odd"),
        ([1, 2], [True], 3, "must be"),
        ([[1, 2]], [[True, True]], 3, "must be"),
        ([1, NAN], [True] * 2, 1, "finite"),
    ],
)
def test_unfit_sequences_are_refused(values, mask, window, message):
    with pytest.raises(ValueError, match=message):
        postprocessing.median_filter(values, mask, window)


def test_smoothing_by_hand():
    smoothed = postprocessing.smooth_utterances(
        [1, 5, 9, 3], [10, 30, 20, 5], ["a", "a", "a", "b"], 10
    )
    # (10*1 + 10*5) / 20; neighbours (10*1 + 20*9) / 30 = 19/3, so
    # (30*5 + 10*19/3) / 40; (20*9 + 10*5) / 30; a lone one.
    np.testing.assert_allclose(smoothed, [3, 16 / 3, 23 / 3, 3], rtol=1e-15)


def test_smoothing_takes_videos_as_they_lie_and_targets_apart():
    random = np.random.default_rng(2)
    videos = ["b", "a", "c", "a", "b", "a", "b", "a"]
    estimates = random.normal(size=(8, 2))
    frames = random.integers(1, 50, 8)
    smoothed = postprocessing.smooth_utterances(estimates, frames, videos, 7)
    for column in range(2):
        for video in "abc":
            rows = np.flatnonzero(np.array(videos) == video)
            expected = postprocessing.smooth_utterances(
                estimates[rows, column], frames[rows], [video] * len(rows), 7
            )
            np.testing.assert_array_equal(smoothed[rows, column], expected)
    np.testing.assert_array_equal(smoothed[2], estimates[2])


def test_fewer_frames_give_way_more():
    def moved(frames, strength):
        return postprocessing.smooth_utterances(
            [0, 1, 0], [50, frames, 50], ["a"] * 3, strength
        )[1]

    shares = [moved(frames, 20) for frames in (200, 80, 20, 5, 1)]
    assert shares == sorted(shares, reverse=True)
    assert moved(20, 20) == 0.5
    assert moved(20, 1e12) == pytest.approx(0, abs=1e-10)


def test_smoothing_of_utterances_without_frames():
    def smoothed(frames):
        return list(
            postprocessing.smooth_utterances([2, 7, 4], frames, ["a"] * 3, 5)
        )

    assert smoothed([10, 0, 30]) == [2, 3.5, 4]
    assert smoothed([0, 0, 30]) == [2, 4, 4]
    assert smoothed([0, 0, 0]) == [2, 7, 4]


def test_no_strength_changes_nothing():
    estimates = np.random.default_rng(3).normal(size=(5, 2))
    frames = [3, 0, 1, 0, 0]
    smoothed = postprocessing.smooth_utterances(estimates, frames, "aaabb", 0)
    np.testing.assert_array_equal(smoothed, estimates)
    before = estimates.copy()
    postprocessing.smooth_utterances(estimates, frames, "aaabb", 9)
    np.testing.assert_array_equal(estimates, before)


@pytest.mark.parametrize(
    ("estimates", "frames", "strength", "message"),
    [
        ([1, 2], [1, 2], -1, "strength"),
        ([1, 2], [1, 2], NAN, "strength"),
        ([1, 2], [1, 2], float("inf"), "strength"),
        ([1, 2], [1, -2], 1, "negative"),
        ([1, NAN], [1, 2], 1, "finite"),
        ([1, 2], [1], 1, "one for each"),
        ([1, 2, 3], [1, 2, 3], 1, "one for each"),
    ],
)
def test_unfit_utterances_are_refused(estimates, frames, strength, message):
    with pytest.raises(ValueError, match=message):
        postprocessing.smooth_utterances(
            estimates, frames, ["a", "a"], strength
        )


def noise(seed=4, videos=12, targets=BOTH):
    """Predicts nothing: sequences of 30 frames, some of them masked."""
    random = np.random.default_rng(seed)
    names = np.repeat(np.arange(videos), random.integers(1, 6, videos))
    return Clips(
        videos=[f"video{name}" for name in names],
        sequences=[
            [
                (
                    random.normal(size=(30, len(targets))).astype(np.float32),
                    random.random(30) < 0.8,
                )
                for _ in range(random.integers(1, 4))
            ]
            for _ in names
        ],
        targets=targets,
    )


@pytest.mark.parametrize("estimate", ["median", "mean"])
def test_without_steps_estimates_are_those_of_the_evaluation(estimate):
    clips = noise()
    clips.sequences[3] = [(np.zeros((30, 2)), np.zeros(30, bool))]
    keys = [f"{video}/{i}" for i, video in enumerate(clips.videos)]
    batches = [
        {
            "key": [key.encode()],
            "frames": values[np.newaxis],
            "landmarks": None,
            "mask": mask[np.newaxis],
            "labels": np.zeros((1, 30, 2)),
            "length": [30],
        }
        for key, sequences in zip(keys, clips.sequences, strict=True)
        for values, mask in sequences
    ]
    expected = protocol.predict_utterances(
        lambda inputs: inputs["frames"], batches, [0, 1], estimate=estimate
    )
    assert expected.keys == keys
    settings = Settings(
        estimate=estimate, targets={name: Steps() for name in BOTH}
    )
    np.testing.assert_array_equal(
        postprocessing.apply(settings, clips), expected.predictions
    )
    np.testing.assert_array_equal(clips.frames, expected.seen)


def test_apply_by_hand():
    def sequence(valence, arousal, mask):
        return np.stack([valence, arousal], axis=1), np.array(mask, bool)

    clips = Clips(
        videos=["a", "a", "b"],
        sequences=[
            [
                # Filtered 5 5 2 7 7, so 5.2; masked frames apart 3, so 3.
                sequence([5, 1, 9, 2, 7], [0, 0, 9, 0, 1], [1, 1, 1, 1, 1]),
                sequence([3, 3, 3, NAN], [2, 0, 4, NAN], [1, 1, 1, 0]),
            ],
            [sequence([8, 8], [1, 3], [1, 1])],
            [sequence([NAN], [NAN], [0])],
        ],
        targets=BOTH,
    )
    np.testing.assert_array_equal(clips.frames, [8, 2, 0])
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
        postprocessing.apply(settings, clips),
        [[4.88, 2], [6.05, 2], [6.05, 2]],
    )


def median_helps_valence_and_hurts_arousal():
    """Returns clips of videos of one utterance each, and their labels.

    Valence has the label in every frame but for a few wild ones, arousal has
    it in a few frames only: means of filtered frames tell.
    """
    random = np.random.default_rng(5)
    labels = random.uniform(0, 1, (40, 2))
    sequences = []
    for valence, arousal in labels:
        values = np.zeros((30, 2))
        values[:, 0] = valence
        values[[4, 13, 22], 0] += random.normal(0, 5, 3)
        values[[7, 18, 27], 1] = 10 * arousal
        sequences.append([(values, np.ones(30, bool))])
    clips = Clips(
        videos=[f"video{i}" for i in range(40)],
        sequences=sequences,
        targets=BOTH,
    )
    return clips, labels


def test_a_median_window_is_kept_only_where_it_raises_ccc():
    clips, labels = median_helps_valence_and_hurts_arousal()
    settings, trace = postprocessing.choose(
        clips, labels, estimate="mean", windows=(3, 5, 9)
    )
    # All windows take the wild frames away: the first of equals.
    assert settings == Settings(
        estimate="mean",
        targets={"valence": Steps(median_window=3), "arousal": Steps()},
    )
    valence, arousal = trace["valence"], trace["arousal"]
    assert valence["ccc"] < 0.8
    assert valence["ccc_filtered"] == pytest.approx(1)
    assert arousal["ccc"] == pytest.approx(1)
    assert arousal["ccc_filtered"] == arousal["ccc"]
    assert dict(arousal["median_windows"])[3] == 0
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
    clips = Clips(
        videos=[f"video{video}" for video in videos],
        sequences=[
            [(row[np.newaxis].repeat(8, 0), [True] * 8)] for row in seen
        ],
        targets=BOTH,
    )
    settings, trace = postprocessing.choose(clips, labels)
    assert settings.targets["valence"].median_window == 1
    assert settings.targets["valence"].smoothing_strength > 0
    assert settings.targets["arousal"] == Steps()
    assert trace["valence"]["ccc_smoothed"] > trace["valence"]["ccc"] + 0.05
    assert trace["arousal"]["ccc_smoothed"] == trace["arousal"]["ccc"]


def test_the_trace_is_what_apply_gives():
    clips = noise()
    random = np.random.default_rng(7)
    labels = random.normal(size=(len(clips.videos), 2))
    labels[2, 0] = labels[5, 1] = NAN  # neither target of theirs counts
    known = np.isfinite(labels).all(axis=1)
    settings, trace = postprocessing.choose(
        clips, labels, windows=(3, 9, 81), strengths=(10, 40.5)
    )
    assert json.loads(json.dumps(trace)) == trace

    def score(name, **steps):
        column = BOTH.index(name)
        estimates = postprocessing.apply(
            Settings(targets=dict.fromkeys(BOTH, Steps(**steps))), clips
        )
        return concordance(labels[known, column], estimates[known, column])

    for name in BOTH:
        steps, seen = settings.targets[name], trace[name]
        windows = dict(seen["median_windows"])
        assert windows == {
            window: score(name, median_window=window)
            for window in (1, 3, 9, 81)
        }
        strengths = dict(seen["smoothing_strengths"])
        assert strengths == {
            strength: score(
                name,
                median_window=steps.median_window,
                smoothing_strength=strength,
            )
            for strength in (0, 10, 40.5)
        }
        assert seen["ccc"] == windows[1]
        assert seen["ccc_filtered"] == windows[steps.median_window]
        assert seen["ccc_filtered"] == max(windows.values())
        assert seen["ccc_smoothed"] == strengths[steps.smoothing_strength]
        assert seen["ccc_smoothed"] == max(strengths.values())
    assert any(steps != Steps() for steps in settings.targets.values())


def test_one_target_alone():
    clips = noise(targets=("arousal",))
    labels = np.random.default_rng(8).normal(size=(len(clips.videos), 1))
    settings, trace = postprocessing.choose(clips, labels, windows=(3,))
    assert list(settings.targets) == list(trace) == ["arousal"]
    assert postprocessing.apply(settings, clips).shape == labels.shape
    with pytest.raises(UserError, match="chosen for arousal, not for valence"):
        postprocessing.apply(settings, noise())


def test_unfit_splits_are_refused():
    clips = noise()
    rows = len(clips.videos)
    with pytest.raises(ValueError, match="labels must be"):
        postprocessing.choose(clips, np.zeros((rows, 1)))
    with pytest.raises(ValueError, match="no utterance"):
        postprocessing.choose(clips, np.full((rows, 2), [NAN, 1]))
    labels = np.zeros((rows, 2))
    with pytest.raises(UserError, match="median_window must be"):
        postprocessing.choose(clips, labels, windows=(3, 4))
    with pytest.raises(UserError, match="smoothing_strength must be"):
        postprocessing.choose(clips, labels, strengths=(-1,))
    with pytest.raises(UserError, match="estimate must be"):
        postprocessing.choose(clips, labels, estimate="mode")
    with pytest.raises(ValueError, match="one for each"):
        Clips(videos=["a"], sequences=[], targets=BOTH)
    for values, mask in (
        (np.zeros((3, 1)), np.ones(3, bool)),
        (np.zeros((3, 2)), np.ones(2, bool)),
        (np.zeros(3), np.ones(3, bool)),
    ):
        with pytest.raises(ValueError, match=r"values must be \[time, 2\]"):
            Clips(videos=["a"], sequences=[[(values, mask)]], targets=BOTH)


def test_settings_survive_json():
    settings = Settings(
        estimate="mean",
        targets={
            "valence": Steps(median_window=np.int64(81)),
            "arousal": Steps(median_window=3, smoothing_strength=12.5),
        },
    )
    text = json.dumps(settings.to_dict(), sort_keys=True)
    assert Settings.from_dict(json.loads(text)) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: [content], "the settings must hold"),
        (lambda content: {}, "estimate, targets, not nothing"),
        (lambda content: content | {"more": 1}, "estimate, targets, more"),
        (lambda content: content | {"estimate": "mode"}, "'mode'"),
        (lambda content: content | {"estimate": []}, "median, mean"),
        (lambda content: content | {"targets": {}}, "targets must hold"),
        (lambda content: content | {"targets": [1]}, "targets must hold"),
        (lambda content: content | {"targets": {"valence": 3}}, "valence: its"),
    ],
)
def test_other_contents_are_no_settings(change, message):
    content = Settings(targets={"valence": Steps()}).to_dict()
    with pytest.raises(UserError, match=message):
        Settings.from_dict(change(content))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("median_window", 4),
        ("median_window", -3),
        ("median_window", 3.0),
        ("median_window", True),
        ("median_window", "3"),
        ("smoothing_strength", -1),
        ("smoothing_strength", NAN),
        ("smoothing_strength", None),
        ("smoothing_strength", True),
        ("window", 3),
    ],
)
def test_steps_out_of_range_are_no_settings(name, value):
    content = Settings(targets={"valence": Steps()}).to_dict()
    content["targets"]["valence"][name] = value
    with pytest.raises(UserError, match=f"^valence: .*{name}"):
        Settings.from_dict(content)
