"""Reads the frames of a camera as they come, with FFmpeg's v4l2.

It needs no screen, and is the reader of files besides.
"""

import contextlib
import glob
import os
import threading
from collections.abc import Iterator

import av
import numpy as np

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.faces.video import (
    DEFAULT_FPS,
    MAX_CREDIBLE_FPS,
    MAX_FAILURES,
    TIME_DIGITS,
    picture,
)

DEVICE = "/dev/video{}"


def path_of(index: int) -> str:
    """Returns the path of a camera's device.

    Raises:
        UserError: there is none.
    """
    path = DEVICE.format(index)
    if not os.path.exists(path):
        raise _unusable(path, index, "no such device")
    return path


def index_of(path: os.PathLike | str) -> int | None:
    """Returns the number of the camera that a path is of, None of a file."""
    number = os.fspath(path).removeprefix(DEVICE.format(""))
    is_device = DEVICE.format(number) == os.fspath(path)
    return int(number) if is_device and number.isdecimal() else None


class Camera(contextlib.AbstractContextManager):
    """Yields the newest frame of a camera, whenever the last one is done with.

    Whoever takes longer than the camera passes frames over, in place of falling
    behind: their numbers are missing then, as are those of damaged frames. As
    `Video`, use it as a context manager. It is iterated over once, and ends
    when the camera does or `stop` is called.

    Attributes:
        path: of the device.
        fps: frames a second that the camera promises, > 0; 25.0 without.
        expected_frames: None, because nobody knows.
        decoded_frames: how many frames were given so far.
        damaged_frames: how many between them had no picture.
        number: of the frame given last, as the camera counts on from the first
            that was given.
    """

    def __init__(self, index: int):
        """Opens a camera.

        Args:
            index: of the device, from 0 on.

        Raises:
            UserError: there is none, or it cannot be used.
        """
        self.path = path_of(index)
        self._container = _open(self.path, index)
        self._stream = self._container.streams.video[0]
        rate = self._stream.average_rate or 0
        known = 0 < rate <= MAX_CREDIBLE_FPS
        self.fps = float(rate) if known else DEFAULT_FPS
        self.expected_frames = None
        self.decoded_frames, self.damaged_frames, self.number = 0, 0, -1
        self._changed = threading.Condition()
        # (number, damaged ones before it, frame) that was not given yet
        self._newest = None
        self._closed = self._ended = False
        self._error = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def damage(self) -> str | None:
        """What was lost so far, in words; None if nothing."""
        found = []
        taken = self.decoded_frames + self.damaged_frames
        if passed := self.number + 1 - taken:
            found.append(f"{wording.count(passed, 'frame')} passed over")
        if self.damaged_frames:
            found.append(wording.count(self.damaged_frames, "damaged frame"))
        if self._error is not None:
            found.append(f"ended by the camera ({self._error.strerror})")
        return ", ".join(found) or None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields (time_s, RGB uint8 [height, width, 3]) of the newest frame.

        Times are the camera's, in seconds from the first one on.
        """
        first, failures = None, 0
        without = 0  # of which no picture can be made
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._ended)
                if self._newest is None:
                    break
                number, damaged, frame = self._newest
                self._newest = None
            try:
                rgb = picture(frame, self._stream.sample_aspect_ratio)
            except av.error.FFmpegError as error:
                without, failures = without + 1, failures + 1
                if failures < MAX_FAILURES:
                    continue
                self._error = error
                break
            failures = 0
            damaged += without
            first = first or (number, damaged, frame.time)
            self.number = number - first[0]
            self.damaged_frames = damaged - first[1]
            self.decoded_frames += 1
            yield round(frame.time - first[2], TIME_DIGITS), rgb
        if not isinstance(self._error, av.error.FFmpegError | None):
            raise self._error

    def stop(self) -> None:
        """Ends the iteration after the frame at hand."""
        with self._changed:
            self._closed = self._ended = True
            self._newest = None
            self._changed.notify()

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._reader.join(timeout=2)
        if not self._reader.is_alive():  # or it would read what is closed
            self._container.close()

    def _read(self) -> None:
        """Keeps the newest frame, until the camera ends or is closed."""
        number = damaged = failures = 0
        try:
            for packet in self._container.demux(self._stream):
                if self._closed:
                    break
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    number, damaged = number + 1, damaged + 1
                    failures += 1
                    if failures == MAX_FAILURES:
                        raise
                    continue
                failures = 0
                for frame in frames:
                    with self._changed:
                        if not self._closed:
                            self._newest = number, damaged, frame
                        self._changed.notify()
                    number += 1
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
        raise _unusable(path, index, error.strerror) from error


def _unusable(path, index, why) -> UserError:
    there = listed(sorted(glob.glob(DEVICE.format("*"))))
    return UserError(
        f"--video={index}: {path} is no camera that can be used ({why}); there "
        f"is {there}: give the number of another, or a video file"
    )
