import cv2
import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.faces.video import Video


def write_clip(path, frames=30, fps=20.0, codec="MJPG"):
    """Writes a clip: red grows with the frame's number, blue is constant."""
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*codec), fps, (64, 48)
    )
    assert writer.isOpened()
    for index in range(frames):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[..., 2] = 8 * index  # OpenCV writes BGR
        frame[..., 0] = 40
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [("clip.avi", "MJPG"), ("clip.mp4", "mp4v")],
)
def test_frames_times_and_colours(tmp_path, name, codec):
    with Video(write_clip(tmp_path / name, codec=codec)) as video:
        assert video.fps == pytest.approx(20.0)
        assert video.announced_frames == 30
        times, frames = zip(*video, strict=True)
        assert video.decoded_frames == 30
        assert not video.truncated
    np.testing.assert_allclose(times, np.arange(30) / 20, atol=2e-3)
    for index, frame in enumerate(frames):
        assert frame.shape == (48, 64, 3) and frame.dtype == np.uint8
        red, green, blue = frame.reshape(-1, 3).mean(axis=0)
        assert red == pytest.approx(8 * index, abs=6)
        assert green == pytest.approx(0, abs=6)
        assert blue == pytest.approx(40, abs=6)


def test_reads_lazily_and_again_from_the_start(tmp_path):
    with Video(write_clip(tmp_path / "clip.avi")) as video:
        frames = iter(video)
        _, first = next(frames)
        next(frames)
        assert video.decoded_frames == 2
        _, again = next(iter(video))
        np.testing.assert_array_equal(first, again)
        assert len(list(video)) == 30
        assert video.decoded_frames == 30


def test_truncated_file_gives_what_it_holds(tmp_path, capfd):
    whole = write_clip(tmp_path / "whole.avi", frames=31)
    data = whole.read_bytes()
    part = tmp_path / "part.avi"
    part.write_bytes(data[: len(data) // 2])
    with Video(part) as video:
        count = len(list(video))
        assert 1 <= count <= 28
        assert video.decoded_frames == count
        assert video.announced_frames == 31
        assert video.truncated
    assert "FFMPEG" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("announced", "decoded", "truncated"),
    [
        (66, 64, False),
        (66, 63, True),
        (1000, 990, False),
        (1000, 989, True),
        (10, 12, False),
        (None, 3, False),
    ],
)
def test_rule_of_truncation(tmp_path, announced, decoded, truncated):
    with Video(write_clip(tmp_path / "clip.avi", frames=2)) as video:
        video.announced_frames = announced
        video.decoded_frames = decoded
        assert video.truncated is truncated


def test_real_truncated_clips_decode_quietly(tmp_path, clip, capfd):
    for name, share in (("cap13_edit2.mp4", 0.5), ("asl_yes.mkv", 0.7)):
        data = clip(name).read_bytes()
        part = tmp_path / name
        part.write_bytes(data[: int(share * len(data))])
        with Video(part) as video:
            times = [time_s for time_s, _ in video]
            assert video.truncated
        assert len(times) == video.decoded_frames > 20
        assert (np.diff(times) > 0).all()
    captured = capfd.readouterr()
    assert captured.out == ""
    for word in ("mov,mp4", "matroska", "h264", "NULL @"):
        assert word not in captured.err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.mp4", None, "No such file"),
        ("empty.mp4", b"", "an empty file"),
        (".", None, "Is a directory"),
        ("headless.mp4", b"\0\0\0\x18ftypmp42" + bytes(4000), "not a video"),
    ],
)
def test_no_video_is_told_in_one_line(tmp_path, capfd, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        Video(path)
    message = str(raised.value)
    assert words in message and str(path) in message
    assert "\n" not in message
    assert capfd.readouterr().err == ""
