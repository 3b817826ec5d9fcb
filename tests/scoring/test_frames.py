import numpy as np

from affwild_omg.scoring.frames import Frames, video_of

NAN = float("nan")
FRAMES = Frames(
    keys=["v.1/a.mp4", "w/b.mp4"],
    targets=("valence", "arousal"),
    values=[np.zeros((7, 2)), np.zeros((3, 2))],
    mask=[np.array([1, 1, 0, 1, 0, 0, 0], bool), np.zeros(3, bool)],
    labels=[
        np.tile([0.25, 1], (7, 1)),
        np.array([[0, 1], [1, 0], [2, NAN]]),
    ],
    fps=[25, 30],
    sequence_length=3,
)


def test_what_frames_tell():
    assert FRAMES.videos == ["v.1", "w"]
    assert FRAMES.lengths.tolist() == [7, 3]
    assert FRAMES.seen.tolist() == [3, 0]
    np.testing.assert_array_equal(
        FRAMES.utterance_labels, [[0.25, 1], [1, NAN]]
    )


def test_each_frame_is_in_one_sequence():
    places = [np.arange(7)[part].tolist() for part in FRAMES.sequences(0)]
    assert places == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(FRAMES.sequences(1)) == 1


def test_video_of_a_key():
    assert video_of("v.1/utterance_1.mp4") == "v.1"
