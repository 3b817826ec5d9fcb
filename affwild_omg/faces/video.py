"""Reads videos frame by frame, in constant memory, with OpenCV."""

import contextlib
import math
import os
from collections.abc import Iterator

import cv2
import numpy as np
from absl import logging

from affwild_omg.cli.errors import UserError

# FFmpeg itself writes to standard error when a file is damaged. OpenCV reads
# this variable once, at the first video that a process opens.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET

DEFAULT_FPS = 25.0

# For containers without a frame rate FFmpeg gives the ticks of their clock,
# 1000 a second and more, and a frame count computed from them.
MAX_CREDIBLE_FPS = 999.0

# The headers of undamaged files are off by a frame or two, by more where the
# count is computed from the duration.
TRUNCATION_FRAMES = 2
TRUNCATION_SHARE = 0.01

_LOG_LEVEL_ERROR = 2  # cv2.utils.logging.LOG_LEVEL_ERROR, not in every build


class Video(contextlib.AbstractContextManager):
    """Yields the frames of a video file with their presentation times.

    It holds one frame at a time, and each iteration reads the file from its
    start. Use it as a context manager, which closes the file:

        with Video("clip.mp4") as video:
            for time_s, rgb in video:
                ...

    Attributes:
        path: the path as given.
        fps: frames a second by the header, > 0; 25.0 where it has none.
        announced_frames: the header's count of frames, None where it has none.
        decoded_frames: how many frames the last iteration has decoded so far.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Opens a video and decodes its first frame.

        Args:
            path: a local video file, in any format that FFmpeg decodes.

        Raises:
            UserError: the file cannot be read, or no frame of it can be
                decoded.
        """
        self.path = os.fspath(path)
        try:
            # OpenCV does not say why it cannot open a file.
            with open(self.path, "rb") as file:
                empty = not file.read(1)
        except OSError as error:
            raise UserError(
                f"{self.path}: {error.strerror}; give the path of a video file"
            ) from error
        self._capture = _open(self.path)
        self._first_frame = _read(self._capture)
        if self._first_frame is None:
            self.close()
            kind = "an empty file" if empty else "not a video, or damaged"
            raise UserError(
                f"{self.path}: {kind}; not one frame can be decoded: copy or "
                "convert the file again, or leave it out"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        has_rate = math.isfinite(fps) and 0 < fps <= MAX_CREDIBLE_FPS
        has_count = has_rate and math.isfinite(count) and count >= 1
        self.fps = float(fps) if has_rate else DEFAULT_FPS
        self.announced_frames = int(count) if has_count else None
        self.decoded_frames = 0

    @property
    def truncated(self) -> bool:
        """Whether more than two frames and more than 1 % are missing.

        Compares the header's count, if there is one, with the frames decoded
        in an iteration to the end.
        """
        if self.announced_frames is None:
            return False
        missing = self.announced_frames - self.decoded_frames
        allowed = TRUNCATION_SHARE * self.announced_frames
        return missing > max(TRUNCATION_FRAMES, allowed)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields (time_s, frame) for each frame that can be decoded.

        `time_s` is the frame's presentation time in seconds, strictly
        increasing; `frame` is RGB uint8 [height, width, 3].
        """
        if self._first_frame is None:
            self.close()
            self._capture = _open(self.path)
            self._first_frame = _read(self._capture)
        frame, self._first_frame = self._first_frame, None
        self.decoded_frames = 0
        time_s = -math.inf
        while frame is not None:
            time_s = self._time_after(time_s)
            self.decoded_frames += 1
            yield time_s, frame
            frame = _read(self._capture)
        if self.truncated:
            logging.warning(
                "%s: %d of %d announced frames could be decoded; these are "
                "used",
                self.path,
                self.decoded_frames,
                self.announced_frames,
            )

    def _time_after(self, previous_s: float) -> float:
        # The time of the frame just read; streams without time stamps give 0
        # or nonsense again and again.
        time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if math.isfinite(time_s) and time_s >= 0 and time_s > previous_s:
            return time_s
        return max(0.0, previous_s + 1 / self.fps)

    def close(self) -> None:
        """Closes the file."""
        self._capture.release()

    def __exit__(self, *exception: object) -> None:
        self.close()


def _open(path: str) -> cv2.VideoCapture:
    level = cv2.getLogLevel()
    cv2.setLogLevel(min(level, _LOG_LEVEL_ERROR))
    try:
        return cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    finally:
        cv2.setLogLevel(level)


def _read(capture: cv2.VideoCapture) -> np.ndarray | None:
    decoded, bgr = capture.read()
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) if decoded else None
