"""Values of frames as they come, against one pass over the same crops."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from affwild_omg.paper.treatment import Treatment
from tests.faces.world import World, spot

FRAMES = 60


@pytest.fixture(scope="module")
def predictor(small_run):
    from affwild_omg.inference.predictor import load_predictor

    return load_predictor(small_run[0].workdir)


@pytest.fixture(scope="module")
def one_pass(small_run):
    """The plain network, on all frames of one person at once."""
    from affwild_omg.weights import model_file

    model, _ = model_file.load_model(small_run[0].workdir)

    def one_pass(faces):
        inputs = {
            "frames": np.stack([face.crop for face in faces])[np.newaxis],
            "landmarks": np.stack([face.landmarks for face in faces])[None],
            "mask": np.ones((1, len(faces)), bool),
        }
        return model(inputs, training=False).numpy()[0]

    return one_pass


def streamed(predictor, script, **settings):
    """Returns the answers of each frame; the detector is waited for."""
    world = World(script)
    with predictor.stream(wait=True, **world.fakes, **settings) as stream:
        return [stream.step(frame) for frame in world.frames()]


def course(answers, track):
    """Returns the faces of a track, and its values [frames, 2]."""
    own = [x for frame in answers for x in frame if x.track == track]
    return [x.face for x in own], np.array([x[1:3] for x in own])


def changing(frames=FRAMES):
    """A face whose picture changes slowly, so that its values do."""
    return [[spot(100, 100, texture=1 + n / 80)] for n in range(frames)]


def test_a_stream_gives_what_one_pass_does(predictor, one_pass):
    answers = streamed(predictor, changing(), detect_every=10)
    faces, values = course(answers, 1)
    assert len(faces) == FRAMES
    np.testing.assert_allclose(values, one_pass(faces), atol=1e-5)
    # Without the state it would be something else.
    alone = np.concatenate([one_pass([face]) for face in faces])
    assert np.abs(values[1:] - alone[1:]).min(axis=0).max() > 1e-4


def test_crops_are_as_those_that_the_model_learned_from(predictor, one_pass):
    from affwild_omg.data import records

    plain, before = course(streamed(predictor, changing(10)), 1)
    card = dataclasses.replace(
        predictor.card, treatment=Treatment(crop_format="jpeg")
    )
    learned = dataclasses.replace(predictor, card=card)
    faces, values = course(streamed(learned, changing(10)), 1)
    kept = []
    for one, other in zip(faces, plain, strict=True):
        np.testing.assert_array_equal(one.crop, other.crop)  # the user's
        crop = records.as_kept(one.crop, "jpeg")
        kept.append(dataclasses.replace(one, crop=crop))
    np.testing.assert_allclose(values, one_pass(kept), atol=1e-5)
    assert np.abs(values - before).max() > 1e-4


def test_people_have_states_of_their_own(predictor, one_pass):
    both = [
        [*one, spot(230, 140, 60, texture=9 - n / 80)]
        for n, one in enumerate(changing())
    ]
    answers = streamed(predictor, both, faces=2, detect_every=10)
    assert [[x.track for x in frame] for frame in answers] == [[1, 2]] * FRAMES
    for track in (1, 2):
        faces, values = course(answers, track)
        np.testing.assert_allclose(values, one_pass(faces), atol=1e-5)
        # As if nobody else were there.
        script = [[frame[track - 1]] for frame in both]
        _, alone = course(streamed(predictor, script, detect_every=10), 1)
        np.testing.assert_allclose(values, alone, atol=1e-5)


@pytest.mark.parametrize(("gap", "kept"), [(12, True), (45, False)])
def test_frames_without_a_face_leave_the_state(predictor, one_pass, gap, kept):
    script = [[spot(100, 100, texture=1 + n / 400)] for n in range(90)]
    script[20 : 20 + gap] = [[]] * gap
    world, answers = World(script), []
    stream = predictor.stream(wait=True, **world.fakes)
    for frame in world.frames():
        answers.append(stream.step(frame))
        assert bool(stream.reason) != bool(answers[-1])
    before, values = course(answers[:20], 1)
    assert len(before) == 20 and answers[20 : 20 + gap] == [[]] * gap
    after, later = course(answers[20 + gap :], 1 if kept else 2)
    assert after
    expected = one_pass(before + after)[20:] if kept else one_pass(after)
    np.testing.assert_allclose(values, one_pass(before), atol=1e-5)
    np.testing.assert_allclose(later, expected, atol=1e-5)


def test_an_answer_may_come_before_the_detectors(predictor):
    world, may_look = World([[spot(100, 100)]] * 3), threading.Event()

    def slow(frames):
        may_look.wait(10)
        return world.detector(frames)

    with predictor.stream(detector=slow, landmarker=world.landmarker) as stream:
        first, second, third = world.frames()
        assert stream.step(first) == stream.step(second) == []
        may_look.set()
        stream._tracker._at_work[0].result(10)
        (answer,) = stream.step(third)
    assert answer.track == 1 and np.isfinite(answer.valence)


def test_a_model_of_one_target_gives_no_other(predictor):
    one = dataclasses.replace(
        predictor,
        targets=("arousal",),
        step=lambda inputs, state: (np.full((1, 1, 1), 0.25), state),
    )
    ((answer,),) = streamed(one, [[spot(100, 100)]])
    assert np.isnan(answer.valence) and answer.arousal == 0.25


def test_latencies_leave_out_the_start_and_empty_frames(predictor, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    world = World([[]] + [[spot(100, 100)]] * 101)

    def step(inputs, state):
        clock[0] += 0.010
        return np.zeros((1, 1, 2)), state

    def detector(frames):
        clock[0] += 0.070
        return world.detector(frames)

    slow = dataclasses.replace(predictor, step=step)
    parts = world.fakes | {"detector": detector}
    with slow.stream(wait=True, **parts) as stream:
        assert stream.latency() == {"network": None, "frame": None}
        for frame in world.frames():
            stream.step(frame)
        # 101 frames with a face, of which 5 are looked at: 1, 24, 48, ...
        assert world.detected == [0, 1, 24, 48, 72, 96]
        assert stream.latency() == {
            "network": {"p50_ms": 10.0, "p99_ms": 10.0},
            "frame": {"p50_ms": 10.0, "p99_ms": 80.0},
        }


def test_a_file_is_a_stream_at_its_own_pace(predictor, monkeypatch):
    from affwild_omg.inference import predictor as predicting

    world = World(changing(30))
    asked = {}

    class Film:
        fps = 12.5

        def __init__(self, path):
            asked["path"] = path

        def __enter__(self):
            return self

        def __exit__(self, *_):
            asked["closed"] = True

        def __iter__(self):
            for self.number, frame in enumerate(world.frames()):
                yield self.number / 10, frame

    monkeypatch.setattr(predicting, "Video", Film)
    results = list(predictor.video("film.mp4", **world.fakes))
    assert asked == {"path": "film.mp4", "closed": True}
    assert [time_s for time_s, _ in results] == [n / 10 for n in range(30)]
    expected = course(streamed(predictor, changing(30), fps=12.5), 1)[1]
    found = course([answers for _, answers in results], 1)[1]
    assert len(found) == 30
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_chunks_of_a_film_have_the_values_of_steps(predictor):
    from affwild_omg.faces.live import LiveTracker

    script = [[spot(100, 100, texture=1 + n / 400)] for n in range(61)]
    for n in (*range(3, 21), *range(42, 61)):
        script[n].append(spot(230, 140, 60, texture=9 - n / 80))
    script[23:33] = [[]] * 10
    settings = {"fps": 10.0, "faces": 2, "detect_every": 5}
    world = World(script)
    tracker = LiveTracker(**world.fakes, **settings)
    known = [(tracker.step(x), tracker.known)[1] for x in world.frames()]
    forgotten = next(n for n in range(61) if 2 not in known[n] and n > 20)
    # Nothing of this is where a chunk begins; the last has five frames.
    assert all(n % 8 for n in (5, 21, 23, 33, forgotten, 45, 61))

    def taking(how):
        shapes = []

        def step(inputs, state):
            shapes.append(inputs["mask"].shape)
            return predictor.step(inputs, state)

        world = World(script)
        recording = dataclasses.replace(predictor, step=step)
        with recording.stream(wait=True, **world.fakes, **settings) as stream:
            found = [
                (place, [x[:3] for x in answers], stream.reason)
                for place, answers in how(stream, enumerate(world.frames()))
            ]
            assert set(stream._states) == {1, 3}
            return found, shapes[1:], stream.latency()

    def by_steps(stream, frames):
        return ((n, stream.step(frame)) for n, frame in frames)

    def by_chunks(stream, frames):
        found = stream.video((n, n / 10, frame) for n, frame in frames)
        for n, time_s, answers in found:
            assert time_s == n / 10
            yield n, answers

    one_by_one, _, times = taking(by_steps)
    in_chunks, shapes, no_times = taking(by_chunks)
    assert times["frame"] and no_times == {"network": None, "frame": None}
    people = [{x[0] for x in answers} for _, answers, _ in one_by_one]
    assert people[4:6] == [{1}, {1, 2}] and people[20:22] == [{1, 2}, {1}]
    assert people[23:33] == [set()] * 10
    assert people[33:45] == [{1}] * 12 and people[45:] == [{1, 3}] * 16
    assert [bool(x) for *_, x in one_by_one] == [not x for x in people]
    for chunk, step in zip(in_chunks, one_by_one, strict=True):
        assert (chunk[0], chunk[2]) == (step[0], step[2])
        np.testing.assert_allclose(chunk[1], step[1], atol=1e-5)
    # Frames 24 to 31 show nobody.
    assert shapes == [(2, 8)] * 3 + [(1, 8), (2, 8), (2, 8), (2, 5)]
    assert taking(by_chunks)[0] == in_chunks


def thinned(predictor, max_fps):
    """Returns the predictor of a model that sees fewer frames a second."""
    card = dataclasses.replace(
        predictor.card, treatment=Treatment(max_fps=max_fps)
    )
    return dataclasses.replace(predictor, card=card)


def test_the_network_sees_as_many_frames_a_second_as_in_training(
    predictor, one_pass
):
    script = changing(30)
    script[4].append(spot(230, 140, 60, texture=9))
    script[5:10] = [x + [spot(230, 140, 60, texture=9)] for x in script[5:10]]
    settings = {"fps": 10.0, "faces": 2, "detect_every": 1}
    # In quarters of a second: 0, 0.4, 0.8, 1.2, ...
    kept = [*(0, 2, 4, 7, 9, 12, 14, 17, 19, 22, 24, 27, 29)]
    few = thinned(predictor, 4.0)
    answers = streamed(few, script, **settings)
    shown = [[x.track for x in frame] for frame in answers]
    assert shown == [[1]] * 4 + [[1, 2]] * 6 + [[1]] * 20
    faces, values = course(answers, 1)
    expected = one_pass([faces[n] for n in kept])
    places = np.searchsorted(kept, range(30), side="right") - 1
    np.testing.assert_allclose(values, expected[places], atol=1e-5)
    # Each frame has its own place, whatever the network sees.
    boxes = [x.face.box for x in streamed(predictor, script, **settings)[3]]
    assert [x.face.box for x in answers[3]] == boxes

    world = World(script)
    with few.stream(wait=True, **world.fakes, **settings) as stream:
        # Its times count, not what it says of its rate.
        frames = ((n, n / 5, x) for n, x in enumerate(world.frames()))
        chunks = [answers for *_, answers in stream.video(frames)]
    assert [[x.track for x in frame] for frame in chunks] == shown
    kept = [n for n in range(30) if n % 5 != 3]  # 0, 0.8, 1.6, 2.4, 3.2, 4, ...
    expected = one_pass([faces[n] for n in kept])
    places = np.searchsorted(kept, range(30), side="right") - 1
    _, values = course(chunks, 1)
    np.testing.assert_allclose(values, expected[places], atol=1e-5)


def test_who_is_seen_between_frames_of_the_network_has_no_values(predictor):
    world = World([[]] + [[spot(100, 100)]] * 4)
    few = thinned(predictor, 4.0)
    parts = {"fps": 10.0, "detect_every": 1} | world.fakes
    with few.stream(wait=True, **parts) as stream:
        found = [(stream.step(x), stream.reason) for x in world.frames()]
    assert [len(answers) for answers, _ in found] == [0, 0, 1, 1, 1]
    assert [reason for _, reason in found] == [
        "no face detected",
        "seen only in a frame that the model leaves out",
        *[""] * 3,
    ]


def test_frames_that_a_film_lost_count(predictor):
    script = (
        [[spot(100, 100, 60)]] * 10 + [[]] * 3 + [[spot(100, 100, 60)]] * 10
    )

    def tracks(numbers):
        world = World(script)
        times = [n / 10 for n in numbers]
        frames = zip(numbers, times, world.frames(), strict=True)
        with predictor.stream(wait=True, fps=10.0, **world.fakes) as stream:
            return {
                answer.track
                for *_, answers in stream.video(frames)
                for answer in answers
            }

    assert tracks(range(23)) == {1}  # gone for less than a second
    assert tracks([*range(12), *range(72, 83)]) == {1, 2}
