"""What is around the demo's people: rooms, and cameras with their faults."""

import cv2
import numpy as np

SIZE = 256  # width and height of the frames in pixels


class Camera:
    """What a camera does to an utterance: exposure, blur, noise, JPEG.

    Args:
        rng: draws the camera's faults, and its noise frame by frame.
    """

    def __init__(self, rng: np.random.Generator):
        self._rng = rng
        self._blur = max(0.0, rng.uniform(-0.3, 1.0))
        self._quality = int(rng.integers(40, 96))
        gain, lift = rng.uniform(0.88, 1.12), rng.uniform(-10, 10)
        levels = np.arange(256) * gain + lift
        self._tone = np.clip(levels, 0, 255).astype(np.uint8)
        # Drawn once, then shifted about: fresh noise costs as much as a face.
        grain = rng.standard_normal((SIZE + 64, SIZE + 64, 3))
        self._grain = (grain * rng.uniform(0.5, 7)).astype(np.int16)

    def take(self, frame: np.ndarray) -> np.ndarray:
        """Takes a picture: uint8 RGB [SIZE, SIZE, 3] in and out."""
        frame = cv2.LUT(frame, self._tone)
        if self._blur > 0.3:
            frame = cv2.GaussianBlur(frame, (0, 0), self._blur)
        x, y = self._rng.integers(0, 65, 2)
        grain = self._grain[y : y + SIZE, x : x + SIZE]
        frame = cv2.add(frame, grain, dtype=cv2.CV_8U)
        _, data = cv2.imencode(
            ".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, self._quality]
        )
        return cv2.imdecode(data, cv2.IMREAD_COLOR)


def draw_background(rng: np.random.Generator) -> np.ndarray:
    """Draws a blurred room, uint8 RGB: gradients, blobs and texture."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 2)
    first, second = _colour(rng), _colour(rng)
    angle = rng.uniform(0, 2 * np.pi)
    share = (x * np.cos(angle) + y * np.sin(angle)) * 0.4 + 0.5
    image = first + share[..., None] * (second - first) * rng.uniform(0.2, 1)
    for _ in range(rng.integers(0, 9)):
        centre, spread = rng.uniform(-1.1, 1.1, 2), rng.uniform(0.08, 0.7, 2)
        power = rng.choice([2, 8])
        blob = np.exp(
            -(np.abs((x - centre[0]) / spread[0]) ** power)
            - np.abs((y - centre[1]) / spread[1]) ** power
        )
        tint = blob[..., None] * (_colour(rng) - image)
        image += tint * rng.uniform(0.3, 0.9)
    noise = rng.standard_normal((SIZE // 8, SIZE // 8)).astype(np.float32)
    noise = cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    image += noise[..., None] * rng.uniform(0, 9)
    image = np.clip(image, 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 4))


def _colour(rng) -> np.ndarray:
    """Draws a colour as walls and curtains have them: seldom a loud one."""
    colour = rng.uniform(10, 245, 3)
    return colour + (colour.mean() - colour) * rng.uniform(0.2, 1)
