"""Detects faces in batches of frames with MTCNN."""

import cv2
import numpy as np

# Longest side of the frames that MTCNN sees. It finds faces from 20 pixels on,
# so that only faces below 1/32 of the frame's longest side are lost.
MAX_SIDE = 640


class Detector:
    """Finds the boxes of faces in RGB frames.

    The networks: Zhang et al., "Joint face detection and alignment using
    multitask cascaded convolutional networks" (2016), in the package mtcnn.
    """

    def __init__(self):
        """Loads the networks, and TensorFlow with them (about ten seconds)."""
        import tensorflow as tf
        from mtcnn import MTCNN

        self._mtcnn = MTCNN(device="CPU:0")
        for stage in self._mtcnn.stages:
            # As graphs, they take half the time (a third for one frame) that
            # mtcnn takes operation by operation, and give the same numbers.
            stage.model.call = tf.function(
                stage.model.call, reduce_retracing=True
            )

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
        if not frames:
            return []
        # mtcnn itself finds no face in floats, silently.
        kinds = sorted({(x.dtype.name, *x.shape) for x in frames})
        first, *others = kinds
        if others or first[:1] + first[3:] != ("uint8", 3):
            raise ValueError(
                "frames must be uint8 [height, width, 3] of one size, not "
                f"{kinds}"
            )
        height, width = frames[0].shape[:2]
        scale = min(1.0, MAX_SIDE / max(height, width))
        if scale < 1:
            size = [max(1, round(x * scale)) for x in (width, height)]
            frames = [
                cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
                for frame in frames
            ]
        # Boxes cut at the frame's edge would be smaller than their face.
        rows = self._mtcnn.detect_faces(
            frames, output_type="numpy", fit_to_image=False
        )
        # Columns of mtcnn: image, x, y, width, height, confidence, key points.
        # The number of threads changes the last digits: rounding makes runs on
        # different machines equal.
        boxes = rows[:, 1:6].astype(np.float32)
        boxes[:, :4] = np.round(4 * boxes[:, :4]) / 4 / scale
        boxes[:, 4] = np.round(boxes[:, 4], 4)
        order = np.argsort(-boxes[:, 4], kind="stable")
        image = rows[order, 0]
        return [boxes[order][image == i] for i in range(len(frames))]
