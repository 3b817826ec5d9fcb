import collections

import cv2
import numpy as np
import pytest

from affwild_omg.faces import tracking
from affwild_omg.faces.alignment import TEMPLATE_ANCHORS
from affwild_omg.faces.tracking import Face, faces_of_video, track_faces

HEIGHT, WIDTH = 240, 320

# A face of the fakes: middle and side of its square, name of its texture.
Spot = collections.namedtuple("Spot", "x y side texture confidence")


def spot(x, y, side=76, texture=1, confidence=0.9):
    return Spot(x, y, side, texture, confidence)


def texture(seed, side):
    """Makes a picture; seed 1.3 is 70 % of picture 1 and 30 % of picture 2."""
    one, two = (
        cv2.resize(
            np.random.default_rng(int(seed) + more)
            .uniform(0, 255, (20, 20, 3))
            .astype(np.uint8),
            (side, side),
            interpolation=cv2.INTER_CUBIC,
        )
        for more in (0, 1)
    )
    return cv2.addWeighted(one, 1 - seed % 1, two, seed % 1, 0)


def template_landmarks():
    """Makes 68 points in a crop whose anchors are the template's."""
    points = np.tile(TEMPLATE_ANCHORS.mean(axis=0), (68, 1)).astype(float)
    points[36:42], points[42:48] = TEMPLATE_ANCHORS[:2]
    points[[30, 48, 54]] = TEMPLATE_ANCHORS[2:]
    return points


class World:
    """Draws frames from a script of spots, and finds them by the script.

    A frame's number is written into its first pixel, so that the fakes know
    what a frame shows however it reaches them.
    """

    def __init__(self, script, boxes=lambda number, boxes: boxes):
        self.script = script
        self.boxes = boxes  # what the detector makes of those of a frame
        self.read = 0
        self.batches = []
        self.distorted = set()

    def frame(self, number):
        rng = np.random.default_rng(1000 + number)
        noise = rng.uniform(0, 255, (24, 32, 3)).astype(np.uint8)
        frame = cv2.resize(noise, (WIDTH, HEIGHT))
        for face in self.script[number]:
            left, top = face.x - face.side // 2, face.y - face.side // 2
            frame[top : top + face.side, left : left + face.side] = texture(
                face.texture, face.side
            )
        frame[0, 0] = number // 256, number % 256, 0
        return frame

    def frames(self):
        for number in range(len(self.script)):
            self.read += 1
            yield self.frame(number)

    def number(self, frame):
        return int(frame[0, 0, 0]) * 256 + int(frame[0, 0, 1])

    def spots(self, frame):
        return self.script[self.number(frame)]

    def detector(self, frames):
        self.batches.append([self.number(frame) for frame in frames])
        return [
            self.boxes(
                self.number(frame),
                # As MTCNN's: narrower than high.
                np.array(
                    [
                        [x - 0.4 * side, y - side / 2, 0.8 * side, side, sure]
                        for x, y, side, _, sure in self.spots(frame)
                    ],
                    np.float32,
                ).reshape(-1, 5),
            )
            for frame in frames
        ]

    def landmarker(self, frame, box):
        x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
        side = box[3]
        for s in self.spots(frame):
            if max(abs(s.x - x), abs(s.y - y)) < 0.3 * box[3]:
                x, y, side = s.x, s.y, s.side
                if s.texture in self.distorted:
                    rng = np.random.default_rng(0)
                    return rng.uniform(0, 200, (68, 2)).astype(np.float32)
        scale = side / tracking.SEARCH_SIDE
        points = (template_landmarks() - 47.5) * scale + (x - 0.5, y - 0.5)
        return points.astype(np.float32)

    def track(self, **settings):
        return track_faces(
            self.frames(),
            detector=self.detector,
            landmarker=self.landmarker,
            **settings,
        )

    @property
    def detected(self):
        return [number for batch in self.batches for number in batch]


def middles(faces):
    return [
        (face.box[0] + face.box[2] / 2, face.box[1] + face.box[3] / 2)
        for face in faces
    ]


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


def test_stretch_without_a_face_is_found_empty_exactly_there():
    face, none = [spot(160, 120)], []
    script = [face] * 13 + [none] * 9 + [face] * 20
    world = World(script)
    faces = list(world.track(detect_every=10, batch=3))
    assert [f.found for f in faces] == [bool(s) for s in script]
    missing = faces[15]
    assert missing.box == (0, 0, 0, 0) and missing.confidence == 0
    assert not missing.crop.any() and not missing.landmarks.any()
    assert missing.crop.shape == (96, 96, 3)
    assert missing.landmarks.shape == (68, 2)
    # No frame twice; every frame of the stretch, key frames, and those that
    # a batch of the stretch reaches beyond it.
    assert len(set(world.detected)) == len(world.detected)
    assert set(range(13, 22)) <= set(world.detected)
    assert [14, 15, 16] in world.batches
    assert set(world.detected) <= {0, 10, 20, 30, 40} | set(range(13, 25))


@pytest.mark.parametrize("place", [(220, 90), (100, 130)])
def test_scene_cut_detects_at_once(place):
    # To another place, and to another face at the same place.
    cut = [spot(*place, side=80, texture=2)]
    world = World([[spot(100, 130)]] * 14 + [cut] * 10)
    faces = list(world.track(detect_every=50, batch=3))
    assert world.batches == [[0], [14]]
    np.testing.assert_allclose(middles(faces[14:]), [place] * 10, atol=0.1)
    assert all(face.found for face in faces)


def test_sudden_half_change_detects_at_once():
    # Still alike (0.7) but not as a face is from one frame to the next.
    half = [spot(160, 120, texture=1.5)]
    world = World([[spot(160, 120)]] * 7 + [half] * 7)
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


def test_detector_overrules_a_track_at_key_frames():
    # The landmarks would go on, but the detector sees no face there.
    world = World(
        [[spot(160, 120)]] * 20,
        lambda number, boxes: boxes if number < 10 else boxes[:0],
    )
    found = [f.found for f in world.track(detect_every=10, batch=1)]
    assert found == [True] * 10 + [False] * 10


def test_key_frame_that_shows_only_another_face_goes_over_to_it():
    script = [[spot(80, 100), spot(230, 120, texture=2)]] * 20
    world = World(
        script, lambda number, boxes: boxes[:1] if number < 10 else boxes[1:]
    )
    faces = list(world.track(detect_every=10, batch=1))
    np.testing.assert_allclose(
        middles(faces), [(80, 100)] * 10 + [(230, 120)] * 10, atol=0.1
    )


def test_starts_on_the_largest_sure_face():
    small = spot(60, 60, side=60, texture=1)
    large = spot(220, 120, side=90, texture=2)
    unsure = spot(90, 180, side=96, texture=3, confidence=0.3)
    world = World([[small, unsure, large]] * 3)
    for face in world.track():
        assert face.box[2] == pytest.approx(90, abs=0.5)


def test_a_face_with_impossible_landmarks_is_passed_over():
    small = spot(60, 60, side=60, texture=1)
    large = spot(220, 120, side=90, texture=2)
    world = World([[large, small]] * 3)
    world.distorted = {2}
    for face in world.track():
        assert face.box[2] == pytest.approx(60, abs=0.5)


def test_stays_with_its_face_when_another_grows():
    script = [
        [spot(80, 100, side=70), spot(230, 120, side=50 + 2 * n, texture=2)]
        for n in range(40)
    ]
    world = World(script)
    faces = list(world.track(detect_every=5, batch=2))
    np.testing.assert_allclose(middles(faces), [(80, 100)] * 40, atol=0.1)


def test_a_jump_finds_the_same_face_again_not_a_larger_one():
    # Half the box to the right: too far to follow, near enough to be it.
    script = [
        [spot(80 if n < 10 else 108, 100), spot(240, 120, 100, texture=2)]
        for n in range(20)
    ]
    script[0] = [script[0][0]]
    world = World(script)
    faces = list(world.track(detect_every=100, batch=1))
    assert world.detected == [0, 10]
    np.testing.assert_allclose(
        middles(faces), [(80, 100)] * 10 + [(108, 100)] * 10, atol=0.1
    )


@pytest.mark.parametrize(("every", "batch"), [(8, 1), (8, 3), (1, 4)])
def test_reads_no_further_ahead_than_it_says(every, batch):
    script = [[spot(160, 120)]] * 20 + [[]] * 20 + [[spot(160, 120)]] * 20
    world = World(script)
    furthest = 0
    for done, _ in enumerate(world.track(detect_every=every, batch=batch), 1):
        furthest = max(furthest, world.read - done)
    assert furthest <= every * (batch - 1)
    if batch > 1:
        assert furthest > 0
    assert world.read == 60


def test_frames_may_change_their_size_on_the_way():
    class Resized(World):
        def frame(self, number):
            frame = super().frame(number)
            return frame if number < 6 else frame[:200, :300]

        def detector(self, frames):
            assert len({frame.shape for frame in frames}) == 1
            return super().detector(frames)

    world = Resized([[spot(120, 100)]] * 12)
    faces = list(world.track(detect_every=4, batch=3))
    assert len(faces) == 12 and all(face.found for face in faces)


def test_faces_of_video_keeps_times_and_faces_together():
    world = World([[spot(160, 120)]] * 12 + [[]] * 3)
    video = [(number**2 / 10, world.frame(number)) for number in range(15)]
    results = faces_of_video(
        video,
        detector=world.detector,
        landmarker=world.landmarker,
        detect_every=5,
        batch=2,
    )
    assert [(time_s, face.found) for time_s, face in results] == [
        (number**2 / 10, number < 12) for number in range(15)
    ]


def test_missing_faces_do_not_share_arrays():
    Face.missing().crop[:] = 7
    assert not Face.missing().crop.any()
