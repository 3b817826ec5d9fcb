"""A camera, for which stands a file played at its pace, or a device by hand."""

import fractions
import functools
import threading
import time
import types

import av
import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.faces import camera, video
from affwild_omg.faces.camera import Camera
from tests.faces.test_video import COUNT, HEIGHT, RATE, make_frame, write_video


class Device:
    """A device whose frames come when they are let through."""

    def __init__(self, error=None, damaged=()):
        self.stream = types.SimpleNamespace(
            average_rate=RATE, sample_aspect_ratio=None
        )
        self.streams = types.SimpleNamespace(video=[self.stream])
        self.error, self.damaged, self.given = error, damaged, 0
        self.wanted = threading.Semaphore(0)
        self.closed = False

    def demux(self, stream):
        for number in range(COUNT):
            self.wanted.acquire()
            if number == 5 and self.error:
                raise self.error
            yield types.SimpleNamespace(
                decode=functools.partial(self.decode, number)
            )

    def decode(self, number):
        if number in self.damaged:
            raise av.error.InvalidDataError(1, "Invalid data")
        frame = av.VideoFrame.from_ndarray(make_frame(number), "rgb24")
        frame.pts = round(1e3 * (70 + number / RATE))
        frame.time_base = fractions.Fraction(1, 1000)
        return [frame]

    def give(self, film, count):
        """Lets some frames through to a camera."""
        self.given += count
        self.wanted.release(count)
        while not film._newest or film._newest[0] < self.given - 1:
            time.sleep(0.001)

    def close(self):
        self.closed = True


@pytest.fixture
def opened(monkeypatch, tmp_path):
    def opened(device):
        (tmp_path / "video0").touch()
        monkeypatch.setattr(camera, "DEVICE", f"{tmp_path}/video{{}}")
        monkeypatch.setattr(camera, "_open", lambda path, index: device)
        return Camera(0)

    return opened


def test_a_file_stands_for_the_camera(tmp_path, opened):
    write_video(tmp_path / "film.mp4")
    device = av.open(f"movie={tmp_path}/film.mp4,realtime", format="lavfi")
    begin = time.monotonic()
    with opened(device) as film:
        assert film.fps == RATE and film.expected_frames is None
        first = None
        for time_s, rgb in film:
            assert time_s == pytest.approx(film.number / RATE, abs=1e-6)
            red = rgb[HEIGHT // 2 :, :, 0].mean() / 8
            first = round(red) if first is None else first
            assert red == pytest.approx(first + film.number, abs=0.5)
    assert time.monotonic() - begin > (COUNT - 2) / RATE
    assert first + film.number == COUNT - 1
    passed = film.number + 1 - film.decoded_frames
    assert (film.damage or "0 ").startswith(f"{passed} ")


def test_frames_that_nobody_took_in_time_are_passed_over(opened):
    device = Device()
    with opened(device) as film:
        device.give(film, 4)  # before anybody asks, which counts for nothing
        frames = iter(film)
        time_s, rgb = next(frames)
        assert (time_s, film.number, film.damage) == (0.0, 0, None)
        np.testing.assert_array_equal(rgb, make_frame(3))
        device.give(film, 5)
        time_s, rgb = next(frames)
        assert (time_s, film.number) == (pytest.approx(5 / RATE), 5)
        np.testing.assert_array_equal(rgb, make_frame(8))
        assert film.decoded_frames == 2
        assert film.damage == "4 frames passed over"
        device.give(film, 1)
        film.stop()
        assert list(frames) == []
        device.wanted.release(COUNT)  # so that its thread can end
    assert device.closed


def test_damaged_frames_leave_gaps(opened, monkeypatch):
    def picture(frame, ratio):
        if round((frame.time - 70) * RATE) in (0, 4, 8):
            device.given += 1
            device.wanted.release()  # the next one
            raise av.error.InvalidDataError(1, "no picture")
        return video.picture(frame, ratio)

    monkeypatch.setattr(camera, "picture", picture)
    device = Device(damaged=(2, 6))
    with opened(device) as film:
        frames = iter(film)
        device.give(film, 1)
        next(frames)
        assert (film.number, film.damage) == (0, None)
        device.give(film, 2)
        next(frames)
        assert (film.number, film.damage) == (2, "1 damaged frame")
        device.give(film, 1)
        next(frames)
        assert (film.number, film.damage) == (4, "2 damaged frames")
        device.give(film, 2)  # the second is passed over
        device.give(film, 1)
        time_s, rgb = next(frames)
        assert time_s == pytest.approx(8 / RATE)
        np.testing.assert_array_equal(rgb, make_frame(9))
        assert (film.number, film.decoded_frames) == (8, 4)
        assert film.damage == "1 frame passed over, 4 damaged frames"
        device.wanted.release(COUNT)  # so that its thread can end


@pytest.mark.parametrize("decoded", [True, False])
def test_a_camera_without_a_whole_frame_ends(opened, monkeypatch, decoded):
    def picture(frame, ratio):
        device.wanted.release()
        raise av.error.InvalidDataError(1, "Invalid data")

    monkeypatch.setattr(camera, "picture", picture)
    monkeypatch.setattr(camera, "MAX_FAILURES", 3)
    device = Device(damaged=() if decoded else range(COUNT))
    device.wanted.release(1 if decoded else COUNT)
    with opened(device) as film:
        assert list(film) == []
        assert film.damage == "ended by the camera (Invalid data)"
        device.wanted.release(COUNT)  # so that its thread can end


def test_a_camera_that_is_pulled_out_ends_the_film(opened):
    error = av.error.OSError(19, "No such device")
    device = Device(error=error)
    device.wanted.release(COUNT)
    with opened(device) as film:
        assert len(list(film)) <= 5
    assert "ended by the camera (No such device)" in film.damage


def test_another_error_reaches_who_reads(opened):
    device = Device(error=MemoryError("no more"))
    device.wanted.release(COUNT)
    with opened(device) as film, pytest.raises(MemoryError, match="no more"):
        list(film)


def test_a_missing_camera_is_told_in_a_line():
    with pytest.raises(UserError) as raised:
        Camera(97)
    message = str(raised.value)
    assert message.startswith("--video=97: /dev/video97 is no camera that can")
    assert "(no such device)" in message
    assert message.endswith("or a video file") and "\n" not in message


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("/dev/video0", 0),
        ("/dev/video12", 12),
        ("/dev/video", None),
        ("/dev/videos", None),
        ("0", None),
        ("video0", None),
    ],
)
def test_the_path_of_a_device_is_known(path, index):
    assert camera.index_of(path) == index


def test_a_device_that_is_no_camera_is_told_in_a_line(monkeypatch, tmp_path):
    (tmp_path / "video3").write_bytes(b"no camera")
    monkeypatch.setattr(camera, "DEVICE", f"{tmp_path}/video{{}}")
    with pytest.raises(UserError, match="--video=3: .*there is .*video3: give"):
        Camera(3)
