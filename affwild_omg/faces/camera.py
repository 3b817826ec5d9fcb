"""Reads the frames of a camera as they come, with FFmpeg's v4l2.

It needs no screen, and is the reader of files besides.
"""

import contextlib
import glob
import threading
from collections.abc import Iterator

import av
import numpy as np

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.faces.video import (
    DEFAULT_FPS,
    MAX_CREDIBLE_FPS,
    TIME_DIGITS,
    picture,
)

DEVICE = "/dev/video{}"


class Camera(contextlib.AbstractContextManager):
    """Yields the newest frame of a camera, whenever the last one is done with.

    Whoever takes longer than the camera passes frames over, in place of falling
    behind: their numbers are missing then. As `Video`, use it as a context
    manager. It is iterated over once, and ends when the camera does.

    Attributes:
        path: of the device.
        fps: frames a second that the camera promises, > 0; 25.0 without.
        expected_frames: None, because nobody knows.
        decoded_frames: how many frames were given so far.
        number: from 0 on, as the camera counts, of the frame given last.
    """

    def __init__(self, index: int):
        """Opens a camera.

        Args:
            index: of the device, from 0 on.

        Raises:
            UserError: there is none, or it cannot be used.
        """
        self.path = DEVICE.format(index)
        self._container = _open(self.path, index)
        self._stream = self._container.streams.video[0]
        rate = self._stream.average_rate or 0
        known = 0 < rate <= MAX_CREDIBLE_FPS
        self.fps = float(rate) if known else DEFAULT_FPS
        self.expected_frames = None
        self.decoded_frames, self.number = 0, -1
        self._changed = threading.Condition()
        self._newest = None  # (number, frame) that was not given yet
        self._closed = self._ended = False
        self._error = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    @property
    def damage(self) -> str | None:
        """What was lost so far, in words; None if nothing."""
        found = []
        if passed := self.number + 1 - self.decoded_frames:
            found.append(f"{wording.count(passed, 'frame')} passed over")
        if self._error is not None:
            found.append(f"ended by the camera ({self._error.strerror})")
        return ", ".join(found) or None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields (time_s, RGB uint8 [height, width, 3]) of the newest frame.

        Times are the camera's, in seconds from its first frame on.
        """
        self._reader.start()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._ended)
                if self._newest is None:
                    break
                self.number, frame, first_s = self._newest
                self._newest = None
            self.decoded_frames += 1
            yield (
                round(frame.time - first_s, TIME_DIGITS),
                picture(frame, self._stream.sample_aspect_ratio),
            )
        if not isinstance(self._error, av.error.FFmpegError | None):
            raise self._error

    def __exit__(self, *exception: object) -> None:
        self._closed = True
        if self._reader.ident is not None:
            self._reader.join(timeout=2)
        if not self._reader.is_alive():  # or it would read what is closed
            self._container.close()

    def _read(self) -> None:
        """Keeps the newest frame, until the camera ends or is closed."""
        first_s = None
        frames = self._container.decode(self._stream)
        try:
            for number, frame in enumerate(frames):
                if self._closed:
                    break
                first_s = frame.time if first_s is None else first_s
                with self._changed:
                    self._newest = number, frame, first_s
                    self._changed.notify()
        except Exception as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()


def _open(path: str, index: int) -> av.container.InputContainer:
    """Opens a device."""
    try:
        return av.open(path, format="v4l2")
    except av.error.FFmpegError as error:
        there = listed(sorted(glob.glob(DEVICE.format("*"))))
        raise UserError(
            f"--video={index}: {path} is no camera that can be used "
            f"({error.strerror}); there is {there}: give the number of "
            "another, or a video file"
        ) from error
