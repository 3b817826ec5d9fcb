import gc
import itertools
import weakref

import cv2
import numpy as np
import pytest

from affwild_omg.faces import tracking
from affwild_omg.faces.tracking import Face, faces_of_video, track_faces
from affwild_omg.faces.views import ANOTHER, IMPLAUSIBLE, NOT_DETECTED
from tests.faces.world import (
    HEIGHT,
    WIDTH,
    World,
    middles,
    spot,
    template_landmarks,
    texture,
)


def test_only_key_frames_are_detected():
    script = [[spot(100 + 2 * n, 100 + n)] for n in range(50)]
    world = World(script)
    faces = list(world.track(detect_every=10, batch=2))
    assert len(faces) == 50 and all(face.found for face in faces)
    assert world.batches == [[0, 10], [20, 30], [40]]
    np.testing.assert_allclose(
        middles(faces), [(s[0].x, s[0].y) for s in script], atol=0.1
    )
    for face in faces:
        assert face.crop.shape == (96, 96, 3)
        assert face.crop.dtype == np.uint8
        assert face.landmarks.dtype == np.float32
        np.testing.assert_allclose(
            face.landmarks, template_landmarks(), atol=0.01
        )
        assert face.box[2] == pytest.approx(76, abs=0.1)
        assert face.box[3] == pytest.approx(76, abs=0.1)


def test_crop_holds_the_face():
    world = World([[spot(160, 120, side=76)]] * 3)
    crop = list(world.track())[2].crop
    # At scale 1 the square's 76 pixels lie in the middle of the 96.
    np.testing.assert_allclose(
        crop[10:86, 10:86].astype(int), texture(1, 76).astype(int), atol=1
    )


def test_confidence_is_the_detectors_times_the_likeness():
    world = World([[spot(160, 120, confidence=0.8)]] * 20)
    faces = list(world.track(detect_every=5, batch=1))
    for number, face in enumerate(faces):
        # Only the noise around the face differs from frame to frame.
        likeness = face.confidence / 0.8
        if number % 5 == 0:
            assert likeness == pytest.approx(1)
        else:
            assert 0.95 < likeness < 0.9999
    # A changed picture lowers it, a confirmed key frame restores it.
    world = World([[spot(160, 120, side=76 + n % 3)] for n in range(11)])
    confidences = [f.confidence for f in world.track(detect_every=10)]
    assert confidences[0] == confidences[10] == pytest.approx(0.9)
    assert all(0.7 < c < 0.8999 for c in confidences[1:10])


@pytest.mark.parametrize("start", [0, 13])
def test_stretch_without_a_face_is_found_empty_exactly_there(start):
    face, none = [spot(160, 120)], []
    script = [face] * start + [none] * 9 + [face] * 33
    world = World(script)
    faces = list(world.track(detect_every=10, search_every=4, batch=2))
    assert [f.found for f in faces] == [bool(s) for s in script]
    assert {f.reason for f in faces if not f.found} == {NOT_DETECTED}
    assert {f.reason for f in faces if f.found} == {""}
    missing = faces[start + 5]
    assert missing.box == (0, 0, 0, 0) and missing.confidence == 0
    assert not missing.crop.any() and not missing.landmarks.any()
    assert missing.crop.shape == (96, 96, 3)
    assert missing.landmarks.shape == (68, 2)
    # What came between two looks was followed back.
    assert faces[start + 9].confidence < 0.9
    assert (
        world.batches
        == {
            0: [[0, 10], [1, 3], [7, 11], [20, 30], [40]],
            13: [[0, 10], [13], [14, 16], [20, 24], [30, 40], [50]],
        }[start]
    )


def test_a_face_of_the_last_frames_is_found():
    world = World([[]] * 20 + [[spot(160, 120)]] * 3)
    faces = list(world.track(search_every=6, batch=1))
    assert world.detected == [0, 1, 3, 7, 13, 19, 22]
    assert [f.found for f in faces] == [False] * 20 + [True] * 3


def test_search_looks_soon_then_four_times_a_second_of_film():
    class Film(World):
        fps = 31.0

        def __iter__(self):
            return enumerate(self.frames())

    world = Film([[]] * 62)
    faces = faces_of_video(world, **world.fakes, batch=1)
    assert not any(face.found for _, face in faces)
    assert world.detected == [0, 1, 3, *range(7, 62, 7), 61]


@pytest.mark.parametrize("place", [(220, 90), (100, 130)])
def test_scene_cut_detects_at_once(place):
    # To another place, and to another face at the same place.
    cut = [spot(*place, side=80, texture=2)]
    world = World([[spot(100, 130)]] * 14 + [cut] * 10)
    faces = list(world.track(detect_every=50, batch=3))
    assert world.batches == [[0], [14]]
    np.testing.assert_allclose(middles(faces[:14]), [(100, 130)] * 14, atol=0.1)
    assert [f.reason for f in faces] == [""] * 14 + [ANOTHER] * 10


def test_sudden_half_change_detects_at_once():
    # Still alike (0.77) but not as a face is from one frame to the next.
    half = [spot(160, 120, texture=1.45)]
    world = World([[spot(160, 120)]] * 7 + [half] * 7)
    world.recognizer = lambda crop: np.zeros(1)  # one person
    faces = list(world.track(detect_every=50, batch=1))
    assert world.detected == [0, 7]
    assert all(face.found for face in faces)


def test_slow_change_under_the_detectors_eyes_goes_on():
    # Each key frame is like the last, though the last like the first no more.
    script = [[spot(160, 120, texture=1 + n / 40)] for n in range(40)]
    world = World(script)
    faces = list(world.track(detect_every=10, batch=1))
    assert world.detected == [0, 10, 20, 30]
    assert all(face.found for face in faces)


def test_track_that_slides_off_step_by_step_is_lost():
    # The face turns into another picture by 5 % a frame: no step is large.
    class Dissolving(World):
        def frame(self, number):
            frame = super().frame(number)
            other = cv2.resize(texture(9, 40), (WIDTH, HEIGHT))
            part = min(1.0, number / 20)
            mixed = cv2.addWeighted(frame, 1 - part, other, part, 0)
            mixed[0, 0] = frame[0, 0]
            return mixed

    world = Dissolving(
        [[spot(160, 120)]] * 40,
        lambda number, boxes: boxes if number < 5 else boxes[:0],
    )
    found = [f.found for f in world.track(detect_every=100, batch=1)]
    assert all(found[:5])
    assert not any(found[20:])


def missed_at(*numbers):
    """Makes a detector that overlooks the first face in some frames."""
    return lambda number, boxes: boxes[1:] if number in numbers else boxes


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize(
    ("script", "boxes"),
    [
        ([[spot(160, 120)]] * 13 + [[]] * 9 + [[spot(160, 120)]] * 33, None),
        ([[spot(160, 120)]] * 60, missed_at(10, 12, *range(30, 49))),
        ([[spot(80 + 80 * (n > 27), 100)] for n in range(60)], None),
        ([[]] * 50, None),
    ],
    ids=["gap", "missed", "jump", "empty"],
)
def test_looks_do_not_depend_on_their_batches(script, boxes, batch):
    settings = {"detect_every": 10, "search_every": 4}
    world, alone = (World(script, *filter(None, [boxes])) for _ in range(2))
    faces = list(world.track(**settings, batch=batch))
    expected = list(alone.track(**settings, batch=1))
    for face, other in zip(faces, expected, strict=True):
        assert (face.reason, face.box) == (other.reason, other.box)
        assert face.confidence == other.confidence
        np.testing.assert_array_equal(face.crop, other.crop)
    # All looks that were done alone are among those done in batches.
    assert set(alone.detected) <= set(world.detected)


def test_detector_overrules_a_track_that_it_misses_for_a_second():
    # The landmarks would go on. What it did not confirm is taken back.
    world = World([[spot(160, 120)]] * 60, missed_at(*range(10, 60)))
    settings = {"detect_every": 10, "search_every": 5, "second": 25}
    faces = list(world.track(**settings, batch=1))
    assert [f.found for f in faces] == [True] * 10 + [False] * 50
    # Up to the first look that is a second from the one that missed it.
    assert world.looks[37] and not world.looks[38]
    assert faces[10].reason == NOT_DETECTED
    # A miss asks the detector again soon.
    assert world.detected[:7] == [0, 10, 11, 13, 17, 22, 27]


def test_a_smaller_face_is_not_followed_longer():
    # Looks are detect_every frames apart, as the largest is seen.
    large = spot(80, 100, side=90)
    script = [[spot(230, 120, side=60, texture=2), large]] * 130
    world = World(script, missed_at(*range(24, 130)))
    list(world.track(detect_every=24, batch=1))
    assert world.detected == [*range(0, 130, 24)]
    assert world.looks[72] == 2 and world.looks[73] == 1


@pytest.mark.parametrize("frames", [11, 12, 20, 24, 30])
@pytest.mark.parametrize("seen", [False, True])
def test_the_films_last_look_decides(frames, seen):
    # The detector misses the face from 10 on, or all but the last frame.
    missed = missed_at(*range(10, frames - seen))
    world = World([[spot(160, 120)]] * frames, missed)
    faces = list(world.track(detect_every=10, search_every=6, batch=2))
    assert world.detected.count(frames - 1) == 1
    assert [face.found for face in faces] == [
        seen or number < 10 for number in range(frames)
    ]


@pytest.mark.parametrize("seen", [False, True])
def test_the_films_last_look_decides_on_a_smaller_face(seen):
    small, late = spot(80, 100, side=60), spot(220, 120, side=90, texture=2)
    script = [[small]] * 40 + [[small, late]] * 20
    world = World(script, missed_at(*range(48, 60 - seen)))
    faces = list(world.track(detect_every=24, batch=1))
    assert world.detected == [0, 24, 48, 59]
    assert [face.reason for face in faces] == [""] * 48 + [
        "" if seen else ANOTHER
    ] * 12


def test_what_is_lost_unconfirmed_is_taken_back():
    script = [[spot(160, 120)]] * 15 + [[]] * 10
    world = World(script, missed_at(*range(10, 25)))
    faces = world.track(detect_every=10, search_every=10, batch=1)
    assert [face.found for face in faces] == [True] * 10 + [False] * 15


@pytest.mark.parametrize(
    ("appears", "second", "first"),
    [
        (0, 25, 43 - 25),  # a second before the detector sees it
        (0, 50, 0),
        (33, 25, 33),  # where it came into view
    ],
)
def test_a_face_is_followed_back_beyond_looks(appears, second, first):
    script = [[]] * appears + [[spot(160, 120)]] * (60 - appears)
    world = World(script, missed_at(*range(40)))
    faces = list(world.track(search_every=6, second=second, batch=1))
    assert world.detected[-3:] == [37, 43, 48]
    assert [face.found for face in faces] == [n >= first for n in range(60)]


@pytest.mark.parametrize("portion", [1, 11, 50, 51])
@pytest.mark.parametrize(
    ("script", "boxes"),
    [
        ([[spot(160, 120)]] * 90, missed_at(*range(10, 70))),
        ([[spot(160, 120)]] * 53 + [[]] * 20, missed_at(*range(48, 99))),
        ([[spot(160, 120)]] * 90, missed_at(*range(0, 53))),
        (
            # Changes too much to be recognized.
            [[spot(160, 120, texture=1 + 0.55 * (n > 49))] for n in range(90)],
            None,
        ),
        (
            [
                [spot(80, 100), spot(230, 120, 80, texture=2 + (n > 50))]
                for n in range(90)
            ],
            missed_at(*range(24, 60)),
        ),
        (
            # In doubt from 30 to 60, as looks are rare beside a larger face.
            [
                [spot(80, 100)] + [spot(230, 120, 80, 2, 0.4)] * (n > 39)
                for n in range(90)
            ],
            missed_at(*range(24, 90)),
        ),
    ],
    ids=["unseen", "lost", "late", "in place", "two", "long in doubt"],
)
def test_a_portions_border_changes_nothing(script, boxes, portion):
    def track(portion):
        world = World(script, *filter(None, [boxes]))
        return list(world.track(detect_every=10, portion=portion))

    for face, other in zip(track(portion), track(1500), strict=True):
        assert (face.reason, face.box) == (other.reason, other.box)


@pytest.mark.parametrize("missed", [(10,), (10, 11, 13, 17, 23)])
def test_a_missed_look_loses_no_face_to_a_bystander(missed):
    script = [[spot(80, 100), spot(230, 120, side=70, texture=2)]] * 40
    world = World(script, missed_at(*missed))
    faces = list(world.track(detect_every=10, batch=1))
    assert set(missed) < set(world.detected)
    np.testing.assert_allclose(middles(faces), [(80, 100)] * 40, atol=0.1)


def test_a_hidden_face_is_taken_back():
    main, bystander = spot(80, 100), spot(230, 120, side=50, texture=2)
    script = [[main, bystander]] * 15 + [[bystander]] * 25
    script += [[spot(90, 90), bystander]] * 20
    faces = list(World(script).track(detect_every=10, batch=2))
    reasons = [""] * 15 + [ANOTHER] * 25 + [""] * 20
    assert [f.reason for f in faces] == reasons
    places = [(80, 100)] * 15 + [(0, 0)] * 25 + [(90, 90)] * 20
    np.testing.assert_allclose(middles(faces), places, atol=0.1)


def test_faces_that_change_places_are_told_apart():
    places = [(80, 100), (230, 120)]
    script = [
        [spot(*places[n >= 20]), spot(*places[n < 20], 60, texture=2)]
        for n in range(50)
    ]
    faces = list(World(script).track(detect_every=10, batch=2))
    expected = [places[n >= 20] for n in range(50)]
    np.testing.assert_allclose(middles(faces), expected, atol=0.1)


def test_a_larger_face_that_appears_later_is_the_clips():
    early, late = spot(60, 60, side=40), spot(200, 120, side=120, texture=2)
    script = [[early]] * 17 + [[early, late]] * 23
    faces = list(World(script).track(detect_every=10, batch=2))
    assert [f.reason for f in faces] == [ANOTHER] * 17 + [""] * 23
    np.testing.assert_allclose(middles(faces[17:]), [(200, 120)] * 23, atol=0.1)


def test_follows_the_largest_faces_only():
    crowd = [spot(40 + 60 * n, 40, 40, texture=2 * n + 3) for n in range(5)]
    late = spot(160, 150, side=100)
    world = World(
        [crowd] * 10 + [[*crowd, late]] * 30,
        lambda number, boxes: boxes * np.float32([1, 1, 1, 1.1, 1]),
    )
    faces = list(world.track(detect_every=10, batch=1))
    np.testing.assert_allclose(middles(faces[10:]), [(160, 150)] * 30, atol=0.1)
    assert world.looks[15] == world.looks[35] == tracking.MAX_FACES


def test_who_gives_way_unconfirmed_is_taken_back(monkeypatch):
    monkeypatch.setattr(tracking, "MAX_FACES", 1)
    small, late = spot(80, 100, 60), spot(220, 120, 90, texture=2)
    script = [[small]] * 20 + [[small, late]] * 10
    world = World(script, missed_at(*range(24, 30)))
    faces = list(world.track(detect_every=24, batch=1))
    assert [face.reason for face in faces] == [""] * 24 + [ANOTHER] * 6


def test_of_two_tracks_on_one_face_the_older_stays(monkeypatch):
    # The second runs into the first; the fakes then find that one for both.
    monkeypatch.setattr(tracking, "_detail", lambda crop: np.ones(1))
    script = [
        [spot(240 - 8 * n, 100, 60), spot(100, 100, 60, confidence=0.95)]
        for n in range(17)
    ]
    script += [[spot(100, 100, 60)]] * 20
    world = World(script)
    faces = list(world.track(detect_every=40, batch=1))
    np.testing.assert_allclose(middles(faces), [(100, 100)] * 37, atol=0.1)
    assert world.looks[5] == 2 and world.looks[20] == 1


def test_two_boxes_of_one_face_are_one(monkeypatch):
    # The other one overlaps by a quarter, and is large enough to take a place.
    def twice(number, boxes):
        side = boxes[:, 3:4]
        whole = np.hstack([boxes[:, :2] - side / 2, 2 * side, 2 * side])
        return np.vstack([boxes, np.hstack([whole, boxes[:, 4:]])])

    monkeypatch.setattr(tracking, "MAX_FACES", 1)
    world = World([[spot(160, 120)]] * 10, twice)
    assert all(face.found for face in world.track(detect_every=5, batch=1))
    assert world.looks[8] == 1


def test_a_track_that_is_lost_between_looks_is_joined_by_the_next():
    # The face changes too much for its last look, but step by step. Meanwhile
    # a larger one is there, so that no look is due.
    script = [[spot(80, 160, 60, texture=1 + n / 61)] for n in range(60)]
    for n in range(40):
        script[n].append(spot(230, 100, 70, texture=7))
    world = World(script)
    strangers = itertools.count()
    faces = track_faces(
        world.frames(),
        detector=world.detector,
        landmarker=world.landmarker,
        recognizer=lambda crop: np.array([next(strangers)]),
        detect_every=100,
        batch=1,
    )
    np.testing.assert_allclose(middles(faces), [(80, 160)] * 60, atol=0.1)
    assert world.detected[:2] == [0, 40]
    # It was lost for some frames.
    assert min(world.looks[n] for n in range(41)) == 2


def test_chooses_the_largest_sure_face():
    small = spot(60, 60, side=60, texture=1)
    large = spot(220, 120, side=90, texture=2)
    unsure = spot(90, 180, side=96, texture=3, confidence=0.3)
    for face in World([[small, unsure, large]] * 3).track():
        assert face.box[2] == pytest.approx(90, abs=0.5)


def test_a_face_with_impossible_landmarks_is_passed_over():
    small = spot(60, 60, side=60, texture=1)
    large = spot(220, 120, side=90, texture=2)
    world = World([[large, small]] * 3)
    world.distorted = {2}
    for face in world.track():
        assert face.box[2] == pytest.approx(60, abs=0.5)
    world.distorted = {1, 2}
    assert {face.reason for face in world.track()} == {IMPLAUSIBLE}


def test_a_jump_costs_one_look():
    # Half the box to the right: too far to follow.
    script = [[spot(80 if n < 10 else 120, 100)] for n in range(20)]
    world = World(script)
    faces = list(world.track(detect_every=100, batch=1))
    assert world.detected == [0, 10]
    places = [(80, 100)] * 10 + [(120, 100)] * 10
    np.testing.assert_allclose(middles(faces), places, atol=0.1)


@pytest.mark.parametrize(
    ("every", "batch", "second", "bound", "expected"),
    [
        (8, 1, 5, 1000, 7 + 1),  # before the next look and at hand
        (8, 3, 5, 1000, 7 + 1 + 16),
        (1, 4, 5, 1000, 5 + 1 + 3),
        (8, 3, 20, 1000, 20 + 1 + 16),
        (24, 3, 25, 10, 10),
        (24, 3, 25, 0, 3),  # the one at hand and its neighbours
    ],
)
def test_holds_no_more_frames_than_it_says(
    monkeypatch, every, batch, second, bound, expected
):
    monkeypatch.setattr(tracking, "HELD_BYTES", bound * HEIGHT * WIDTH * 3)
    script = [[spot(160, 120)]] * 40 + [[]] * 40 + [[spot(160, 120)]] * 40
    world = World(script)
    alive, most = weakref.WeakSet(), 0

    class Frame(np.ndarray):  # plain arrays have no hash
        __hash__ = object.__hash__

    def frames():
        nonlocal most
        for frame in world.frames():
            frame = frame.view(Frame)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame

    settings = {"detect_every": every, "batch": batch, "second": second}
    faces = track_faces(frames(), **world.fakes, **settings, portion=30)
    assert [x.found for x in faces] == [bool(x) for x in script]
    gc.collect()
    # One more is in the hands of frames().
    assert expected <= most <= expected + 1


def test_frames_may_change_their_size_on_the_way():
    read = []  # at each look

    class Resized(World):
        def frame(self, number):
            self.last = number
            frame = super().frame(number)
            return frame if number < 6 else frame[:200, :300]

        def detector(self, frames):
            assert len({frame.shape for frame in frames}) == 1
            read.append(self.last)
            return super().detector(frames)

    world = Resized([[spot(120, 100)]] * 12)
    faces = list(world.track(detect_every=4, batch=3))
    assert len(faces) == 12 and all(face.found for face in faces)
    # A size that may need more memory is not reached ahead for.
    assert read == [6, 11]


def test_faces_of_video_keeps_times_and_faces_together():
    class Film(list):
        fps = 25.0

    world = World([[spot(160, 120)]] * 12 + [[]] * 3)
    video = Film((number**2 / 10, world.frame(number)) for number in range(15))
    watched = []
    results = faces_of_video(
        video,
        watch=lambda time_s, frame: watched.append((time_s, frame)),
        **world.fakes,
        detect_every=5,
        batch=2,
    )
    assert [(time_s, face.found) for time_s, face in results] == [
        (number**2 / 10, number < 12) for number in range(15)
    ]
    assert [x[0] for x in watched] == [x[0] for x in video]
    assert all(x[1] is y[1] for x, y in zip(watched, video, strict=True))


def test_missing_faces_do_not_share_arrays():
    Face.missing().crop[:] = 7
    assert not Face.missing().crop.any()
