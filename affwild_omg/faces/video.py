"""Reads videos frame by frame, in constant memory, with FFmpeg through PyAV.

The same frames come out alike whatever container they lie in: upright, in
square pixels, each once, at its time.
"""

import contextlib
import heapq
import itertools
import math
import os
from collections.abc import Iterator

import av
import numpy as np
from absl import logging
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.storage import files, remote

DEFAULT_FPS = 25.0

# Containers that store no frame rate make FFmpeg answer with the ticks of
# their clock, 1000 a second and more.
MAX_CREDIBLE_FPS = 999.0

# Pixels may be this many times as wide as high, or as high as wide; others are
# taken as square. Those of television and anamorphic films reach about 2, and
# no display has pixels beyond 4, but a damaged header may tell of 200, which
# makes gigabytes of a few frames.
MAX_PIXEL_RATIO = 4

# Records hold times in whole microseconds.
TIME_DIGITS = 6

# A file that fails to be read this often in a row does not get any further.
MAX_FAILURES = 100

# How much earlier than its stream says a film may end, in frames, or as a share
# up to so many seconds: containers round, and a header may count a frame too
# many.
EARLY_FRAMES = 2
EARLY_SHARE = 0.01
EARLY_S = 0.5

# So many frames after damage, what is missing may still be its trace: decoders
# hold 16 at most, and one is read ahead.
TRACE_FRAMES = 17

# Codecs some of whose packets give no frame by design.
HIDING = ("vp8", "vp9")

# These have an index of all packets. Where others are damaged, FFmpeg goes on
# with what it finds next, and may say nothing: in a film of one rate, but for
# such a share of its frames, a gap tells.
MP4, AVI = "mov,mp4,m4a,3gp,3g2,mj2", "avi"
ODD_GAPS = 0.01


class Video(contextlib.AbstractContextManager):
    """Yields the frames of a video file with their presentation times.

    Of several video streams the default one counts, or else the largest; a
    cover picture is none. Frames are turned as the file's display matrix says,
    and stretched where its pixels are not square. Only a few frames are held at
    a time. Each iteration reads the file from its start. Use it as a context
    manager, so that the file is closed:

        with Video("clip.mp4") as video:
            for time_s, rgb in video:
                ...

    Attributes:
        path: the path as given.
        fps: frames a second by the header, on average, > 0; 25.0 where it has
            none.
        expected_frames: an estimate from the header, None where it has none.
        decoded_frames: how many frames the last iteration has decoded so far.
        damaged_packets: how many compressed frames it found damaged.
        replaced_times: how many frames' own times it found wrong.
        number: in the film, from 0 on, of the frame that was given last. Frames
            that damage took away count: by the times of packets that gave none,
            or where these have no times, by the gap that is left in time.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Opens a video and decodes its first frame.

        Args:
            path: a video file, in any format that FFmpeg decodes.

        Raises:
            UserError: the file is missing, a directory, empty or not a video,
                its codec is unknown, or not one frame of it can be decoded.
            OSError: it cannot be read, which may pass.
        """
        self.path = os.fspath(path)
        self._container = self._stream = None
        self._first = self._start()
        rate = self._stream.average_rate or self._stream.guessed_rate or 0
        known = 0 < rate <= MAX_CREDIBLE_FPS
        self.fps = float(rate) if known else DEFAULT_FPS
        self._rated = known
        self._stated_s = _stated_duration(self._stream)
        self.expected_frames = (
            round(self._stated_s * self.fps) if self._stated_s else None
        )
        self._end_s = 0.0  # of the last frame so far

    @property
    def damage(self) -> str | None:
        """What was lost in the last iteration, in words; None if nothing.

        It is known only after an iteration to the end.
        """
        found = []
        if self.damaged_packets:
            found.append(wording.count(self.damaged_packets, "damaged packet"))
        if self.replaced_times:
            found.append(wording.count(self.replaced_times, "replaced time"))
        missing = (self.expected_frames or 0) - self._read
        early_s = (self._stated_s or 0.0) - self._end_s
        if early_s > max(
            EARLY_FRAMES * self._end_s / max(1, self.decoded_frames),
            min(EARLY_SHARE * (self._stated_s or 0.0), EARLY_S),
        ):
            found.append(
                f"ends after {self._end_s:.2f} of {self._stated_s:.2f} s"
            )
        elif self._lies_in(AVI) and self._is_regular() and missing > 0:
            found.append(
                f"{missing} of {self.expected_frames} frames missing, it is "
                "not known where"
            )
        if self._gaps and self._is_regular() and not self._lies_in(MP4, AVI):
            found.append(
                f"{wording.count(self._skipped, 'frame')} missing, by gaps of "
                "time that do not count in frames' numbers"
            )
        return ", ".join(found) or None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields (time_s, frame) for each frame that can be decoded.

        `time_s` is the frame's presentation time in seconds from the first
        frame on, in whole microseconds and strictly increasing; `frame` is RGB
        uint8 [height, width, 3]. A time that does not increase, or that the
        next frame takes back, is replaced.

        Raises:
            UserError: no picture can be made of any frame.
            OSError: the file could not be read to its end, which may pass.
        """
        first = self._first or self._start()
        self._first = None
        start_s = first.time or 0.0

        def own(frame):
            known = frame is not None and frame.time is not None
            return round(frame.time - start_s, TIME_DIGITS) if known else None

        time_s, last_s = -math.inf, None
        damaged = trace = 0
        ahead = itertools.chain([first], self._frames, [None])
        for frame, later in itertools.pairwise(ahead):
            try:
                rgb = picture(frame, self._stream.sample_aspect_ratio)
            except av.error.FFmpegError:
                self.damaged_packets += not frame.is_corrupt  # counted already
                continue
            own_s, later_s = own(frame), own(later)
            new_s = -math.inf if own_s is None else own_s
            if later_s is not None and time_s < later_s < new_s:
                new_s = round((time_s + later_s) / 2, TIME_DIGITS)
            if new_s <= time_s:  # no time, or a wrong one
                new_s = round(max(0.0, time_s + 1 / self.fps), TIME_DIGITS)
            # Files without times may give all frames the same one.
            self.replaced_times += own_s not in (None, last_s, new_s)
            # Only damage takes frames away: other gaps are pauses.
            trace -= 1
            if self.damaged_packets > damaged:
                damaged, trace = self.damaged_packets, TRACE_FRAMES
            if self.decoded_frames:
                gap_s = new_s - time_s
            else:
                gap_s = new_s + self._late_s
            skipped = round(gap_s * self.fps) - bool(self.decoded_frames)
            skipped = max(0, skipped)
            missing = self._missing(frame, skipped)
            if trace > 0:
                self.number += missing
            elif self.decoded_frames:
                self._gaps += skipped > 0
                self._skipped += skipped
            self.number += 1
            time_s, last_s = new_s, own_s
            self.decoded_frames += 1
            lasts = frame.duration * frame.time_base if frame.duration else 0
            self._end_s = time_s + float(lasts)
            yield time_s, rgb
        if not self.decoded_frames:
            raise _not_a_video(self.path)
        if self.damage:
            _check_readable(self.path)
            logging.warning(
                "%s: %s; the %d frames that could be decoded are used",
                self.path,
                self.damage,
                self.decoded_frames,
            )

    def close(self) -> None:
        """Closes the file."""
        if self._container is not None:
            self._container.close()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _late(self, first: av.VideoFrame) -> float:
        """Returns how long the film had run at its first frame, in seconds."""
        start, at = self._stream.start_time, first.pts
        if at is None or start is None:
            return 0.0
        if self._lies_in(AVI) and first.key_frame and self._key is not None:
            at = self._key  # its packet's; its own is later by reordering
        return float((at - start) * self._stream.time_base)

    def _missing(self, frame: av.VideoFrame, skipped: int) -> int:
        """Returns how many frames before one are missing, if any are.

        As many as packets before it, by time, gave none.

        Args:
            frame: the one.
            skipped: frames that the gap before it has room for; which counts
                where packets or frames have no times, or may be gone.
        """
        if self._untimed or frame.pts is None:
            return skipped
        missing = 0
        while self._pending and self._pending[0] <= frame.pts:
            missing += heapq.heappop(self._pending) < frame.pts
        if self._is_regular() and not self._lies_in(MP4):
            return max(missing, skipped)
        return missing

    def _is_regular(self) -> bool:
        """Tells whether the frames so far have the rate of the header."""
        return self._rated and self._gaps <= ODD_GAPS * self.decoded_frames

    def _lies_in(self, *containers: str) -> bool:
        return self._container.format.name in containers

    def _note(self, packet: av.Packet, damaged: bool) -> None:
        """Keeps the time at which a packet's frame is due."""
        if not packet.size or packet.is_discard:
            return
        self._read += 1
        if packet.is_keyframe and not damaged:
            self._key = packet.dts
        if packet.pts is None or self._lies_in(AVI):
            self._untimed = True
        elif damaged or self._stream.codec_context.name not in HIDING:
            heapq.heappush(self._pending, packet.pts)

    def _start(self) -> av.VideoFrame:
        """Opens the file anew, and returns its first frame."""
        self.close()
        self.decoded_frames = self.damaged_packets = self.replaced_times = 0
        self.number = -1
        self._pending, self._untimed, self._key = [], False, None
        self._read = self._gaps = self._skipped = 0
        self._container = _open(self.path)
        self._stream = _choose(self._container, self.path)
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            self.close()
            raise _not_a_video(self.path)
        self._late_s = self._late(first)
        return first

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yields what can be decoded, and counts what cannot."""
        for packet in self._packets():
            damaged = packet.is_corrupt
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                frames, damaged = (), True
            self.damaged_packets += damaged
            self._note(packet, damaged)
            for frame in frames:
                self.damaged_packets += frame.is_corrupt and not damaged
                if self._lies_in(AVI):
                    # It stores no times; FFmpeg makes some up, out of order.
                    frame.pts = frame.dts
                yield frame

    def _packets(self) -> Iterator[av.Packet]:
        """Yields what can be read, and an empty packet to flush the decoder."""
        failures = 0
        while failures < MAX_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet
                return
            except av.error.FFmpegError:  # the container itself is damaged
                failures += 1
                self.damaged_packets += failures == 1
        flush = av.Packet()
        flush.stream, flush.time_base = self._stream, self._stream.time_base
        yield flush


def picture(frame: av.VideoFrame, ratio: float | None) -> np.ndarray:
    """Converts a frame to RGB, in square pixels and upright.

    Args:
        frame: as decoded.
        ratio: how many times its pixels are as wide as high; None if unknown.

    Returns:
        uint8 [height, width, 3].
    """
    if not ratio or not 1 / MAX_PIXEL_RATIO <= ratio <= MAX_PIXEL_RATIO:
        ratio = 1
    width, height = frame.width, frame.height
    if ratio > 1:
        width = round(width * ratio)
    elif ratio < 1:
        height = round(height / ratio)
    rgb = frame.reformat(width, height, "rgb24", interpolation="BICUBIC")
    # Asked for its side data, a frame would hold what holds the frame, and
    # both would stay until Python's next collection: 85 MB of them.
    side_data = SideDataContainer(frame)
    return _turn(rgb.to_ndarray(), side_data.get("DISPLAYMATRIX"))


def _turn(rgb: np.ndarray, matrix) -> np.ndarray:
    """Turns a frame as its display matrix says, by quarters and mirrors.

    The matrix [[a, b, .], [c, d, .], ...] takes the pixel (x, y) to (a x + c y,
    b x + d y).
    """
    if matrix is None:
        return rgb
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        rgb, right, down = rgb.transpose(1, 0, 2), c, b
    else:
        right, down = a, d
    rgb = rgb[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
    return np.ascontiguousarray(rgb)


def _stated_duration(stream) -> float | None:
    """Returns how long a stream says that it is, in seconds."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    try:  # Matroska has its end on the container's clock, as a text
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        end_s = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        start_s = float((stream.start_time or 0) * stream.time_base)
        return max(0.0, end_s - start_s)
    except (KeyError, ValueError):
        return None


def _open(path: str):
    try:
        # A film from elsewhere takes no more of the disk than is open.
        with files.local(remote.path(path)) as here:
            with open(here, "rb"):  # whose errors say more than FFmpeg's
                pass
            # "file:", because FFmpeg takes what stands before a colon for a
            # protocol; names in other encodings than UTF-8 are no damage.
            return av.open(
                f"file:{os.path.abspath(here)}", metadata_errors="replace"
            )
    except (UserError, ConnectionError):  # of its place, not of the film
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise _not_a_video(path) from error
    except files.WRONG_PATH as error:  # others may pass, as a full disk's
        raise UserError(
            f"{path}: {error.strerror}; give a video file that can be read"
        ) from error


def _not_a_video(path: str) -> UserError:
    """Returns what to tell of a file; raises OSError if it cannot be read."""
    _check_readable(path)
    return UserError(
        f"{path}: not a video, or damaged at its start (not one frame can be "
        "decoded); convert it to what FFmpeg can decode, or leave it out"
    )


def _check_readable(path: str) -> None:
    """Reads a file through: FFmpeg takes a disk that fails for damage."""
    place = remote.path(path)
    if files.is_remote(place):  # it came whole
        return
    try:
        with open(place, "rb") as file:
            while file.read(2**20):
                pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _choose(container, path: str):
    """Returns the stream that a player would show."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise UserError(
            f"{path}: no film, only sound, text or a cover picture; a video "
            "is needed: leave the file out"
        )
    # PyAV gives a stream without a decoder no context.
    decodable = [stream for stream in streams if stream.codec_context]
    if not decodable:
        raise UserError(
            f"{path}: FFmpeg has no decoder for its codec; convert it, such as "
            "to H.264, or leave it out"
        )
    stream = max(
        decodable,
        key=lambda x: (
            bool(x.disposition & Disposition.default),
            x.width * x.height,
        ),
    )
    # Threads that decode several frames at once tell damage late; at the end of
    # the file, the frames that wait behind it would be lost. dav1d has its own.
    stream.thread_type = "SLICE"
    stream.codec_context.options = {"max_frame_delay": "1"}
    return stream
