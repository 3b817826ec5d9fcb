"""The same frames come out of any container: all, upright, at their times."""

import errno
import fractions
import gc
import io
import itertools
import os
import re
import struct

import av
import numpy as np
import pytest
from av.stream import Disposition

from affwild_omg.cli.errors import UserError
from affwild_omg.faces import video as video_module
from affwild_omg.faces.pictures import Pictures
from affwild_omg.faces.video import Video

RATE = 20
COUNT = 30
WIDTH, HEIGHT = 64, 48


def make_frame(index, width=WIDTH, height=HEIGHT):
    """Draws red that grows with the number, and one bright corner."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0] = 8 * index
    rgb[..., 2] = 40
    rgb[: height // 4, : width // 4] = 200  # upper left
    return rgb


def write_video(
    path,
    frames=None,
    *,
    codec="libx264",
    pixels="yuv420p",
    times=None,
    ratio=None,
    cover=False,
    sound=False,
    **options,
):
    """Writes a film, at RATE frames a second or at given times in ms."""
    ticks = fractions.Fraction(1, 1000 if times else RATE)
    frames = [make_frame(i) for i in range(COUNT)] if frames is None else frames
    with av.open(str(path), "w", options=options) as container:
        film = None
        if frames:
            film = container.add_stream(codec, rate=RATE)
            film.height, film.width = frames[0].shape[:2]
            film.pix_fmt = pixels
            film.codec_context.gop_size = 10
            film.codec_context.bit_rate = 4_000_000
            film.codec_context.time_base = ticks
            if ratio:
                film.codec_context.sample_aspect_ratio = ratio
        if sound:
            noise = container.add_stream("aac", rate=8000, layout="mono")
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 32
            picture.pix_fmt = "yuvj420p"
            picture.disposition = Disposition.attached_pic
            packets = _encode(picture, make_frame(9, 32, 32), 0)
            container.mux([*packets, *picture.encode(None)])
        for index, rgb in enumerate(frames):
            time = times[index] if times else index
            container.mux(_encode(film, rgb, time, ticks))
        if frames:
            container.mux(film.encode(None))
        if sound:
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 8000), np.float32), "fltp", "mono"
            )
            silence.rate = 8000
            container.mux([*noise.encode(silence), *noise.encode(None)])
    return path


def _encode(stream, rgb, time, ticks=fractions.Fraction(1)):
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    frame = frame.reformat(format=stream.pix_fmt)
    frame.time_base, frame.pts = ticks, time
    return stream.encode(frame)


def remux(source, target, change=lambda index, packet: None):
    """Copies a film into another container, without encoding it again."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for index, packet in enumerate(old.demux(video=0)):
            if packet.dts is not None:
                change(index, packet)
                packet.stream = stream
                new.mux(packet)
    return target


def read(path):
    with Video(path) as video:
        times, frames = zip(*video, strict=True)
        return np.array(times), frames, video


def test_frames_times_and_colours(tmp_path):
    times, frames, video = read(write_video(tmp_path / "clip.mp4"))
    assert video.fps == pytest.approx(RATE)
    assert video.expected_frames == video.decoded_frames == COUNT
    assert video.damage is None
    np.testing.assert_allclose(times, np.arange(COUNT) / RATE, atol=1e-6)
    for index, frame in enumerate(frames):
        assert frame.dtype == np.uint8
        assert np.abs(frame.astype(int) - make_frame(index)).mean() < 4


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film in MP4, its times and its frames."""
    path = write_video(tmp_path_factory.mktemp("film") / "clip.mp4")
    return path, *read(path)[:2]


@pytest.mark.parametrize("suffix", ["mkv", "mov", "ts", "flv", "nut", "avi"])
def test_any_container_gives_the_same(film, tmp_path, suffix):
    path, times, frames = film
    if suffix == "avi":  # which does not take H.264 as MP4 has it
        path = write_video(tmp_path / "clip.mp4", codec="mpeg4")
        times, frames, _ = read(path)
    found = read(remux(path, tmp_path / f"clip.{suffix}"))
    np.testing.assert_allclose(found[0], times, atol=1e-3)
    np.testing.assert_array_equal(found[1], frames)
    assert found[2].damage is None


@pytest.mark.parametrize(
    "name", ["12:30 take.mp4", "grüße 視頻.mp4", "100%d.mp4"]
)
def test_any_name_is_a_file(film, tmp_path, name):
    path, _, frames = film
    (tmp_path / name).write_bytes(path.read_bytes())
    np.testing.assert_array_equal(read(tmp_path / name)[1], frames)


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda x: x),
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),  # shown clockwise
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
        ((0, -1, 1, 0), lambda x: np.rot90(x)),
        ((-1, 0, 0, 1), np.fliplr),  # a mirror, as front cameras write it
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda x: x.transpose(1, 0, 2)),
    ],
)
def test_a_turned_film_is_read_upright(film, tmp_path, matrix, upright):
    path, _, frames = film
    data = bytearray(path.read_bytes())
    # The track header: 8 bytes box, 4 version, 20 times and ids, 16 others.
    start = data.index(b"tkhd") - 4 + 48
    a, b, c, d = (65536 * x for x in matrix)
    data[start : start + 36] = struct.pack(
        ">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30
    )
    (tmp_path / "turned.mp4").write_bytes(data)
    for found, frame in zip(
        read(tmp_path / "turned.mp4")[1], frames, strict=True
    ):
        np.testing.assert_array_equal(found, upright(frame))


@pytest.mark.parametrize(
    ("ratio", "shape"),
    [
        ("4/3", (48, 64)),
        ("3/4", (64, 48)),
        ("1/1", (48, 48)),
        ("4/1", (48, 192)),
        ("1/4", (192, 48)),
        ("41/10", (48, 48)),  # no display has such pixels
        ("1/40", (48, 48)),
    ],
)
def test_pixels_that_are_not_square_are_stretched(tmp_path, ratio, shape):
    squeezed = [make_frame(i, 48, 48) for i in range(4)]
    path = write_video(
        tmp_path / "clip.mkv", squeezed, ratio=fractions.Fraction(ratio)
    )
    for index, frame in enumerate(read(path)[1]):
        assert frame.shape[:2] == shape
        wanted = make_frame(index, *shape[::-1])
        assert np.abs(frame.astype(int) - wanted).mean() < 6


def test_variable_rates_pauses_and_doubled_times(tmp_path):
    own = [0, 40, 60, 61, 500, 90_000, 90_040]  # ms
    frames = [make_frame(i) for i in range(len(own))]
    path = write_video(tmp_path / "clip.mkv", frames, codec="ffv1", times=own)
    times, found, video = read(path)
    np.testing.assert_allclose(times, np.array(own) / 1000, atol=1e-6)
    assert len(found) == len(own) and video.damage is None


def test_times_rise_in_whole_microseconds(tmp_path):
    # 0.3 microseconds apart, and 0.6 that are 1 when rounded.
    own = [0, 400_000, 400_003, 1_200_004, 1_200_010]
    ticks = fractions.Fraction(1, 10_000_000)
    path = tmp_path / "clip.mov"
    with av.open(str(path), "w") as container:
        film = container.add_stream("mjpeg", rate=25)
        film.width, film.height, film.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        film.codec_context.time_base = film.time_base = ticks
        for index, time in enumerate(own):
            container.mux(_encode(film, make_frame(index), time, ticks))
        container.mux(film.encode(None))
    times, frames, video = read(path)
    assert len(frames) == len(own)
    # One that does not rise comes a frame after the one before.
    expected = [0, 40_000, 40_000 + round(1e6 / video.fps), 120_000, 120_001]
    assert [1e6 * time for time in times] == pytest.approx(expected, abs=1e-6)


def test_times_count_from_the_first_frame(tmp_path):
    frames = [make_frame(i) for i in range(4)]
    path = write_video(
        tmp_path / "clip.mkv", frames, times=[700, 750, 800, 850]
    )
    times, _, video = read(path)
    np.testing.assert_allclose(times, [0, 0.05, 0.1, 0.15], atol=1e-6)
    assert video.expected_frames == 4 and video.damage is None


@pytest.mark.parametrize(
    ("wrong", "expected", "damage"),
    [
        # The next frame contradicts it: it lies halfway to that.
        ([12], np.arange(COUNT) / RATE, "1 replaced time"),
        # Two jumps cannot be known before it is too late.
        (
            [12, 13],
            np.arange(COUNT) / RATE + 100 * (np.arange(COUNT) >= 12),
            "16 replaced times",
        ),
    ],
)
def test_wrong_times_are_replaced_and_told(tmp_path, wrong, expected, damage):
    def late(index, packet):
        packet.pts += (index in wrong) * int(100 / packet.time_base)

    path = write_video(tmp_path / "clip.mp4", codec="mpeg4")
    times, frames, video = read(remux(path, tmp_path / "clip.nut", late))
    np.testing.assert_allclose(times, expected, atol=1e-6)
    assert len(frames) == COUNT and video.damage == damage


@pytest.mark.parametrize("suffix", ["mjpeg", "mkv"])
def test_missing_times_are_no_damage(tmp_path, suffix):
    def stop(index, packet):
        packet.pts = packet.dts = 0

    path = write_video(tmp_path / "clip.mp4", codec="mjpeg", pixels="yuvj420p")
    times, _, video = read(remux(path, tmp_path / f"clip.{suffix}", stop))
    np.testing.assert_allclose(times, np.arange(COUNT) / video.fps, atol=1e-4)
    assert video.damage is None


def test_frames_that_avi_stores_out_of_order_have_their_times(film, tmp_path):
    times, frames, video = read(write_video(tmp_path / "clip.avi"))
    np.testing.assert_allclose(times, film[1], atol=1e-6)
    np.testing.assert_array_equal(frames, film[2])
    assert video.damage is None


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_cover_picture_is_no_film(film, tmp_path, suffix):
    path = write_video(
        tmp_path / f"clip.{suffix}", cover=suffix == "mp4", sound=True
    )
    np.testing.assert_array_equal(read(path)[1], film[2])


@pytest.mark.parametrize("cover", [True, False])
def test_a_song_is_refused(tmp_path, cover):
    path = write_video(tmp_path / "song.mp4", [], sound=True, cover=cover)
    with pytest.raises(UserError, match="no film"):
        Video(path)


def test_an_unknown_codec_is_told(film, tmp_path):
    data = film[0].read_bytes()
    path = tmp_path / "clip.mp4"
    path.write_bytes(data.replace(b"avc1", b"xyz9").replace(b"avcC", b"free"))
    with pytest.raises(UserError, match="no decoder for its codec"):
        Video(path)


@pytest.mark.parametrize(
    ("codec", "pixels", "suffix"),
    [
        ("ffv1", "yuv420p10le", "mkv"),
        ("ffv1", "yuv444p16le", "mkv"),
        ("png", "rgba", "mov"),
        ("mjpeg", "yuvj420p", "avi"),
        ("libvpx-vp9", "yuv420p", "webm"),
        ("libx264", "yuv420p", "mp4"),
    ],
)
def test_codecs_and_pixels(tmp_path, codec, pixels, suffix):
    path = write_video(tmp_path / f"clip.{suffix}", codec=codec, pixels=pixels)
    _, frames, _ = read(path)
    assert len(frames) == COUNT
    for index, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - make_frame(index)).mean() < 6


def test_grey_films_are_grey(tmp_path):
    path = write_video(tmp_path / "clip.mkv", codec="ffv1", pixels="gray")
    for frame in read(path)[1]:
        assert (frame == frame[..., :1]).all()
        assert frame[:12, :16].mean() == pytest.approx(200, abs=2)


def test_a_film_may_change_its_size(tmp_path):
    parts = [write_video(tmp_path / "0.ts")]
    larger = [make_frame(i, 128, 96) for i in range(COUNT)]
    parts.append(write_video(tmp_path / "1.ts", larger))
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    times, frames, _ = read(both)
    assert [frame.shape for frame in frames] == (
        [(48, 64, 3)] * COUNT + [(96, 128, 3)] * COUNT
    )
    assert (np.diff(times) > 0).all()


def test_a_live_recording_states_no_duration(film, tmp_path):
    class Pipe:
        """A file that nobody can go back in."""

        def __init__(self):
            self.data = bytearray()

        def write(self, data):
            self.data += data
            return len(data)

    pipe = Pipe()
    with av.open(str(film[0])) as old, av.open(pipe, "w", "matroska") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    (tmp_path / "live.mkv").write_bytes(pipe.data)
    _, frames, video = read(tmp_path / "live.mkv")
    np.testing.assert_array_equal(frames, film[2])
    assert video.expected_frames is None and video.damage is None


def test_frames_are_freed_at_once(film):
    def alive():
        return sum(isinstance(x, av.VideoFrame) for x in gc.get_objects())

    gc.collect()
    gc.disable()  # what is in a cycle stays
    try:
        before = alive()
        after = [alive() - before for _ in Video(film[0])]
    finally:
        gc.enable()
    assert len(after) == COUNT
    assert max(after) <= 8


def test_reads_lazily_and_again_from_the_start(film):
    with Video(film[0]) as video:
        frames = iter(video)
        _, first = next(frames)
        next(frames)
        assert video.decoded_frames == 2
        _, again = next(iter(video))
        np.testing.assert_array_equal(first, again)
        assert len(list(video)) == COUNT
        assert video.decoded_frames == COUNT


def packets_of(path):
    with av.open(str(path)) as container:
        return [
            (packet.pos, packet.size)
            for packet in container.demux(video=0)
            if packet.size
        ]


def test_a_damaged_packet_costs_itself_alone(tmp_path, capfd):
    """Every frame is coded by itself here, so that the others stay whole."""
    path = write_video(tmp_path / "clip.mov", codec="png", pixels="rgb24")
    data = bytearray(path.read_bytes())
    position, size = packets_of(path)[7]
    data[position : position + size] = bytes(size)
    path.write_bytes(data)
    times, frames, video = read(path)
    assert video.damage == "1 damaged packet"
    assert len(frames) == COUNT - 1
    wanted = np.delete(np.arange(COUNT), 7)
    np.testing.assert_allclose(times, wanted / RATE, atol=1e-3)
    for index, frame in zip(wanted, frames, strict=True):
        np.testing.assert_array_equal(frame, make_frame(index))
    assert capfd.readouterr().err.count("\n") <= 1


def zero(path, lost):
    """Overwrites some frames of Motion JPEG."""
    data = bytearray(path.read_bytes())
    starts = [x.start() for x in re.finditer(b"\xff\xd8\xff", bytes(data))]
    assert len(starts) == COUNT
    for start in (starts[number] for number in lost):
        end = data.index(b"\xff\xd9", start)
        data[start:end] = bytes(end - start)
    path.write_bytes(data)


@pytest.mark.parametrize("lost", [[0], [0, 1, 5], [3, 4, 20], [29], []])
@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".avi"])
def test_frames_keep_their_numbers_behind_damage(tmp_path, lost, suffix):
    """Each frame's red tells its true number."""
    path = tmp_path / f"x{suffix}"
    write_video(path, codec="mjpeg", pixels="yuvj420p")
    zero(path, lost)
    with Video(path) as video:
        found = [(video.number, frame[-1, -1, 0] / 8) for _, frame in video]
    assert len(found) >= COUNT - 2 * len(lost)
    assert bool(lost) == (len(found) < COUNT) == bool(video.damage)
    for number, red in found:
        assert red == pytest.approx(number, abs=0.4)


@pytest.mark.parametrize("lost", [[3], [0, 3, 5]])
def test_pauses_long_after_damage_are_no_lost_frames(tmp_path, lost):
    times = [50 * i + 500 * (i > 25) for i in range(COUNT)]
    path = write_video(
        tmp_path / "x.mkv",
        [make_frame(i) for i in range(COUNT)],
        codec="mjpeg",
        pixels="yuvj420p",
        times=times,
    )
    zero(path, lost)
    with Video(path) as video:
        found = [(video.number, frame[-1, -1, 0] / 8) for _, frame in video]
    assert len(found) < COUNT
    for number, red in found:
        assert red == pytest.approx(number, abs=0.4)


def test_pauses_of_a_whole_film_are_no_lost_frames(tmp_path):
    times = [0, 50, 100, 600, 650]
    frames = [make_frame(i) for i in range(5)]
    with Video(write_video(tmp_path / "x.mkv", frames, times=times)) as video:
        assert [video.number for _ in video] == [0, 1, 2, 3, 4]


def red_numbers(path):
    """Returns of each frame its number, and the one that its red tells."""
    with Video(path) as video:
        found = [(video.number, frame[-1, -1, 0] / 8) for _, frame in video]
    return found, video.damage


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_pauses_near_damage_are_no_lost_frames(tmp_path, suffix):
    """A film of a variable rate, as a telephone's, of which frames are lost."""
    pauses = np.cumsum([50 + 100 * (i % 4 == 1) for i in range(COUNT)])
    path = write_video(
        tmp_path / f"x{suffix}",
        [make_frame(i) for i in range(COUNT)],
        codec="mjpeg",
        pixels="yuvj420p",
        times=pauses.tolist(),
    )
    zero(path, [12, 13, 20])
    found, damage = red_numbers(path)
    assert damage == "3 damaged packets"
    assert len(found) == COUNT - 3
    for number, red in found:
        assert red == pytest.approx(number, abs=0.4)


def remove(path, first, last):
    """Overwrites packets with what stands before them in the container."""
    data = bytearray(path.read_bytes())
    (start, size), (end, length) = (packets_of(path)[i] for i in (first, last))
    data[start - 8 : end + length] = bytes(end + length - start + 8)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("suffix", "last", "damage"),
    [
        (".mkv", 102, "gaps of time that do not count in frames' numbers"),
        (".avi", 100, "1 of 240 frames missing, it is not known where"),
    ],
)
def test_packets_that_a_container_lost_are_told(tmp_path, suffix, last, damage):
    path = tmp_path / f"x{suffix}"
    frames = [make_frame(i % COUNT) for i in range(8 * COUNT)]
    write_video(path, frames, codec="mjpeg", pixels="yuvj420p")
    remove(path, 100, last)
    found, told = red_numbers(path)
    assert len(found) < len(frames)
    assert told.endswith(damage)


def test_a_film_begins_at_its_first_frame(tmp_path):
    """Of AVI with frames out of order, of which the second packet is lost."""
    frames = [make_frame(i, 64, 64) for i in range(COUNT)]
    path = write_video(tmp_path / "x.avi", frames)
    data = bytearray(path.read_bytes())
    position, size = packets_of(path)[1]
    data[position : position + size] = bytes(size)
    path.write_bytes(data)
    found, damage = red_numbers(path)
    assert damage.startswith("1 damaged packet")
    assert found[0] == (0, pytest.approx(0, abs=0.4))


@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_damage_at_the_end_costs_itself_alone(tmp_path, codec, last):
    frames = [make_frame(i, 64, 64) for i in range(COUNT)]
    path = write_video(tmp_path / "clip.mp4", frames, codec=codec)
    data = bytearray(path.read_bytes())
    position, size = packets_of(path)[-last]
    data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    _, found, video = read(path)
    assert len(found) == COUNT - 1
    assert video.damage == "1 damaged packet"


@pytest.mark.parametrize(("lost", "told"), [(4, False), (7, True)])
def test_an_early_end_of_a_long_film_is_told(tmp_path, lost, told):
    path = write_video(
        tmp_path / "clip.mkv",
        [make_frame(0, 16, 16)] * 800,
        codec="mpeg4",
        times=range(0, 80_000, 100),
    )
    data = path.read_bytes()
    path.write_bytes(data[: packets_of(path)[-lost][0]])
    _, frames, video = read(path)
    assert len(frames) == 800 - lost
    assert ("ends after" in (video.damage or "")) == told


def test_what_was_read_before_a_failure_is_decoded(film, monkeypatch):
    class Failing:
        """A container that cannot be read beyond its twentieth packet."""

        def __init__(self, path):
            container = av.open(path)
            self.streams, self.format = container.streams, container.format
            self.close = container.close
            self.packets = itertools.islice(container.demux(video=0), 20)

        def demux(self, stream):
            yield from self.packets
            raise av.error.InvalidDataError(1, "unreadable")

    with av.open(str(film[0])) as container:
        read_packets = itertools.islice(container.demux(video=0), 20)
        shown = sorted(float(x.pts * x.time_base) for x in read_packets)
    monkeypatch.setattr(video_module, "_open", Failing)
    times, frames, video = read(film[0])
    np.testing.assert_allclose(times, np.array(shown) - shown[0], atol=1e-6)
    assert len(frames) == 20 and "1 damaged packet" in video.damage


def test_a_frame_without_a_picture_counts_as_damaged(film, monkeypatch):
    picture, made = video_module.picture, []

    def failing(frame, ratio):
        made.append(frame)
        if len(made) - 1 in lost:
            raise av.error.PatchWelcomeError(1, "no picture")
        return picture(frame, ratio)

    monkeypatch.setattr(video_module, "picture", failing)
    lost = {7}
    times, frames, video = read(film[0])
    assert video.damage == "1 damaged packet"
    np.testing.assert_array_equal(times, np.delete(film[1], 7))
    np.testing.assert_array_equal(frames, np.delete(film[2], 7, axis=0))
    # It may hold for the whole film.
    lost = range(1000)
    with Video(film[0]) as video, pytest.raises(UserError, match="not one"):
        list(video)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_film_that_was_cut_off_is_told(tmp_path, capfd, suffix, share):
    path = tmp_path / f"whole.{suffix}"
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    noise = np.random.default_rng(0).integers(
        0, 255, (COUNT, HEIGHT, WIDTH, 3), np.uint8
    )
    write_video(path, list(noise), codec="mpeg4", **options)
    data = path.read_bytes()
    part = tmp_path / f"part.{suffix}"
    part.write_bytes(data[: int(share * len(data))])
    times, frames, video = read(part)
    assert video.damage
    assert 0 < len(frames) < COUNT and len(times) == video.decoded_frames
    whole = read(path)[1]
    # The last ones may be damaged.
    np.testing.assert_array_equal(frames[:-2], whole[: len(frames) - 2])
    assert "h264" not in capfd.readouterr().err


def test_sound_may_be_longer_than_the_film(tmp_path):
    path = write_video(
        tmp_path / "clip.mp4", [make_frame(i) for i in range(4)], sound=True
    )
    assert read(path)[2].damage is None


def test_real_clips_cut_off_are_told_quietly(tmp_path, clip, capfd):
    for name, share in (("cap13_edit2.mp4", 0.5), ("asl_yes.mkv", 0.7)):
        data = clip(name).read_bytes()
        part = tmp_path / name
        part.write_bytes(data[: int(share * len(data))])
        times, _, video = read(part)
        assert video.damage
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
        ("empty.mp4", b"", "not a video"),
        ("text.mp4", b"this is no video at all\n" * 50, "not a video"),
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


def test_mp4_without_its_index_is_refused(film, tmp_path):
    # This writer puts the index at the end: nothing can be decoded.
    data = film[0].read_bytes()
    part = tmp_path / "part.mp4"
    part.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="not a video"):
        Video(part)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ESTALE])
def test_what_may_pass_is_no_fault_of_the_film(monkeypatch, tmp_path, number):
    write_video(tmp_path / "film.mp4")

    def local(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(video_module.files, "local", local)
    with pytest.raises(OSError, match=os.strerror(number)):
        Video(tmp_path / "film.mp4")


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_a_disk_that_fails_is_no_damage(film, tmp_path, monkeypatch, share):
    """FFmpeg sees a film that is cut off; Python is told why."""
    path = remux(film[0], tmp_path / "film.mkv")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])

    class Failing(io.FileIO):
        def read(self, size=-1):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(
        *(video_module, "open"),
        lambda place, mode: Failing(place, mode),
        raising=False,
    )
    with pytest.raises(OSError, match="Input/output error") as raised:
        list(Video(path))
    assert raised.value.filename == str(path)


def test_a_disk_that_fails_at_once_is_told(tmp_path):
    # A process has nothing at its address 0: an EIO, as of a bad sector.
    with pytest.raises(OSError, match="Input/output error: '/proc/self/mem'"):
        Video("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error"):
        list(Pictures("/proc/self", ["mem"], 25))
