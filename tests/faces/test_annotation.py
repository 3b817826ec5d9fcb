"""An annotated film, read back."""

import types

import numpy as np
import pytest

from affwild_omg.faces.annotation import COLOURS, DARK, AnnotatedFilm
from affwild_omg.faces.views import NOT_DETECTED, Face
from tests.faces.test_video import RATE, make_frame, read, write_video

TARGETS = ("valence", "arousal")


def moment(values=None, box=(100.0, 60.0, 50.0, 50.0), number=1):
    """Makes a moment of a face whose landmarks are in its middle."""
    if values is None:
        return types.SimpleNamespace(faces={}, values={}, reason=NOT_DETECTED)
    crop = np.zeros((96, 96, 3), np.uint8)
    points = np.full((68, 2), 47.5, np.float32)
    face = Face(True, box, 1.0, crop, points)
    return types.SimpleNamespace(
        faces={number: face}, values={number: np.array(values)}, reason=""
    )


def annotate(source, target, moments, targets=TARGETS):
    with AnnotatedFilm(source, target, targets) as film:
        for one in moments:
            film.add(one)
    return read(target)


def near(pixel, colour):
    """Tells whether a pixel has a colour rather than grey.

    H.264 keeps the colours of lines one pixel wide at less than half.
    """
    wanted, found = np.array(colour) - 128.0, pixel - 128.0
    if not wanted.any():
        return np.abs(found).max() < 30
    return found @ wanted > 0.25 * wanted @ wanted


@pytest.mark.parametrize(
    "own", [range(0, 1000, 40), [0, 40, 60, 61, 500, 90_000, 90_040]]
)
def test_frames_and_times_are_the_films(tmp_path, own):
    frames = [make_frame(i, 160, 120) for i in range(len(own))]
    path = write_video(
        tmp_path / "a.mkv", frames, codec="ffv1", times=list(own)
    )
    moments = [
        moment((0.1, 0.2)) if i % 3 else moment() for i in range(len(own))
    ]
    times, found, video = annotate(path, tmp_path / "b.mp4", moments)
    np.testing.assert_allclose(times, np.array(own) / 1000, atol=1e-6)
    assert len(found) == len(own) and video.damage is None
    for before, after in zip(frames, found, strict=True):
        assert after.shape == before.shape
        # Nothing is drawn in the corner; a frame is not another one.
        assert np.abs(after[:20, :30].astype(int) - before[:20, :30]).max() < 30


@pytest.mark.parametrize(
    ("width", "height"), [(10, 10), (1, 400), (400, 1), (321, 243)]
)
def test_any_size(tmp_path, width, height):
    frames = [make_frame(i, width, height) for i in range(5)]
    path = write_video(tmp_path / "a.mov", frames, codec="png", pixels="rgb24")
    moments = [moment((9.0, -9.0)), moment(), moment((np.nan, 0.0))] + [
        moment()
    ] * 2
    times, found, _ = annotate(path, tmp_path / "b.mp4", moments)
    assert times == pytest.approx(np.arange(5) / RATE)
    assert found[0].shape == (height + height % 2, width + width % 2, 3)


def test_a_film_may_change_its_size(tmp_path):
    path = tmp_path / "a.avi"
    parts = [
        write_video(
            tmp_path / f"{i}.avi",
            [make_frame(i, *size)] * 3,
            codec="mjpeg",
            pixels="yuvj420p",
        )
        for i, size in enumerate([(64, 48), (96, 80)])
    ]
    import av

    with av.open(str(path), "w") as new:
        stream = None
        for part in parts:
            with av.open(str(part)) as old:
                stream = stream or new.add_stream_from_template(
                    old.streams.video[0]
                )
                for packet in old.demux(video=0):
                    if packet.dts is not None:
                        packet.stream = stream
                        packet.pts = packet.dts = None
                        new.mux(packet)
    assert {x.shape for x in read(path)[1]} == {(48, 64, 3), (80, 96, 3)}
    _, found, _ = annotate(path, tmp_path / "b.mp4", [moment()] * 6)
    assert [x.shape for x in found] == [(48, 64, 3)] * 6


def test_boxes_landmarks_and_the_plane_are_where_they_belong(tmp_path):
    scene = np.full((240, 320, 3), 128, np.uint8)
    path = write_video(
        tmp_path / "a.mov", [scene] * 3, codec="png", pixels="rgb24"
    )
    moments = [moment((-1.0, 1.0)), moment((1.0, -7.0), number=2), moment()]
    _, found, _ = annotate(path, tmp_path / "b.mp4", moments)
    for frame, colour in zip(found[:2], COLOURS, strict=False):
        # The edges of the box, and the landmarks in its middle.
        for place in ((85, 100), (85, 150), (110, 125), (84, 124)):
            assert near(frame[place], colour)
        assert near(frame[95, 110], (128,) * 3)
    # 0.28 of 240 pixels, 2 from the edges: the plane's middle is at (36, 284).
    reach = 67 // 2 - 3
    for frame, (right, up), colour in (
        (found[0], (-1, 1), COLOURS[0]),
        (found[1], (1, -1), COLOURS[1]),
    ):
        assert near(
            frame[2 + 33 - up * reach, 251 + 33 + right * reach], colour
        )
    # What was before fades; where nobody is, there is no dot.
    assert not near(found[2][2 + 33 + reach, 251 + 33 + reach], COLOURS[1])
    assert near(
        found[2][10, 270], np.array([128] * 3) // 4 + np.array(DARK) // 2
    )
    # Why there is no face: its ground, above the letters of any font.
    assert near(found[2][227, 4], DARK)


def test_one_target_has_no_plane(tmp_path):
    scene = np.full((240, 320, 3), 128, np.uint8)
    path = write_video(tmp_path / "a.mov", [scene], codec="png", pixels="rgb24")
    _, (frame,), _ = annotate(
        path, tmp_path / "b.mp4", [moment((0.5,))], ("valence",)
    )
    assert near(frame[10, 270], (128,) * 3)


@pytest.mark.parametrize(
    "places",
    [
        [(100, 100), (104, 103), (96, 97)],
        [(0, 0), (5, 2), (20, 4)],  # nothing is above the picture
        [(10, 239), (12, 236), (300, 239)],  # nor below or beside it
        [(60 + 3 * i, 120) for i in range(9)],
    ],
)
def test_lines_of_people_who_are_near_do_not_overlap(
    tmp_path, monkeypatch, places
):
    import cv2

    scene = np.full((240, 320, 3), 128, np.uint8)
    path = write_video(tmp_path / "a.mov", [scene], codec="png", pixels="rgb24")
    written = {}
    put_text = cv2.putText

    def spy(frame, text, place, font, scale, colour, unit, **more):
        (width, height), below = cv2.getTextSize(text, font, scale, unit)
        x, y = place
        if ":" in text:  # not the plane's
            written[text] = x, y - height, x + width, y + below
        return put_text(frame, text, place, font, scale, colour, unit, **more)

    monkeypatch.setattr(cv2, "putText", spy)
    many = moment((0.5, -0.5), box=(*places[0], 50.0, 50.0))
    for number, place in enumerate(places[1:], 2):
        one = moment((0.5, -0.5), box=(*place, 50.0, 50.0), number=number)
        many.faces.update(one.faces)
        many.values.update(one.values)
    annotate(path, tmp_path / "b.mp4", [many])
    assert len(written) == len(places)
    taken = np.zeros((240, 320), int)
    for left, top, right, bottom in written.values():
        assert 0 <= left < right <= 320 and 0 <= top < bottom <= 240
        taken[top : bottom + 1, left : right + 1] += 1
    assert taken.max() == 1
    # The first has its own place, as far as the picture goes.
    x, y = places[0]
    left, _, _, bottom = written["1: V 0.50 A -0.50"]
    assert left == x and abs(bottom - y) <= 14
