"""Tracks made by hand, whose people are known."""

import dataclasses
import errno
import weakref
from tempfile import gettempdir

import numpy as np
import pytest

from affwild_omg.faces import people
from affwild_omg.faces.alignment import TEMPLATE_ANCHORS
from affwild_omg.faces.views import ANOTHER, NOT_DETECTED, Face, View

# The template's, turned by 60 degrees: half as wide, the nose 10 pixels aside.
TURNED_ANCHORS = [[40, 36], [54, 36], [57.5, 50.5], [42, 66], [53, 66]]


def face(person, side=50.0, x=0.0, turned=True):
    """Makes a face whose crop's first pixels place the person on a line."""
    crop = np.zeros((96, 96, 3), np.uint8)
    crop[0, 0, 0] = person
    landmarks = np.zeros((68, 2), np.float32)
    for row, place in zip(
        [slice(36, 42), slice(42, 48), 30, 48, 54],
        TURNED_ANCHORS if turned else TEMPLATE_ANCHORS,
        strict=True,
    ):
        landmarks[row] = place
    return Face(True, (x, 0.0, side, side), 1.0, crop, landmarks)


def recognizer(crop):
    """Tells people apart by 0.1 a step of their first pixel."""
    return crop[0, 0, :1] / 10


def film(*tracks, frames=100):
    """Makes views from (number, first frame, last frame, face)."""
    views = [View(NOT_DETECTED) for _ in range(frames)]
    for number, first, last, seen in tracks:
        for view in views[first : last + 1]:
            view.faces[number] = seen
    return views


def persons(views, portion=1000):
    """Returns who is shown in each frame, 0 for nobody."""
    faces = list(people.main_faces(views, recognizer, portion))
    assert len(faces) == len(views)
    for shown, view in zip(faces, views, strict=True):
        missing = ANOTHER if view.faces else NOT_DETECTED
        assert shown.reason == ("" if shown.found else missing)
    return [int(shown.crop[0, 0, 0]) for shown in faces]


@pytest.mark.parametrize(("side", "main"), [(99.0, 20), (101.0, 40)])
def test_area_times_time_decides(side, main):
    # 100 frames of 50 x 50 against 25 of twice the side.
    views = film((0, 0, 99, face(20)), (1, 10, 34, face(40, side, x=200)))
    expected = [
        main if main in (20,) or 10 <= i < 35 else 0 for i in range(100)
    ]
    assert persons(views) == expected


@pytest.mark.parametrize(
    ("other", "x", "gap", "turned", "same"),
    [
        (25, 300, 40, False, True),  # 0.5 away
        (27, 300, 40, True, False),  # 0.7 away
        (27, 10, 25, True, True),  # turned, in its place, just now
        (27, 10, 25, False, False),  # not turned
        (27, 10, 26, True, False),  # too long ago
        (27, 30, 25, True, False),  # beside its place
        (28, 10, 25, True, False),  # 0.8 away
    ],
)
@pytest.mark.parametrize("first_turned", [False, True])
def test_a_track_goes_on_as_another_of_its_person(
    other, x, gap, turned, same, first_turned
):
    start = 49 + gap
    first = face(20, turned=turned and first_turned)
    second = face(other, 40, x=x, turned=turned)
    views = film((0, 0, 49, first), (1, start, 99, second))
    assert persons(views)[start:] == [other if same else 0] * (100 - start)
    # Backwards too: the larger is known first.
    views = film((1, 0, 49, face(20, 40, x=x)), (0, start, 99, face(other, 90)))
    if x == 300:
        assert persons(views)[:50] == [20 if same else 0] * 50


def test_two_at_a_time_are_two_people_however_alike():
    views = film((0, 0, 99, face(20, 60)), (1, 50, 99, face(21, 50, x=100)))
    assert persons(views) == [20] * 100
    # Nor can a third track be the one that it is seen beside.
    views = film(
        (0, 0, 39, face(20, 60)),
        (1, 30, 99, face(21, 50, x=100)),
        (2, 60, 99, face(22, 60)),
    )
    assert persons(views) == [20] * 40 + [0] * 20 + [22] * 40


def test_the_most_alike_is_chosen():
    views = film(
        (0, 0, 19, face(20)),
        (1, 10, 19, face(25, x=100)),
        (2, 50, 54, face(24, x=300)),
    )
    assert persons(views) == [20] * 20 + [0] * 80


def test_the_most_frontal_crop_stands_for_a_track():
    frontal = face(25, turned=False)
    views = film((0, 0, 49, face(20)), (1, 70, 99, face(90, x=300)))
    views[80].faces[1] = frontal
    assert persons(views)[70:80] == [90] * 10


@pytest.mark.parametrize("portion", [1, 7, 30])
def test_people_are_known_from_portion_to_portion(portion):
    views = film(
        (0, 0, 39, face(20)),
        (1, 20, 69, face(40, 30, x=100)),
        (2, 60, 99, face(22, x=300)),
    )
    expected = [20] * 40 + [0] * 20 + [22] * 40
    assert persons(views, portion) == expected


@pytest.mark.parametrize("portion", [1, 11, 50, 51, 52, 75, 1500])
@pytest.mark.parametrize(
    ("start", "x", "same"),
    [
        (52, 10, True),  # in its place, just now
        (74, 10, True),
        (75, 10, False),  # too long ago
        (52, 30, False),  # beside its place
    ],
)
def test_a_border_forgets_no_place(portion, start, x, same):
    views = film((0, 0, 49, face(20)), (1, start, 99, face(27, 40, x=x)))
    expected = [20] * 50 + [0] * (start - 50) + [27 if same else 0] * 100
    assert persons(views, portion) == expected[:100]


@pytest.mark.parametrize("portion", [1, 10, 1000])
def test_one_who_overtakes_late_is_the_one_from_the_start(portion):
    views = film((0, 0, 29, face(20)), (1, 15, 99, face(40, x=100)))
    assert persons(views, portion) == [0] * 15 + [40] * 85


def test_a_crowd_is_forgotten_but_for_the_largest():
    views = film(
        (0, 0, 9, face(0, 90)),
        *((n, n, n, face(5 + 7 * n % 250)) for n in range(10, 90)),
        (99, 90, 99, face(1, 80)),
    )
    shown = persons(views, portion=1)
    assert shown[90:] == [1] * 10


def test_no_recognition_while_there_is_one_track():
    def never(crop):
        raise AssertionError("recognized")

    views = film((0, 0, 49, face(20)), (1, 5, 9, face(40, x=100)))
    assert len(list(people.main_faces(views, never, 20))) == 100


def test_no_portion_is_held_while_the_next_is_read():
    alive, most = weakref.WeakSet(), 0

    def views():
        nonlocal most
        for _ in range(100):
            view = View(NOT_DETECTED, {0: face(20)})
            alive.add(view.faces[0])
            most = max(most, len(alive))
            yield view

    for shown in people.main_faces(views(), recognizer, 10):
        assert shown.found
    # One is in the hands of this test, one just being made.
    assert most <= 10 + 2


def test_a_full_disk_is_told_with_its_folder(monkeypatch, tmp_path):
    def full(dir):
        return open("/dev/full", "w+b")

    monkeypatch.setattr(people.tempfile, "TemporaryFile", full)
    views = film((0, 0, 99, face(20)))
    for folder, told in ((tmp_path, str(tmp_path)), (None, gettempdir())):
        with pytest.raises(OSError, match="No space left") as raised:
            list(people.main_faces(views, recognizer, 20, folder))
        assert raised.value.filename == told
        assert raised.value.errno == errno.ENOSPC


def test_an_error_of_another_file_is_told_as_it_is():
    def views():
        yield View(NOT_DETECTED)
        raise FileNotFoundError(errno.ENOENT, "No such file", "film.mp4")

    with pytest.raises(FileNotFoundError, match="film.mp4"):
        list(people.main_faces(views(), recognizer, 20))


def on_side(views, side, portion=1000):
    shown = people.main_faces(views, recognizer, portion, side=side)
    return [int(x.crop[0, 0, 0]) for x in shown]


def moving(views, number, seen, places):
    """Enters a face that is at another place in each frame."""
    for view, x in zip(views, places, strict=True):
        box = (float(x), *seen.box[1:])
        view.faces[number] = dataclasses.replace(seen, box=box)


@pytest.mark.parametrize("portion", [1000, 30])
@pytest.mark.parametrize("sizes", [(50, 60), (60, 50)])
def test_a_side_is_one_person_also_across_the_middle(portion, sizes):
    views = [View(NOT_DETECTED, middle=320.0) for _ in range(100)]
    # Ann changes places with Bob for a while, and goes before he does.
    ann = [100.0] * 40 + [500.0] * 15 + [100.0] * 25
    bob = [400.0] * 40 + [50.0] * 15 + [400.0] * 45
    moving(views[:80], 0, face(20, sizes[0]), ann)
    moving(views, 1, face(40, sizes[1]), bob)
    assert on_side(views, "left", portion) == [20] * 80 + [0] * 20
    assert on_side(views, "right", portion) == [40] * 100


def test_a_person_of_several_tracks_keeps_the_side():
    """After the cut, Bob looks like nobody before, and is on his own."""
    views = film(
        (0, 0, 99, face(20, x=350)),
        (1, 0, 39, face(40, x=500)),
        (2, 60, 99, face(60, x=520)),
    )
    for view in views:
        view.middle = 320.0  # right of which both are
    assert on_side(views, "left") == [20] * 100
    assert on_side(views, "right") == [40] * 40 + [0] * 20 + [60] * 40


def test_close_ups_do_not_change_the_side():
    """They are seen together for a tenth of the film, else in turns."""
    views = [View(NOT_DETECTED, middle=320.0) for _ in range(100)]
    # Where the camera has turned, she is right of where he was before.
    ann = [100.0] * 7 + [450.0] * 3 + [320.0] * 45
    bob = [400.0] * 7 + [550.0] * 3 + [290.0] * 45
    moving(views[:55], 0, face(20), ann)
    moving(views[:10] + views[55:], 1, face(40), bob)
    assert on_side(views, "left") == [20] * 55 + [0] * 45
    assert on_side(views, "right") == [40] * 10 + [0] * 45 + [40] * 45


@pytest.mark.parametrize("side", ["left", "right"])
def test_who_is_alone_has_the_side_of_the_frame(side):
    views = film((0, 0, 99, face(20, x=350)))
    for view in views:
        view.middle = 320.0
    assert on_side(views, side) == [20 * (side == "right")] * 100
    assert on_side(film(), side) == [0] * 100


def tracks(views, most, portion=1000):
    """Returns {track: person} of each frame."""
    given = people.largest(views, recognizer, portion, None, most)
    return [
        {n: int(face.crop[0, 0, 0]) for n, face in view.faces.items()}
        for view in given
    ]


@pytest.mark.parametrize("portion", [1000, 30])
def test_people_are_numbered_by_area_times_time(portion):
    def shown():
        return film(
            (0, 0, 49, face(20, 40)),
            (1, 10, 99, face(40, 60, x=100)),
            (2, 70, 99, face(60, 30, x=200)),
            (3, 80, 99, face(21, 40)),  # 20 again
        )

    expected = [
        {
            **({1: 40} if i >= 10 else {}),
            **({2: 20} if i < 50 else {2: 21} if i >= 80 else {}),
            **({3: 60} if i >= 70 else {}),
        }
        for i in range(100)
    ]
    assert tracks(shown(), 3, portion) == expected
    assert tracks(shown(), 20, portion) == expected
    for most in (1, 2):
        assert tracks(shown(), most, portion) == [
            {n: x for n, x in seen.items() if n <= most} for seen in expected
        ]
    (*_, last) = people.largest(shown(), recognizer, portion, None, 1)
    assert last.reason == ANOTHER


@pytest.mark.parametrize("gap", [1, 24])
@pytest.mark.parametrize("other", [21, 27])  # alike; turned, at its place
def test_who_is_gone_for_under_a_second_keeps_the_number(gap, other):
    views = film(
        (0, 0, 99, face(90, 80, x=200)),
        (1, 0, 49, face(20)),
        (2, 50 + gap, 99, face(other, x=5)),
    )
    found = tracks(views, 3)
    assert [seen.get(2) for seen in found] == (
        [20] * 50 + [None] * gap + [other] * (50 - gap)
    )
    assert not any(3 in seen for seen in found)


def test_the_largest_is_the_main_person():
    def shown():
        return film(
            (0, 0, 29, face(20)),
            (1, 15, 79, face(40, x=100)),
            (2, 60, 99, face(20)),
        )

    main = people.main_faces(shown(), recognizer, 40)
    alone = people.largest(shown(), recognizer, 40, None, 1)
    for one, view in zip(main, alone, strict=True):
        (face_of,) = view.faces.values() or [None]
        if face_of is None:
            assert (one.found, one.reason) == (False, view.reason)
        else:
            np.testing.assert_array_equal(face_of.crop, one.crop)
