"""A world of textures whose faces are known, and fakes that find them."""

import collections

import cv2
import numpy as np

from affwild_omg.faces import tracking
from affwild_omg.faces.alignment import TEMPLATE_ANCHORS

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
        self.looks = collections.Counter()  # of the landmarker, by frame

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
        self.looks[self.number(frame)] += 1
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

    def recognizer(self, crop):
        """Describes a texture: another one lies 1.4 away, a half 0.8."""
        return tracking._detail(crop).ravel()

    @property
    def fakes(self):
        return {
            "detector": self.detector,
            "landmarker": self.landmarker,
            "recognizer": self.recognizer,
        }

    def track(self, **settings):
        return tracking.track_faces(self.frames(), **self.fakes, **settings)

    @property
    def detected(self):
        return [number for batch in self.batches for number in batch]


def middles(faces):
    return [
        (face.box[0] + face.box[2] / 2, face.box[1] + face.box[3] / 2)
        for face in faces
    ]
