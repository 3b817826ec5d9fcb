"""Odd films, with the real detector and landmarks, and a made-up network."""

import av
import cv2
import numpy as np
import pytest
import skimage.data

from affwild_omg.cli.errors import UserError
from affwild_omg.inference.options import PredictionOptions
from tests.faces.test_video import write_video
from tests.inference.test_folder import table_of

FRAMES = 3
PORTRAIT = cv2.resize(skimage.data.astronaut()[:256, 96:352], (192, 192))


@pytest.fixture(scope="module")
def models(tf):
    from affwild_omg.faces import detection, landmarks

    return detection.Detector(), landmarks.Landmarker()


@pytest.fixture
def predict(models, monkeypatch, tmp_path):
    """Predicts a film with all that can be written; gives its table."""
    from affwild_omg.inference import predictor, video
    from affwild_omg.paper.task import TARGETS

    def light(inputs):
        values = np.asarray(inputs["frames"]).mean(axis=(2, 3, 4)) / 255
        return np.stack([values, -values], axis=-1).astype(np.float32)

    own = predictor.Predictor(
        card=None, targets=TARGETS, predict=light, step=None, state_size=0
    )
    detector, landmarker = models
    monkeypatch.setattr(video, "load_predictor", lambda *_, **__: own)
    monkeypatch.setattr(video.detection, "Detector", lambda: detector)
    monkeypatch.setattr(video.landmarks, "Landmarker", lambda: landmarker)
    (tmp_path / "model.keras").write_bytes(b"weights")

    def predict(film, **settings):
        options = PredictionOptions(
            model=str(tmp_path / "model.keras"),
            video=str(film),
            output=str(tmp_path / "out"),
            annotate=True,
            format=["elan", "fex", "abaw"],
            **settings,
        )
        (summary,) = video.predict(options)
        with video.Video(tmp_path / "out" / "a_annotated.mp4") as drawn:
            assert sum(1 for _ in drawn) == summary["frames"]
        return table_of(options)

    return predict


@pytest.mark.parametrize(
    ("width", "height"), [(10, 10), (1, 4000), (4000, 1), (2, 2)]
)
def test_frames_without_room_for_a_face(predict, tmp_path, width, height):
    noise = np.random.default_rng(0).integers(
        0, 256, (FRAMES, height, width, 3), np.uint8
    )
    film = write_video(
        tmp_path / "a.mov", list(noise), codec="png", pixels="rgb24"
    )
    table = predict(film)
    assert table["frame"].tolist() == list(range(FRAMES))
    assert (table["face"] == 0).all()
    assert table["reason"].tolist() == ["no face detected"] * FRAMES
    text = (tmp_path / "out" / "a_abaw.txt").read_text()
    assert text.splitlines()[1:] == [
        f"a/0000{i}.jpg,0.000000,0.000000" for i in (1, 2, 3)
    ]


@pytest.mark.parametrize("kind", ["grey", "alpha", "deep"])
def test_other_pixels_show_their_face(predict, tmp_path, kind):
    codec, pixels = {
        "grey": ("png", "gray"),
        "alpha": ("png", "rgba"),
        "deep": ("png", "rgb48be"),
    }[kind]
    film = write_video(
        tmp_path / "a.mov", [PORTRAIT] * FRAMES, codec=codec, pixels=pixels
    )
    table = predict(film)
    assert (table["face"] == 1).all()
    # The nose, seen by eye: at (127, 127) of the portrait's 256 pixels.
    middle = table["x"] + table["width"] / 2
    assert (abs(middle - 127 * 192 / 256) < 15).all()


def test_a_film_turned_by_its_header(predict, tmp_path):
    turned = np.rot90(PORTRAIT).copy()
    source = write_video(tmp_path / "b.mp4", [turned] * FRAMES)
    matrix = np.zeros(9, np.int32)
    # A quarter to the right, as cameras write it.
    matrix[[1, 3, 8]] = 65536, -65536, 1 << 30
    film = tmp_path / "a.mp4"
    content = source.read_bytes()
    plain = np.zeros(9, np.int32)
    plain[[0, 4, 8]] = 65536, 65536, 1 << 30
    track = content.index(b"tkhd")
    place = content.index(plain.astype(">i4").tobytes(), track)
    film.write_bytes(
        content[:place] + matrix.astype(">i4").tobytes() + content[place + 36 :]
    )
    table = predict(film)
    assert (table["face"] == 1).all()
    assert (abs(table["roll"]) < 20).all()


@pytest.mark.parametrize(
    ("name", "codec", "word"),
    [
        ("a.mp4", "libx264", "no film"),  # MP4 writes no track without frames
        ("a.avi", "mjpeg", "not one frame can be decoded"),
    ],
)
def test_zero_frames_are_told_and_leave_nothing(
    predict, tmp_path, name, codec, word
):
    film = tmp_path / name
    with av.open(str(film), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        container.start_encoding()
    with pytest.raises(UserError, match=word):
        predict(film)
    assert not (tmp_path / "out").exists()


def test_a_film_that_is_cut_off_says_so(predict, tmp_path):
    film = write_video(
        tmp_path / "a.mkv",
        [PORTRAIT] * 8,
        codec="mjpeg",
        pixels="yuvj420p",
    )
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 5 // 8])
    table = predict(film)
    assert 2 <= len(table) < 8 and (table["face"] == 1).all()
