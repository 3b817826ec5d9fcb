"""Clips that are a picture for each frame: whole frames, or ready crops."""

import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np
from PIL import Image, ImageOps

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.faces import tracking
from affwild_omg.faces.views import IMPLAUSIBLE, NO_PICTURE, Face
from affwild_omg.storage import files, remote


class Pictures:
    """Yields the pictures of a clip with their times, as `Video` its frames.

    Attributes:
        path: the folder as given.
        fps: frames a second.
        number: of the frame that was given last, from 0 on.
        unreadable: the pictures that the last iteration could not read.
    """

    def __init__(
        self,
        folder: os.PathLike | str,
        names: Sequence[str],
        fps: float,
    ):
        """Takes a clip.

        Args:
            folder: where its pictures lie.
            names: the picture of each frame, "" for none.
            fps: frames a second, > 0.
        """
        self.fps, self.number, self.unreadable = fps, -1, []
        self.path, self._names = remote.path(folder), names

    @property
    def damage(self) -> str | None:
        """What could not be read in the last iteration; None if all could."""
        if not self.unreadable:
            return None
        return wording.count(len(self.unreadable), "unreadable picture")

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields (time_s, RGB uint8 [height, width, 3]) of each picture.

        Raises:
            UserError: not one can be read.
            OSError: a disk or server fails, which may pass.
        """
        self.number, self.unreadable = -1, []
        for number, name in enumerate(self._names):
            if not name:
                continue
            path = self.path / name
            try:
                data = np.frombuffer(path.read_bytes(), np.uint8)
                bgr = (
                    cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
                )
            except (*files.WRONG_PATH, cv2.error):
                bgr = None
            if bgr is None:
                self.unreadable.append(path)
                continue
            self.number = number
            yield number / self.fps, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        if self.number < 0:
            raise UserError(
                f"{self.path}: not one picture of the clip is there and can be "
                "read; put them there, or leave the clip out"
            )


def open_file(data: bytes, name: str) -> Image.Image:
    """Reads what a PNG or JPEG file says of its picture, such as its size.

    Nothing is decoded yet: a few bytes may state a picture of many gigabytes.

    Args:
        data: the file.
        name: what it is called in the message.

    Raises:
        UserError: it is neither.
    """
    try:
        return Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(
            f"{name} is not a PNG or JPEG file, or is too large"
        ) from None


def decode(data: bytes, name: str, most_pixels: int) -> np.ndarray:
    """Decodes a PNG or JPEG file, turned as it says.

    Args:
        data: the file.
        name: what it is called in the message.
        most_pixels: that the picture may have.

    Returns:
        RGB uint8 [height, width, 3].

    Raises:
        UserError: it is neither, damaged, cut off or too large.
    """
    picture = open_file(data, name)
    width, height = picture.size
    if width * height > most_pixels:
        raise UserError(
            f"{name} is {width}x{height}; at most {most_pixels} pixels are "
            "allowed"
        )
    try:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except Exception as error:  # of a damaged Exif, Pillow lets anything out
        raise UserError(f"{name} is damaged: {error}") from error


def faces_of_crops(
    pictures: Pictures,
    landmarker: Callable,
    watch: Callable[[float, np.ndarray], None] | None = None,
) -> Iterator[tuple[float, Face]]:
    """Finds the face of ready crops, by landmarks alone.

    Args:
        pictures: each shows one face, which fills it.
        landmarker: finds 68 landmarks in a box, as `landmarks.Landmarker`.
        watch: is shown the time and the pixels of each picture.

    Yields:
        The time in seconds and the Face of each picture that can be read.
    """
    for time_s, rgb in pictures:
        if watch is not None:
            watch(time_s, rgb)
        face = tracking.face_in_crop(rgb, landmarker)
        yield time_s, face or Face.missing(IMPLAUSIBLE)


def with_gaps(
    faces: Iterable[tuple[int, float, Face]], fps: float, frames: int
) -> Iterator[tuple[int, float, Face]]:
    """Puts a frame without a face where a clip of pictures has none.

    Args:
        faces: (number of the frame, time in seconds, Face) of those that there
            are, in order.
        fps: frames a second.
        frames: how many the clip has.
    """
    following = 0
    end = (frames, 0.0, None)
    for number, time_s, face in itertools.chain(faces, [end]):
        for gap in range(following, number):
            yield gap, gap / fps, Face.missing(NO_PICTURE)
        if face is not None:
            yield number, time_s, face
        following = number + 1
