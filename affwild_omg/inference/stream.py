"""Streaming: values for each frame as it comes, with the state carried on."""

import contextlib
import itertools
import time
import typing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from affwild_omg.faces import detection, landmarks
from affwild_omg.faces.live import LiveTracker
from affwild_omg.faces.thinning import Thinning
from affwild_omg.faces.video import DEFAULT_FPS
from affwild_omg.faces.views import LEFT_OUT, Face
from affwild_omg.paper.task import DETECT_EVERY, TARGETS
from affwild_omg.storage import memory, parallel

if typing.TYPE_CHECKING:
    from affwild_omg.inference.predictor import Predictor

# Frames, the last ones, that latencies are told of: some minutes.
TIMED_FRAMES = 10_000

# Frames of a film that the network answers in one call: twice as fast as one by
# one. Always as many, so that a film gives the same digits each time.
CHUNK = 8

# Frames, at most, whose faces wait for the network.
FOUND_AHEAD = 2 * CHUNK


class Answer(typing.NamedTuple):
    """What a frame says of a person.

    Attributes:
        track: the person's name, the same while no gap is longer than a second.
        valence: as the labels that the model was trained on, mostly in [-1, 1];
            NaN if it does not predict it.
        arousal: likewise.
        face: where it is in the frame, how sure that is, its crop and its
            landmarks.
    """

    track: int
    valence: float
    arousal: float
    face: Face


class Found(typing.NamedTuple):
    """What the tracker says of a frame.

    Attributes:
        faces: track -> its face, the largest first.
        known: the tracks that are not forgotten; one that was never comes back.
        reason: why there is no face; "" if there is one.
        kept: whether the network sees the frame.
    """

    faces: dict[int, Face]
    known: set[int]
    reason: str
    kept: bool


class Stream(contextlib.AbstractContextManager):
    """Predicts frames one by one, or those of a film in small chunks.

    Each person has a state of the recurrent layers. A frame without the person
    leaves it as it is; after more than a second without, the person has no
    name any more, and the state goes. The network sees as many frames of a
    second as the model was trained on, at most: one between has the values of
    the one before, of whom it shows. Use it as a context manager, which ends
    its thread:

        with predictor.stream(faces=2) as stream:
            for frame in frames:
                for track, valence, arousal, face in stream.step(frame):
                    ...

    Attributes:
        reason: why the last answer is of nobody; "" if it is of somebody.
    """

    def __init__(
        self,
        predictor: "Predictor",
        *,
        faces: int = 1,
        fps: float = DEFAULT_FPS,
        detect_every: int = DETECT_EVERY,
        wait: bool = False,
        **parts: Callable,
    ):
        """Gets ready for the first frame, which may take some seconds.

        Args:
            predictor: of a model that has a step.
            faces: how many people are followed at a time, 1 or more: the
                largest.
            fps: frames a second, > 0; also where `step` is told no time.
            detect_every: frames from one face detection to the next, 1 or
                more; landmarks are tracked in between.
            wait: whether a step waits for the detector (some 70 ms). Equal
                frames then give equal answers. Otherwise it works beside, and
                which frame first shows a new face depends on its speed.
            **parts: detector, landmarker and recognizer of `LiveTracker`, in
                place of MTCNN and dlib's.

        Raises:
            UserError: the model cannot step.
        """
        memory.return_large_blocks()  # the detector's maps
        self._predictor = predictor
        self._executor = None if wait else ThreadPoolExecutor(1)
        if "detector" not in parts:
            parts["detector"] = detection.Detector()
        if "landmarker" not in parts:
            parts["landmarker"] = landmarks.load(predictor.treatment.landmarks)
        self._tracker = LiveTracker(
            **parts,
            faces=faces,
            fps=fps,
            detect_every=detect_every,
            executor=self._executor,
        )
        self._thinning = Thinning(predictor.treatment.max_fps)
        self._fps, self._number = fps, -1
        self._states = {}  # track -> float32 [state_size]
        self._values = {}  # track -> of the last frame that the network saw
        self._seconds = {
            name: deque(maxlen=TIMED_FRAMES) for name in ("network", "frame")
        }
        self._started, self.reason = False, ""
        # The first call of a network takes seconds.
        self._advance([[Face.missing()]], [self._start])

    def step(
        self,
        frame: np.ndarray,
        number: int | None = None,
        time_s: float | None = None,
    ) -> list[Answer]:
        """Predicts the next frame.

        Args:
            frame: RGB uint8 [height, width, 3]; not to be written into later,
                because the detector may still look at it.
            number: of the frame, more than that of the last, where some are
                left out; None for the next one.
            time_s: of the frame, in seconds from the first on; None for what
                its number and `fps` say.

        Returns:
            An Answer for each face, the largest first; of none, `reason` tells
            why.

        Raises:
            ValueError: the frame is of another type or shape.
        """
        begin = time.perf_counter()
        found = self._find(frame, number, time_s)
        seen = time.perf_counter()
        (answers,) = self._answer([found])
        end = time.perf_counter()
        if self._started:  # the detector's first call takes seconds
            self._seconds["frame"].append(end - begin)
            if answers and found.kept:
                self._seconds["network"].append(end - seen)
        self._started, self.reason = True, _reason(found, answers)
        return answers

    def video(
        self, frames: Iterable[tuple[int, float, np.ndarray]]
    ) -> Iterator[tuple[int, float, list[Answer]]]:
        """Predicts the frames of a film, CHUNK in a call of the network.

        A thread finds the next frames' faces meanwhile.

        Args:
            frames: of each its number, its time in seconds and the frame, as
                `step` takes them.

        Yields:
            The number, the time and what `step` gives, for each frame in order.
        """
        found = (
            (number, time_s, self._find(frame, number, time_s))
            for number, time_s, frame in frames
        )
        with contextlib.closing(parallel.ahead(found, FOUND_AHEAD)) as ahead:
            while chunk := list(itertools.islice(ahead, CHUNK)):
                answered = self._answer([found for *_, found in chunk])
                for (number, time_s, found), answers in zip(
                    chunk, answered, strict=True
                ):
                    self.reason = _reason(found, answers)
                    yield number, time_s, answers

    def _find(self, frame, number, time_s) -> Found:
        faces = self._tracker.step(frame, number)
        self._number = self._number + 1 if number is None else number
        if time_s is None:
            time_s = self._number / self._fps
        return Found(
            faces,
            self._tracker.known,
            self._tracker.reason,
            self._thinning.keeps(time_s),
        )

    def _answer(self, chunk: Sequence[Found]) -> list[list[Answer]]:
        """Predicts frames in one call of the network."""
        # What the network does not see is as a frame without a face to it.
        shown = [found.faces if found.kept else {} for found in chunk]
        tracks = list(dict.fromkeys(x for faces in shown for x in faces))
        values = {}  # track -> target -> [frames]
        if tracks:
            missing = Face.missing()
            found, states = self._advance(
                [[x.get(name, missing) for x in shown] for name in tracks],
                [self._states.get(name, self._start) for name in tracks],
            )
            nothing = dict.fromkeys(TARGETS, np.full(len(chunk), np.nan))
            for name, own in zip(tracks, found, strict=True):
                given = zip(self._predictor.targets, own.T, strict=True)
                values[name] = nothing | dict(given)
            self._states |= zip(tracks, states, strict=True)
        self._states = {
            name: state
            for name, state in self._states.items()
            if name in chunk[-1].known
        }
        answers = []
        for index, found in enumerate(chunk):
            if found.kept:
                self._values = {
                    name: [float(values[name][x][index]) for x in TARGETS]
                    for name in found.faces
                }
            answers.append(
                [
                    Answer(name, *self._values[name], face)
                    for name, face in found.faces.items()
                    if name in self._values
                ]
            )
        return answers

    def latency(self) -> dict[str, dict[str, float] | None]:
        """Returns how long the last steps took, but for the very first.

        Frames of `video` are answered in chunks, and have no latency.

        Returns:
            {"network", "frame"}: {"p50_ms", "p99_ms"}, percentiles in
            milliseconds over the last TIMED_FRAMES, None without any. A frame
            includes the network; the network has frames with a face alone.
        """
        return {
            name: {
                f"p{share}_ms": round(1e3 * np.percentile(seconds, share), 2)
                for share in (50, 99)
            }
            if seconds
            else None
            for name, seconds in self._seconds.items()
        }

    def __exit__(self, *exception: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    @property
    def _start(self) -> np.ndarray:
        """The state at the start."""
        return np.zeros(self._predictor.state_size, np.float32)

    def _advance(self, faces, states):
        """Returns values [tracks, frames, targets] and [tracks, state_size].

        Args:
            faces: [tracks, frames] of `Face`.
            states: [tracks, state_size].
        """
        inputs = {
            "frames": self._predictor.as_learned(
                np.array([[x.crop for x in row] for row in faces])
            ),
            "landmarks": np.array(
                [[x.landmarks for x in row] for row in faces]
            ),
            "mask": np.array([[x.found for x in row] for row in faces]),
        }
        return self._predictor.step(inputs, np.stack(states))


def _reason(found: Found, answers: Sequence[Answer]) -> str:
    """Returns why there is no answer; "" if there is one."""
    return LEFT_OUT if found.faces and not answers else found.reason
