"""Measures the frames per second of face tracking.

    python benchmarks/tracking.py VIDEO... [--rounds=3]

Each video is tracked whole, decoding included, and so is a scene without a
face: pictures of scikit-image, panned at 960x540. The best of the rounds
counts, because other programs only ever make it slower.
"""

import functools
import time
from collections.abc import Iterator

import cv2
import numpy as np
import skimage.data
from absl import app, flags

from affwild_omg.faces.detection import Detector
from affwild_omg.faces.landmarks import Landmarker
from affwild_omg.faces.tracking import faces_of_video
from affwild_omg.faces.video import Video

_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each is tracked.", 1)

WIDTH, HEIGHT, FPS = 960, 540, 25.0
SCENES = ("coffee", "rocket", "chelsea")
SCENE_FRAMES = 150


class Scene:
    """A picture without a face, panned."""

    fps = FPS

    def __init__(self, name: str):
        """Stretches a picture of scikit-image."""
        self._picture = cv2.resize(
            getattr(skimage.data, name)(),
            (WIDTH + 2 * SCENE_FRAMES, HEIGHT + SCENE_FRAMES),
        )

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        for i in range(SCENE_FRAMES):
            view = self._picture[i : i + HEIGHT, 2 * i : 2 * i + WIDTH]
            yield i / FPS, np.ascontiguousarray(view)


def main(paths: list[str]) -> None:
    """Prints a line for each video and scene."""
    settings = {"detector": Detector(), "landmarker": Landmarker()}
    sources = {path: functools.partial(Video, path) for path in paths[1:]}
    sources |= {name: functools.partial(Scene, name) for name in SCENES}
    for name, make in sources.items():
        seconds = []
        for _ in range(_ROUNDS.value):
            start = time.perf_counter()
            faces = [face for _, face in faces_of_video(make(), **settings)]
            seconds.append(time.perf_counter() - start)
        found = sum(face.found for face in faces)
        print(
            f"{len(faces) / min(seconds):6.1f} frames/s, a face in {found} of "
            f"{len(faces)} frames: {name}",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
