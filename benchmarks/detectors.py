"""Compares MediaPipe's detectors and landmarks with MTCNN's and dlib's.

    python benchmarks/detectors.py VIDEO...

It needs all of mediapipe 0.10.21, the last version whose wheel holds the
models, in an environment of its own: with it comes opencv-contrib-python, which
overwrites the files of opencv-python.

Times are those of the processor, all threads together, so that other programs
hardly count. The place of a face is MTCNN's box in the frame as it is, squared
on its height as tracking has it; a box finds it from an overlap of 0.5 on.
"""

import time

import cv2
import numpy as np
import skimage.data
import tensorflow as tf
from absl import app
from mediapipe.python.solutions.face_detection import FaceDetection

from affwild_omg.faces import alignment
from affwild_omg.faces.detection import Detector
from affwild_omg.faces.landmarks import Landmarker
from affwild_omg.faces.mesh import MeshLandmarker
from affwild_omg.faces.tracking import faces_of_video
from affwild_omg.faces.video import Video
from affwild_omg.faces.views import overlaps

BATCH = 3  # looks that tracking gives the detector at once
SAMPLES = 30  # frames of a video that are measured, evenly spaced
SHRINK = (1.0, 0.5, 0.35, 0.25, 0.15)
RANGES = {"short": 0, "full": 1}

# MediaPipe's boxes are squares from the brows to the chin: as shares of MTCNN's
# height on three clips, how much lower their centre lies, how long their side
# is, and how wide MTCNN's box.
LOWER, SIDE, WIDTH = 0.09, 0.87, 0.73

PARTS = {
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}


class MediaPipeDetector:
    """MediaPipe's BlazeFace behind the interface of `Detector`."""

    def __init__(self, reach: str):
        """Loads the model of a range."""
        self._solution = FaceDetection(model_selection=RANGES[reach])

    def __call__(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """Detects as `Detector` does, with boxes brought to MTCNN's."""
        return [self._boxes(frame) for frame in frames]

    def _boxes(self, frame):
        height, width = frame.shape[:2]
        found = self._solution.process(np.ascontiguousarray(frame)).detections
        boxes = []
        for one in found or ():
            box = one.location_data.relative_bounding_box
            side = box.width * width / SIDE
            x = (box.xmin + box.width / 2) * width - WIDTH * side / 2
            y = (box.ymin + box.height / 2) * height - (LOWER + 0.5) * side
            boxes.append((x, y, WIDTH * side, side, one.score[0]))
        boxes.sort(key=lambda box: -box[-1])
        return np.array(boxes, np.float32).reshape(-1, 5)


def _spaced(items):
    places = np.linspace(0, len(items) - 1, min(SAMPLES, len(items)))
    return [items[i] for i in places.astype(int)]


def _milliseconds(call, inputs):
    """Returns the median time of the processor, the first call left out."""
    times = []
    for given in inputs:
        start = time.process_time()
        call(given)
        times.append(1e3 * (time.process_time() - start))
    return np.median(times[1:])


def _recall(detector, frames, boxes, shrink):
    """Returns the share of faces that are found, and that of other boxes."""
    found = others = 0
    for frame, box in zip(frames, boxes, strict=True):
        height, width = frame.shape[:2]
        small = cv2.resize(
            frame, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA
        )
        top, left = (height - len(small)) // 2, (width - small.shape[1]) // 2
        canvas = np.full_like(frame, 110)
        canvas[top:, left:][: len(small), : small.shape[1]] = small
        x, y, side = box[0] + (box[2] - box[3]) / 2, box[1], box[3]
        place = (left + shrink * x, top + shrink * y, *[shrink * side] * 2)
        near = overlaps(detector([canvas])[0], place) >= 0.5
        found += near.any()
        others += (~near).sum()
    return found / len(frames), others / len(frames)


def _compare_detectors(frames, detectors):
    """Prints times and recall; returns MTCNN's boxes of frames with a face."""
    groups = [frames[i : i + BATCH] for i in range(0, len(frames), BATCH)]
    groups = _spaced(groups[:-1])
    for name, detector in detectors.items():
        took = _milliseconds(detector, groups) / BATCH
        print(f"  {name}: {took:.1f} ms a frame", flush=True)
    looked = _spaced(frames)
    seen = [detectors["mtcnn"]([frame])[0] for frame in looked]
    kept = [(x, y[0]) for x, y in zip(looked, seen, strict=True) if len(y)]
    print(f"  MTCNN: a face in {len(kept)} of {len(looked)} frames")
    looked, boxes = zip(*kept, strict=True)
    for shrink in SHRINK:
        share = np.mean([shrink * x[3] / max(frames[0].shape) for x in boxes])
        found = {
            name: _recall(detector, looked, boxes, shrink)
            for name, detector in detectors.items()
        }
        print(
            f"  face of {100 * share:.1f} % of the longest side: "
            + ", ".join(
                f"{name} {100 * recall:.0f} % (others {100 * others:.0f} %)"
                for name, (recall, others) in found.items()
            ),
            flush=True,
        )
    return looked, boxes


def _compare_landmarks(frames, boxes, landmarkers):
    """Prints times, and distances of the landmarks."""
    inputs = list(zip(frames, [tuple(box[:4]) for box in boxes], strict=True))
    for name, find in landmarkers.items():
        took = _milliseconds(lambda x, find=find: find(*x), inputs)
        print(f"  {name}: {took:.1f} ms a face")
    dlib, mesh = (
        np.array([find(*x) for x in inputs]) for find in landmarkers.values()
    )
    eyes = np.linalg.norm(dlib[:, 36] - dlib[:, 45], axis=-1)[:, None]
    apart = 100 * np.linalg.norm(mesh - dlib, axis=-1) / eyes
    parts = {name: apart[:, part].mean() for name, part in PARTS.items()}
    print(
        f"  apart, % of the distance of the outer eye corners: "
        f"{apart.mean():.1f};",
        ", ".join(f"{name} {x:.1f}" for name, x in parts.items()),
    )
    crops = [
        np.array(
            [
                alignment.transform(
                    alignment.estimate_similarity(
                        alignment.anchors(x), alignment.TEMPLATE_ANCHORS
                    ),
                    x,
                )
                for x in points
            ]
        )
        for points in (dlib, mesh)
    ]
    apart = np.linalg.norm(crops[1] - crops[0], axis=-1).mean()
    print(f"  apart once each is aligned: {apart:.1f} crop pixels", flush=True)


def main(paths: list[str]) -> None:
    """Prints what each video shows, and false faces of scenes without any."""
    # As a worker of the preparation has it.
    cv2.setNumThreads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    detectors = {"mtcnn": Detector()}
    detectors |= {reach: MediaPipeDetector(reach) for reach in RANGES}
    landmarkers = {"dlib": Landmarker(), "mesh": MeshLandmarker()}
    for path in paths[1:]:
        print(path, flush=True)
        frames = [frame for _, frame in Video(path)]
        looked, boxes = _compare_detectors(frames, detectors)
        _compare_landmarks(looked, boxes, landmarkers)
        for name in ("mtcnn", "full"):
            start = time.process_time()
            faces = [
                face
                for _, face in faces_of_video(
                    Video(path),
                    detector=detectors[name],
                    landmarker=landmarkers["dlib"],
                )
            ]
            rate = len(faces) / (time.process_time() - start)
            found = sum(face.found for face in faces)
            print(
                f"  tracked with {name}: {rate:.0f} frames a second, a face in "
                f"{found} of {len(faces)}",
                flush=True,
            )
    for name in ("coffee", "rocket", "chelsea"):
        picture = cv2.resize(getattr(skimage.data, name)(), (1260, 690))
        views = [
            picture[i : i + 540, 2 * i :][:, :960] for i in range(0, 150, 5)
        ]
        found = {
            key: sum(len(detector([view])[0]) > 0 for view in views)
            for key, detector in detectors.items()
        }
        print(f"{name}: a face in {found} of {len(views)} views", flush=True)


if __name__ == "__main__":
    app.run(main)
