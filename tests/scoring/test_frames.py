import dataclasses

import numpy as np

from affwild_omg.scoring.frames import Frames, video_of

NAN = float("nan")
FRAMES = Frames(
    keys=["v.1/a.mp4", "w/b.mp4"],
    targets=("valence", "arousal"),
    values=[np.zeros((7, 2)), np.zeros((3, 2))],
    mask=[np.array([1, 1, 0, 1, 0, 0, 0], bool), np.zeros(3, bool)],
    labels=[
        np.array([[NAN, 1]] * 2 + [[0.5, NAN]] * 2 + [[1, 1]] + [[NAN, 0]] * 2),
        np.array([[0, 1], [1, 0], [2, NAN]]),
    ],
    # Frames need not be evenly spaced: the last one lasts 0.1 s.
    times=[np.array([0, 0.05, 0.1, 0.3, 0.4, 0.5, 0.6]), np.arange(3) / 8],
    sequence_length=3,
    tail="pad",
)


def test_what_frames_tell():
    assert FRAMES.videos == ["v.1", "w"]
    assert FRAMES.lengths.tolist() == [7, 3]
    assert FRAMES.seen.tolist() == [3, 0]
    assert FRAMES.durations.tolist() == [0.7, 0.375]


def test_frames_count_for_the_targets_that_they_have_labels_of():
    first, unseen = FRAMES.counted
    assert first.T.tolist() == [
        [False, False, False, True, False, False, False],
        [True, True, False, False, False, False, False],
    ]
    assert not unseen.any()
    # With a face and a label in no frame, as to arousal: those with a face.
    labels = [np.where([1, 0], x, NAN) for x in FRAMES.labels]
    first, _ = dataclasses.replace(FRAMES, labels=labels).counted
    assert first.sum(axis=0).tolist() == [1, 3]


def test_each_frame_is_in_one_sequence():
    places = [np.arange(7)[part].tolist() for part in FRAMES.sequences(0)]
    assert places == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(FRAMES.sequences(1)) == 1


def test_video_of_a_key():
    assert video_of("v.1/utterance_1.mp4") == "v.1"
