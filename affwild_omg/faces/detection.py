"""Detects faces in batches of frames with MTCNN."""

import cv2
import numpy as np

# Longest side of the frames that MTCNN sees. Its time grows with the number
# of pixels; it finds faces from 20 pixels up, so that this loses faces of less
# than 1/32 of the frame's longest side only.
MAX_SIDE = 640


class Detector:
    """Finds the boxes of faces in RGB frames.

    The networks: Zhang et al., "Joint face detection and alignment using
    multitask cascaded convolutional networks" (2016), in the package mtcnn.
    """

    def __init__(self):
        """Loads the networks, and TensorFlow with them (about ten seconds)."""
        from mtcnn import MTCNN

        self._mtcnn = MTCNN(device="CPU:0")

    def __call__(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """Detects the faces of a batch of frames.

        Args:
            frames: RGB uint8 [height, width, 3], all of one size.

        Returns:
            For each frame float32 [n, 5]: x, y, width, height in pixels of
            the frame, beyond whose edges a box may reach, and the confidence
            in [0, 1], the most confident first; [0, 5] without a face.

        Raises:
            ValueError: a frame is not uint8 [height, width, 3], or the sizes
                differ.
        """
        _check_frames(frames)
        if not frames:
            return []
        height, width = frames[0].shape[:2]
        scale = min(1.0, MAX_SIDE / max(height, width))
        if scale < 1:
            size = (round(width * scale), round(height * scale))
            frames = [
                cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
                for frame in frames
            ]
        # Boxes cut at the frame's edge would be smaller than their face.
        rows = self._mtcnn.detect_faces(
            frames, output_type="numpy", fit_to_image=False
        )
        return [
            _boxes(rows[rows[:, 0] == index], scale)
            for index in range(len(frames))
        ]


def _boxes(rows: np.ndarray, scale: float) -> np.ndarray:
    # Columns of mtcnn: image, x, y, width, height, confidence, key points.
    # Another number of threads changes the last digits: rounding keeps runs
    # on different machines alike (quarters of pixels, parts of 10,000).
    boxes = rows[:, 1:6].astype(np.float32)
    boxes[:, :4] = np.round(4 * boxes[:, :4]) / 4 / scale
    boxes[:, 4] = np.round(boxes[:, 4], 4)
    return boxes[np.argsort(-boxes[:, 4], kind="stable")]


def _check_frames(frames: list[np.ndarray]) -> None:
    for index, frame in enumerate(frames):
        # mtcnn itself answers floats in [0, 1] with "no face", silently.
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                f"frames[{index}]: uint8 [height, width, 3] is needed, not "
                f"{frame.dtype} {list(frame.shape)}"
            )
        if frame.shape != frames[0].shape:
            raise ValueError(
                f"frames[{index}]: all frames of a batch need one size; it "
                f"has {list(frame.shape)}, the first {list(frames[0].shape)}"
            )
