"""Live frames, as a client sends them: over a WebSocket."""

import contextlib
import io
import json
import time
import types
import urllib.request

import numpy as np
import pytest
from PIL import Image
from skimage import data

from affwild_omg.inference.stream import Stream
from affwild_omg.serving.options import ServerOptions
from tests.serving.conftest import running

SECONDS = 3


@pytest.fixture(scope="module")
def port(served, small_saved_model):
    options = ServerOptions(
        model=str(small_saved_model), live=2, timeout_s=SECONDS
    )
    with running(served, options) as port:
        yield port


@pytest.fixture
def connect(port):
    """Opens a connection, which takes pictures and gives answers."""
    from websockets.sync import client as websockets

    # Those of the test before end with what they work on.
    for _ in range(100):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as file:
            if b"\naffwild_omg_live_connections 0.0\n" in file.read():
                break
        time.sleep(0.05)

    @contextlib.contextmanager
    def connect(query="", **settings):
        url = f"ws://127.0.0.1:{port}/live{query}"
        with websockets.connect(url, max_size=None, **settings) as client:
            yield types.SimpleNamespace(
                send=client.send,
                answer=lambda: json.loads(client.recv(timeout=60)),
                client=client,
            )

    return connect


def jpeg(array, form="JPEG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, form)
    return file.getvalue()


def broken_exif():
    """A JPEG that says to turn it, and how wide it is in letters."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "model"
    Image.fromarray(data.astronaut()).save(file, "JPEG", exif=exif)
    return file.getvalue().replace(b"\x01\x10\0\2", b"\x01\0\0\2")


@pytest.fixture(scope="module")
def walk():
    """Pictures of an astronaut who walks to the right, as PNG files."""
    frame = np.zeros((300, 400, 3), np.uint8)
    frames = []
    for step in range(6):
        frame[:, 4 * step : 4 * step + 250] = data.astronaut()[:300, 100:350]
        frames.append(frame.copy())
    return frames


def test_answers_are_those_of_a_stream(connect, served, walk):
    with served.predictor.stream(wait=True) as stream:
        expected = [stream.step(frame) for frame in walk]
    found = []
    with connect("?wait=1") as live:
        for frame in walk:
            live.send(jpeg(frame, "PNG"))
            found.append(live.answer())
    for number, (answer, ((track, *values, face),)) in enumerate(
        zip(found, expected, strict=True), start=1
    ):
        (seen,) = answer.pop("faces")
        assert answer == {
            "frame": number,
            "dropped": 0,
            "width": 400,
            "height": 300,
            "reason": "",
        }
        assert seen["track"] == track
        assert seen["box"] == pytest.approx(face.box, abs=0.06)
        assert seen["confidence"] == pytest.approx(face.confidence, abs=1e-4)
        assert [seen["valence"], seen["arousal"]] == pytest.approx(
            values, abs=1e-5
        )
        # Each landmark of the frame lies in the square, or near its edge.
        left, top, side, _ = seen["box"]
        points = (np.array(seen["landmarks"]) - [left, top]) / side
        assert points.shape == (68, 2)
        assert -0.3 < points.min() and points.max() < 1.3
        # The nose is between the eyes and the chin.
        assert points[27, 1] < points[30, 1] < points[8, 1]


def test_each_connection_has_a_state_of_its_own(connect, walk):
    with connect("?wait=1") as one, connect("?wait=1") as other:
        answers = []
        for live in (one, other, one, other):
            live.send(jpeg(walk[0]))
            answers.append(live.answer())
    assert answers[0] == answers[1]
    assert answers[2] == answers[3]
    first, second = (answer["faces"][0]["arousal"] for answer in answers[::2])
    assert first != second  # the state goes on


def test_pictures_have_the_times_at_which_they_come(connect, walk, monkeypatch):
    step, times = Stream.step, []

    def noted(stream, frame, number, time_s):
        times.append(time_s)
        return step(stream, frame, number, time_s)

    monkeypatch.setattr(Stream, "step", noted)
    with connect("?wait=1") as live:
        begin = time.monotonic()
        for _ in range(2):
            live.send(jpeg(walk[0]))
            live.answer()
            time.sleep(0.2)
        lasted = time.monotonic() - begin
    first, second = times
    assert first == 0 and 0.2 <= second <= lasted
    with connect("?wait=1&fps=10") as live:
        live.send(jpeg(walk[0]))
        live.answer()
    assert times[2:] == [None]  # those of their numbers


def test_no_face_has_a_reason(connect):
    with connect("?wait=1") as live:
        live.send(jpeg(np.zeros((120, 160, 3), np.uint8)))
        answer = live.answer()
    assert answer["faces"] == []
    assert answer["reason"] == "no face detected"


def test_the_newest_frame_counts(connect, walk):
    """Of those that come while one is worked on, the last; none is lost."""
    with connect("?wait=1") as live:
        for _ in range(30):
            live.send(jpeg(walk[0]))
        answers = [live.answer()]
        while answers[-1]["frame"] < 30:
            answers.append(live.answer())
    assert len(answers) < 30
    assert len(answers) + sum(answer["dropped"] for answer in answers) == 30


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("text", "must be a picture, not a text"),
        (b"", "is not a PNG or JPEG file"),
        (b"\xff\xd8\xff\xe0", "is not a PNG or JPEG file"),
        (jpeg(data.astronaut())[:9999], "the picture is damaged: "),
        (broken_exif(), "the picture is damaged: "),
        (jpeg(np.zeros((4096, 2305), np.uint8)), "2305x4096; at most 9437184"),
    ],
)
def test_wrong_messages_are_told_and_the_next_is_answered(
    connect, message, words
):
    with connect() as live:
        live.send(message)
        answer = live.answer()
        assert words in answer.pop("error")
        assert answer == {"frame": 1, "dropped": 0}
        live.send(jpeg(np.zeros((60, 80), np.uint8)))
        assert live.answer()["faces"] == []


def test_odd_sizes_are_answered(connect, walk):
    with connect("?wait=1&faces=2") as live:
        for shape in ((10, 10), (1, 4000), (4000, 1), (1, 1), (2160, 3840)):
            live.send(jpeg(np.zeros(shape, np.uint8)))
            answer = live.answer()
            assert (answer["height"], answer["width"]) == shape
            assert answer["faces"] == []
        live.send(jpeg(walk[0]))
        live.send(jpeg(np.dstack([walk[0], walk[0][..., :1]]), "PNG"))
        live.send(jpeg(walk[0][:, ::-1].transpose(1, 0, 2)))
        answer = live.answer()
        while answer["frame"] < 8:
            answer = live.answer()
        assert (answer["width"], answer["height"]) == (300, 400)


def test_a_turned_picture_is_turned_back(connect):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees clockwise
    turned = Image.fromarray(np.rot90(data.astronaut()[:300, 100:350]))
    turned.save(file, "JPEG", exif=exif)
    with connect("?wait=1") as live:
        live.send(file.getvalue())
        answer = live.answer()
    assert (answer["width"], answer["height"]) == (250, 300)
    assert len(answer["faces"]) == 1


def closed(live):
    """Waits for the server to close a connection: (code, reason)."""
    with contextlib.suppress(Exception):
        while True:
            live.client.recv(timeout=30)
    return live.client.close_code, live.client.close_reason


def test_limits_of_connections_size_and_silence(connect, walk):
    from websockets.exceptions import ConnectionClosed

    begin = time.monotonic()
    with connect() as one, connect() as two, connect() as three:
        code, reason = closed(three)
        assert (code, reason) == (
            1013,
            "2 connections are open; try again later",
        )
        with contextlib.suppress(ConnectionClosed):
            # In two, or what is under way would reset the connection, and
            # the server's reason might never be read.
            one.send([bytes(4 << 20), b"!"])
        assert closed(one)[0] == 1009
        code, reason = closed(two)
        assert (code, reason) == (1008, "nothing came, or went, in 3 s")
    assert time.monotonic() - begin < 3 * SECONDS + 10
    with connect("?wait=1") as live:
        live.send(jpeg(walk[0]))
        assert len(live.answer()["faces"]) == 1


def test_a_server_that_stops_says_so(served, small_saved_model, walk):
    from websockets.sync import client as websockets

    options = ServerOptions(model=str(small_saved_model), live=1)
    with contextlib.ExitStack() as stack:
        with running(served, options) as port:
            client = websockets.connect(f"ws://127.0.0.1:{port}/live")
            client = stack.enter_context(client)
            client.send(jpeg(walk[0]))
            client.recv(timeout=60)
        with contextlib.suppress(Exception):
            client.recv(timeout=10)
        assert client.close_code == 1012


@pytest.mark.parametrize("query", ["?faces=0", "?faces=many", "?fps=0.5"])
def test_wrong_settings_are_told(connect, query):
    with connect(query) as live:
        code, reason = closed(live)
    assert code == 1008
    assert reason.startswith(f"{query[1:].split('=')[0]}: Input should be")


def test_pages_of_others_are_refused(connect, port):
    from websockets.exceptions import InvalidStatus

    # The second is that of a frame that a page has locked up.
    for origin in ("http://elsewhere.example", "null"):
        with pytest.raises(InvalidStatus, match="403"):
            with connect(origin=origin):
                pass
    with connect(origin=f"http://127.0.0.1:{port}"):
        pass
