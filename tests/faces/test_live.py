"""Faces of a world of textures, told while its frames come."""

import weakref
from concurrent.futures import Executor, Future

import numpy as np
import pytest

from affwild_omg.faces import tracking
from affwild_omg.faces.live import LiveTracker
from affwild_omg.faces.views import (
    IMPLAUSIBLE,
    NOT_DETECTED,
    NOT_LOOKED_AT,
    NOT_RECOGNIZED,
)
from tests.faces.world import World, middles, spot


class Beside(Executor):
    """Does its work one by one, each so many frames after it was given."""

    def __init__(self, frames):
        self.frames = frames
        self.waiting = []  # [frames left, future, function, arguments]

    def submit(self, function, *arguments):
        future = Future()
        self.waiting.append([self.frames, future, function, arguments])
        return future

    def tick(self):
        if not self.waiting:
            return
        self.waiting[0][0] -= 1
        if self.waiting[0][0] > 0:
            return
        _, future, function, arguments = self.waiting.pop(0)
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)


def live(world, late=0, **settings):
    """Yields (tracker, faces) after each frame."""
    beside = Beside(late) if late else None
    tracker = LiveTracker(**world.fakes, executor=beside, **settings)
    for frame in world.frames():
        if beside:
            beside.tick()
        yield tracker, tracker.step(frame)


def names(world, **settings):
    return [sorted(faces) for _, faces in live(world, **settings)]


def places(world, **settings):
    """Lists, for each frame, {name: x of the middle, to a pixel}."""
    return [
        {name: round(middles([face])[0][0]) for name, face in faces.items()}
        for _, faces in live(world, **settings)
    ]


def test_a_frame_is_answered_before_the_next_is_read():
    script = [[spot(100 + 2 * n, 100)] for n in range(50)]
    world = World(script)
    for number, (tracker, faces) in enumerate(live(world, detect_every=10)):
        assert world.read == number + 1
        ((name, face),) = faces.items()
        assert name == 1 and tracker.known == {1} and not tracker.reason
        np.testing.assert_allclose(
            middles([face]), [(100 + 2 * number, 100)], atol=0.1
        )
        assert face.crop.shape == (96, 96, 3)
    assert world.batches == [[0], [10], [20], [30], [40]]


@pytest.mark.parametrize("late", [0, 3])
@pytest.mark.parametrize(
    ("gap", "same"), [(1, True), (12, True), (24, True), (40, False)]
)
def test_a_name_is_kept_for_a_second(gap, same, late):
    # It comes back elsewhere.
    script = [[spot(100, 100)]] * 20 + [[]] * gap + [[spot(220, 130)]] * 30
    found = names(World(script), late=late)
    assert found[19] == [1] and found[-1] == [1 if same else 2]
    # Looked for at least four times a second; then the detector, and then the
    # network that tells people apart, take their time.
    first = found.index(found[-1], 20 + gap)
    assert first - 20 - gap <= 6 + 2 * late
    assert found[20 : 20 + gap] == [[]] * gap


def test_who_was_gone_for_longer_is_forgotten():
    script = [[spot(100, 100)]] * 5 + [[]] * 60
    known = [tracker.known for tracker, _ in live(World(script), fps=25.0)]
    # A second, and the six frames in which it might be seen again.
    assert known == [{1}] * (5 + 25 + 6) + [set()] * 29
    known = [tracker.known for tracker, _ in live(World(script), fps=8.0)]
    assert known == [{1}] * (5 + 8 + 2) + [set()] * 50


def test_frames_that_are_left_out_count_as_time():
    world = World([[spot(100, 100)]] * 5 + [[]] * 20)
    tracker = LiveTracker(**world.fakes)
    numbers = [0, 4, 8, 12, 16, *range(20, 100, 4)]
    known = []
    for frame, number in zip(world.frames(), numbers, strict=True):
        tracker.step(frame, number)
        known.append(tracker.known)
    # Last seen at 16.
    assert known == [{1} if x <= 16 + 25 + 6 else set() for x in numbers]


@pytest.mark.parametrize(
    "frame",
    [np.zeros((9, 9, 3), np.float32), np.zeros((9, 9), np.uint8)],
    ids=["floats", "grey"],
)
def test_another_kind_of_frame_is_refused(frame):
    tracker = LiveTracker(**World([]).fakes)
    with pytest.raises(ValueError, match="frame: uint8 .* is needed, not"):
        tracker.step(frame)


@pytest.mark.parametrize("late", [0, 2])
def test_another_one_has_another_name(late):
    script = [[spot(160, 120)]] * 20 + [[spot(160, 120, texture=5)]] * 40
    found = names(World(script), late=late)
    assert found[:20] == [[]] * late + [[1]] * (20 - late)
    assert found[-1] == [2]
    assert [1] not in found[20:]


@pytest.mark.parametrize("late", [0, 3])
def test_two_who_come_back_changed_about_keep_their_names(late):
    def both(x, other_x):
        return [spot(x, 100), spot(other_x, 120, texture=7)]

    script = [both(80, 230)] * 20 + [[]] * 15 + [both(230, 80)] * 20
    found = places(World(script), faces=2, late=late)
    one, other = sorted(found[19], key=found[19].get)
    assert found[19] == {one: 80, other: 230}
    assert found[-1] == {one: 230, other: 80}
    assert all(seen.get(one) != 80 for seen in found[20:])


@pytest.mark.parametrize("late", [0, 3])
@pytest.mark.parametrize("front", [1, 7])
@pytest.mark.parametrize("speed", [3, 5])
def test_two_who_cross_do_not_swap(front, speed, late):
    script = []
    for x in range(60, 260, speed):
        one, other = spot(x, 120), spot(320 - x, 124, texture=7)
        ahead, behind = (one, other) if front == 1 else (other, one)
        hidden = abs(one.x - other.x) < 60
        script.append([ahead] if hidden else [behind, ahead])
    found = places(World(script), faces=2, late=late, detect_every=12)
    start = found[late]
    assert sorted(start.values()) == [60 + speed * late, 260 - speed * late]
    one, other = sorted(start, key=start.get)
    for x, seen in zip(range(60, 260, speed), found, strict=True):
        assert seen.get(one, x) == x and seen.get(other, 320 - x) == 320 - x
    assert set(found[-1]) == {one, other}


def test_the_largest_are_followed():
    small = spot(50, 60, side=60, texture=1)
    middle = spot(140, 160, side=66, texture=3)
    large = spot(240, 100, side=90, texture=5)
    world = World([[small, large, middle]] * 3)
    for count, expected in ((1, [240]), (2, [240, 140]), (3, [240, 140, 50])):
        assert [list(x.values()) for x in places(world, faces=count)] == [
            expected
        ] * 3


@pytest.mark.parametrize(("side", "replaced"), [(74, False), (90, True)])
def test_another_must_be_clearly_larger_to_be_shown_instead(side, replaced):
    first, later = spot(80, 100, side=66), spot(230, 120, side, texture=5)
    world = World([[first]] * 20 + [[first, later]] * 20)
    found = places(world, detect_every=5)
    assert found[19] == {1: 80}
    assert found[-1] == ({2: 230} if replaced else {1: 80})
    assert all(len(seen) == 1 for seen in found)


def test_what_is_seen_late_is_entered_where_it_is_now():
    world = World([[spot(100 + 3 * n, 100)] for n in range(40)])
    found = places(world, late=4, detect_every=10)
    assert found == [{}] * 4 + [{1: 100 + 3 * n} for n in range(4, 40)]
    assert world.detected == [0, 10, 20, 30]


def test_a_late_look_confirms_as_one_at_once():
    # Each key frame is like the last, though the last like the first no more.
    script = [[spot(160, 120, texture=1 + n / 40)] for n in range(40)]
    for late in (0, 3):
        found = names(World(script), late=late, detect_every=10)
        assert found == [[]] * late + [[1]] * (40 - late)
    # Without looks it is lost on the way, and sought.
    world = World(script)
    names(world, detect_every=100)
    assert len(world.detected) > 1


def test_who_is_not_yet_recognized_is_not_named():
    script = [[spot(100, 100)]] * 20 + [[]] * 5 + [[spot(220, 130)]] * 30
    world = World(script)
    told = [
        tracker.reason if not faces else next(iter(faces))
        for tracker, faces in live(world, late=3)
    ]
    # Lost at 20, where a look at once finds nobody; then two frames on.
    assert told[:3] == [NOT_LOOKED_AT] * 3 and told[3:20] == [1] * 17
    back = told.index(1, 20)
    assert told[back - 3 : back] == [NOT_RECOGNIZED] * 3
    assert set(told[20 : back - 3]) == {NOT_DETECTED}
    assert told[back:] == [1] * (55 - back)


def test_one_who_is_missed_for_a_second_is_given_up():
    world = World(
        [[spot(160, 120)]] * 60,
        lambda number, boxes: boxes[:0] if number > 9 else boxes,
    )
    found = names(world, detect_every=10)
    # Sought at 10, 11, 13, 17, 22 (every 6th at most) and so on; 37 is the
    # first look that is a second and more from the one that missed it.
    first = found.index([])
    assert found == [[1]] * first + [[]] * (60 - first)
    assert 10 + 25 <= first <= 10 + 25 + 6


def test_a_frame_without_a_face_tells_why():
    world = World([[spot(100, 100)]] * 2)
    world.distorted = {1}
    assert [tracker.reason for tracker, _ in live(world)] == [IMPLAUSIBLE] * 2
    world = World([[]] * 2)
    assert [tracker.reason for tracker, _ in live(world)] == [NOT_DETECTED] * 2


@pytest.mark.parametrize(("bound", "expected"), [(1000, 25), (6, 6)])
def test_holds_the_frames_since_the_last_look_and_no_more(
    monkeypatch, bound, expected
):
    world = World([[spot(160, 120)]] * 120)
    size = world.frame(0).nbytes
    monkeypatch.setattr(tracking, "HELD_BYTES", bound * size)
    alive, most = weakref.WeakSet(), 0

    class Frame(np.ndarray):  # plain arrays have no hash
        __hash__ = object.__hash__

    tracker = LiveTracker(**world.fakes, executor=Beside(0))  # never done
    for frame in world.frames():
        frame = frame.view(Frame)
        alive.add(frame)
        tracker.step(frame)
        del frame
        most = max(most, len(alive))
    # And the one that is looked at.
    assert most == expected + 1
    # Without an executor none is left.
    tracker = LiveTracker(**world.fakes)
    alive.clear()
    for frame in world.frames():
        frame = frame.view(Frame)
        alive.add(frame)
        tracker.step(frame)
    del frame
    assert len(alive) <= 1


def test_an_error_of_the_detector_reaches_the_next_step():
    world = World([[spot(160, 120)]] * 9)

    def broken(frames):
        raise MemoryError("no more")

    world.detector = broken
    with pytest.raises(MemoryError, match="no more"):
        for number, _ in enumerate(live(world, late=2)):
            assert number < 2
