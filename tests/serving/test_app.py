"""The server, as clients meet it: over a socket."""

import asyncio
import base64
import collections
import concurrent.futures
import contextlib
import dataclasses
import http.client
import io
import json
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from affwild_omg.cli.errors import UserError
from affwild_omg.serving.options import ServerOptions
from tests.serving.conftest import running
from tests.serving.test_saved_model import make_inputs

SECONDS = 2
PREDICT = "/v1/models/affwild_omg:predict"
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def options(small_saved_model):
    return ServerOptions(
        model=str(small_saved_model),
        queue=4,
        body_mib=4,
        most_frames=30,
        live=0,
        timeout_s=60,
    )


@pytest.fixture(scope="module")
def hasty(served, options):
    """The port of a server that loses patience soon."""
    options = dataclasses.replace(options, timeout_s=SECONDS)
    with running(served, options) as port:
        yield port


@pytest.fixture
def ask(port):
    """Sends a request: (status, content, headers)."""

    def ask(method, path, content=None, headers=(), port=port):
        if content is not None and not isinstance(content, bytes):
            content = json.dumps(content).encode()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, content, dict(headers))
            answer = connection.getresponse()
            text = answer.read().decode()
        if answer.headers.get_content_type() == "application/json":
            text = json.loads(text, parse_constant=pytest.fail)
        return answer.status, text, answer.headers

    return ask


@pytest.fixture
def lives(ask):
    """Checks that the server goes on after a test."""
    yield
    assert ask("GET", "/readyz")[:2] == (200, {"status": "ready"})


def columns(inputs, *names):
    return {name: inputs[name].tolist() for name in names}


def test_both_formats_give_the_predictors_values(ask, served):
    inputs = make_inputs(2, 3)
    inputs["mask"] = np.array([[True, True, False], [True, True, True]])
    expected = served.predictor.predict(inputs)
    given = columns(inputs, "frames", "landmarks", "mask")
    rows = [
        dict(zip(given, row, strict=True))
        for row in zip(*given.values(), strict=True)
    ]
    request = {"signature_name": "masked"}
    status, by_column, _ = ask("POST", PREDICT, request | {"inputs": given})
    assert status == 200
    by_version = PREDICT.replace(":", "/versions/1:")
    status, by_row, _ = ask("POST", by_version, request | {"instances": rows})
    assert status == 200
    outputs = by_column["outputs"]
    assert by_row == {
        "predictions": [
            {name: values[i] for name, values in outputs.items()}
            for i in range(2)
        ]
    }
    for column, target in enumerate(served.predictor.targets):
        np.testing.assert_allclose(
            np.array(outputs[target])[inputs["mask"]],
            expected[..., column][inputs["mask"]],
            atol=1e-6,
        )
        assert outputs[f"sequence_{target}"][1] == pytest.approx(
            np.median(expected[1, :, column]), abs=1e-6
        )


def test_all_frames_show_a_face_by_default(ask, served):
    inputs = make_inputs(1, 3)
    inputs["mask"][:] = True
    expected = served.predictor.predict(inputs)
    given = {"inputs": columns(inputs, "frames", "landmarks")}
    status, content, _ = ask("POST", PREDICT, given)
    assert status == 200, content
    np.testing.assert_allclose(
        content["outputs"]["arousal"], expected[..., 1], atol=1e-6
    )


def test_states_and_metadata_are_those_of_tensorflow_serving(ask, tf, served):
    status, content, _ = ask("GET", "/v1/models/affwild_omg")
    assert status == 200
    assert content == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    status, content, _ = ask(
        "GET", "/v1/models/affwild_omg/versions/1/metadata"
    )
    assert status == 200
    assert content["model_spec"] == {
        "name": "affwild_omg",
        "signature_name": "",
        "version": "1",
    }
    definitions = content["metadata"]["signature_def"]["signature_def"]
    frames = definitions["masked"]["inputs"]["frames"]
    assert frames["dtype"] == "DT_UINT8"
    assert [x["size"] for x in frames["tensor_shape"]["dim"]] == [
        *("-1", "-1", "96", "96", "3")
    ]
    assert set(served.predictor.signatures) <= set(definitions)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v1/models/affwild_omg/versions/2:predict", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/affwild_omg:predict", 405),
        ("GET", "/v1/models/affwild_omg/versions/1:predict", 405),
        ("GET", "/v1/models/affwild_omg/versions/x/metadata", 404),
        ("POST", "/v1/models/affwild_omg:classify", 405),
        ("GET", "/v2", 404),
        ("DELETE", "/v1/models/affwild_omg", 405),
    ],
)
def test_wrong_paths_are_told(ask, method, path, status):
    found, content, _ = ask(method, path)
    assert found == status
    assert list(content) == ["error"]


def png(array):
    data = io.BytesIO()
    Image.fromarray(array).save(data, "PNG")
    return {"b64": base64.b64encode(data.getvalue()).decode()}


def encoded(**changes):
    """A request with pictures, and the values that it should get."""
    inputs = make_inputs(2, 3)
    inputs["mask"] = np.array([[True, False, True], [True, True, True]])
    images = [[png(x) for x in row] for row in inputs["frames"]]
    images[0][1] = {"b64": ""}
    given = columns(inputs, "landmarks", "mask")
    given |= {"images": images, "length": [3, 2]} | changes
    inputs["mask"][1, 2] = False
    return {"signature_name": "encoded", "inputs": given}, inputs


def test_pictures_come_as_files(ask, served):
    request, inputs = encoded()
    status, content, _ = ask("POST", PREDICT, request)
    assert status == 200, content
    outputs = content["outputs"]
    np.testing.assert_array_equal(outputs["valid"], inputs["mask"])
    expected = served.predictor.predict(inputs)[..., 0]
    np.testing.assert_allclose(
        outputs["valence"], np.where(inputs["mask"], expected, 0), atol=1e-6
    )


def bomb():
    """A PNG file of some bytes that says it has 40,000 x 40,000 pixels."""
    data = bytearray(base64.b64decode(png(np.zeros((1, 1), np.uint8))["b64"]))
    data[16:24] = struct.pack(">II", 40_000, 40_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return {"b64": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"b64": ""}, "images[0][0] is not a PNG or JPEG"),
        ({"b64": "R0lGODlhAQABAAAAACw="}, "is not a PNG or JPEG"),
        ({"b64": "?"}, "text in base64} alone"),
        ({"b64": 1}, "text in base64} alone"),
        ({"b64": "", "x": ""}, "text in base64} alone"),
        ("iVBORw0KGgo=", 'of objects alone, and has texts: {"b64": "..."} for'),
        (png(np.zeros((96, 95), np.uint8)), "is 95x96; crops are 96x96"),
        (bomb(), "or is too large"),
        (
            {"b64": png(np.zeros((96, 96), np.uint8))["b64"][:64]},
            "Invalid PNG data",  # in TensorFlow's own words
        ),
    ],
)
@pytest.mark.usefixtures("lives")
def test_wrong_pictures_are_told(ask, image, words):
    request, _ = encoded()
    request["inputs"]["images"][0][0] = image
    status, content, _ = ask("POST", PREDICT, request)
    assert words in content["error"]
    assert status == 400


def test_a_length_lies_within_the_time(ask):
    request, _ = encoded(length=[3, 4])
    status, content, _ = ask("POST", PREDICT, request)
    assert (status, content) == (
        400,
        {"error": "length must be from 0 to 3, the time"},
    )


def changed(**changes):
    """A good request with some inputs changed, by column."""
    inputs = columns(make_inputs(1, 2), "frames", "landmarks", "mask")
    inputs = {x: y for x, y in (inputs | changes).items() if y is not None}
    return {"signature_name": "masked", "inputs": inputs}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": NaN}', "no NaN"),
        (b'{"inputs": ' + b"1" * 10_000 + b"}", "not JSON"),
        ([], "must be a JSON object"),
        ({"inputs": {}, "instances": [{}]}, "either instances"),
        ({"signature_name": "masked"}, "either instances"),
        ({"inputs": {}, "signature": "masked"}, "'signature'"),
        ({"inputs": {}, "signature_name": "mask"}, "not 'mask'"),
        ({"inputs": {}, "signature_name": []}, "not []"),
        ({"inputs": 1}, "inputs must be an object"),
        ({"inputs": {}}, "frames is missing"),
        ({"instances": []}, "one row or more"),
        ({"instances": [1]}, "instances[0] must be an object"),
        (
            {"instances": [{"frames": 1, "landmarks": 1}, {"frames": 1}]},
            "landmarks is missing, which instances[1]",
        ),
        (changed(mask=None), "mask is missing"),
        (changed(state=[[0]]), "'state' is not what the signature masked"),
        (changed(landmarks=[[1, 2]]), "[any, any, 68, 2], not [1, 2]"),
        (changed(landmarks=[[[[0]], []]]), "not [1, 2], and its lists must"),
        (changed(frames=[[]]), "not [1, 0]"),
        (changed(frames=3), "not []"),
        (changed(mask=[[True]]), "agree on the time, not 1 against 2"),
        (
            changed(mask=[[True, True]] * 2),
            "agree on the batch, not 2 against 1",
        ),
        (changed(mask=[[True, 1]]), "true or false alone, and has whole nu"),
        (changed(mask=[[True, None]]), "true or false alone, and has null"),
        (changed(mask=[[True, "x" * 9]]), "and has texts"),
        (changed(frames=np.full((1, 2, 96, 96, 3), 256).tolist()), "to 255"),
        (changed(frames=np.full((1, 2, 96, 96, 3), -1).tolist()), "from 0 to"),
        (changed(frames=np.full((1, 2, 96, 96, 3), 0.5).tolist()), "decimal"),
        (
            changed(landmarks=np.full((1, 2, 68, 2), 1e39).tolist()),
            "has another number",
        ),
        (
            changed(landmarks=np.full((1, 2, 68, 2), 10**400, object).tolist()),
            "has another number",
        ),
        (
            b'{"inputs": {"landmarks": [1e999], "frames": [NaN]}}',
            "no NaN",
        ),
        (
            changed(
                frames=np.zeros((31, 1, 96, 96, 3), int).tolist(),
                landmarks=np.zeros((31, 1, 68, 2)).tolist(),
                mask=np.ones((31, 1), bool).tolist(),
            ),
            "31 frames, and 30 are allowed",
        ),
    ],
)
@pytest.mark.usefixtures("lives")
def test_wrong_requests_are_told(ask, content, words):
    status, content, _ = ask("POST", PREDICT, content)
    assert list(content) == ["error"]
    assert words in content["error"]
    assert status == 400


def test_compressed_bodies_are_refused(ask):
    headers = {"Content-Encoding": "gzip"}
    status, content, _ = ask("POST", PREDICT, b"\x1f\x8b", headers)
    assert status == 415
    assert "compressed" in content["error"]


def exchange(port, parts, pause=0.0):
    """Sends bytes with pauses, and returns all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                client.sendall(part)
                time.sleep(pause)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while more := client.recv(1 << 16):
                received += more
    return received


@pytest.mark.usefixtures("lives")
def test_a_body_of_a_gigabyte_is_cut_off(hasty):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n".encode()
    announced = exchange(hasty, [head + b"Content-Length: 1000000000\r\n\r\n"])
    assert announced.startswith(b"HTTP/1.1 413 ")
    assert b'{"error": "the body has more than 4 MiB"}' in announced
    sent = 0

    def chunks():
        nonlocal sent
        yield head + b"Transfer-Encoding: chunked\r\n\r\n"
        for _ in range(1000):
            yield b"100000\r\n" + bytes(1 << 20) + b"\r\n"
            sent += 1

    exchange(hasty, chunks())
    # The limit, and what buffers of the system hold.
    assert 4 <= sent < 30


@pytest.mark.usefixtures("lives")
@pytest.mark.parametrize(
    ("head", "rest", "start"),
    [
        (b"", [b"x"] * 99, b""),
        (b"GET /healthz HTTP/1.1\r\n", [b"X: y\r\n"] * 99, b""),
        (
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n"
            "Content-Length: 99\r\n\r\n".encode(),
            [b" "] * 98,
            b"HTTP/1.1 408 ",
        ),
    ],
)
def test_slow_clients_are_cut_off(hasty, head, rest, start):
    begin = time.monotonic()
    received = exchange(hasty, [head, *rest], pause=0.1)
    assert received[: len(start)] == start
    assert bool(received) == bool(start)
    assert SECONDS < time.monotonic() - begin < 5


def test_a_thousand_requests_at_once(served, options):
    inputs = columns(make_inputs(1, 2), "frames", "landmarks")
    body = json.dumps({"inputs": inputs}).encode()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def one(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            return (await reader.read())[9:12]
        return b""

    async def many(port):
        return await asyncio.gather(*[one(port) for _ in range(1000)])

    with running(served, options) as port:
        answers = collections.Counter(asyncio.run(many(port)))
        assert exchange(port, [request])[9:12] == b"200"
    assert set(answers) <= {b"200", b"429", b"503"}
    assert answers[b"200"] >= 4
    assert answers[b"429"] > 500


def test_more_than_the_queue_are_refused(ask, hasty):
    """Clients that stop within their body take places, for a while."""
    head = f"POST {PREDICT} HTTP/1.1\r\nContent-Length: 9\r\nHost: x\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            client = socket.create_connection(("127.0.0.1", hasty))
            stack.enter_context(client).sendall(head.encode())
        wait_for(lambda: ask("GET", "/readyz", port=hasty)[0] == 503)
        status, content, headers = ask("POST", PREDICT, {}, port=hasty)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert content["error"].startswith("4 requests are open")
        assert ask("GET", "/healthz", port=hasty)[0] == 200
    wait_for(lambda: ask("GET", "/readyz", port=hasty)[0] == 200)
    assert ask("POST", PREDICT, {}, port=hasty)[0] == 400


def wait_for(condition):
    for _ in range(100):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def test_what_takes_too_long_is_given_up(ask, hasty, monkeypatch):
    from affwild_omg.serving import rest

    go_on = threading.Event()
    calls = []

    def hang(*_):
        calls.append(1)
        go_on.wait(30)
        return b"{}"

    with monkeypatch.context() as patch:
        patch.setattr(rest, "predict", hang)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            both = list(
                pool.map(
                    lambda _: ask("POST", PREDICT, {}, port=hasty), range(2)
                )
            )
        go_on.set()
    for status, content, headers in both:
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "within 2 s" in content["error"]
    assert ask("POST", PREDICT, {}, port=hasty)[0] == 400
    assert len(calls) == 1  # the other was never begun


def test_a_fault_of_the_server_is_told(ask, monkeypatch):
    from affwild_omg.serving import rest

    monkeypatch.setattr(rest, "predict", lambda *_: 1 / 0)
    status, content, _ = ask("POST", PREDICT, {})
    assert (status, list(content)) == (500, ["error"])
    assert "division" not in content["error"]


def test_metrics_count_by_path_and_status(ask):
    def counted(path, status):
        _, text, _ = ask("GET", "/metrics")
        labels = f'path="{path}",status="{status}"'
        return float(
            (re.findall(rf"_requests_total{{{labels}}} (\S+)", text) or [0])[0]
        )

    route = "/v1/models/{name}:predict"
    before = counted(route, 400), counted("other", 404)
    ask("POST", PREDICT, {})
    ask("GET", "/nowhere/1")
    ask("GET", "/nowhere/2")
    assert counted(route, 400) == before[0] + 1
    assert counted("other", 404) == before[1] + 2


def test_the_newest_version_is_served(tf, small_saved_model, tmp_path):
    from affwild_omg.serving.app import newest

    for version in ("9", "10", "11", "12.partial"):
        (tmp_path / version).mkdir()
        if version != "11":
            (tmp_path / version / "saved_model.pb").touch()
    assert newest(tmp_path) == (tmp_path / "10", "10")
    assert newest(tmp_path / "9") == (tmp_path / "9", "9")
    assert newest(small_saved_model) == (small_saved_model, "1")
    assert newest(tmp_path / "11") == (tmp_path / "11", "11")


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_stop(small_saved_model):
    process = subprocess.Popen(
        [sys.executable, "-m", "affwild_omg.serve", "--port=0", "--live=0"]
        + [f"--model={small_saved_model}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    port = int(re.fullmatch(r"serving .* at .*:(\d+)/\n", line)[1])
    status = pathlib.Path(f"/proc/{process.pid}/status")
    peaks = []
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n"
    for _ in range(2):
        peaks.append(int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]))
        chunks = [b"100000\r\n" + bytes(1 << 20) + b"\r\n"] * 1000
        exchange(
            port,
            [f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), *chunks],
        )
    assert peaks[1] - peaks[0] < 80 * 1024  # KiB; a body may have 32 MiB
    # What is under way when the server is told to stop is answered.
    body = json.dumps(changed()).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        head += f"Content-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body[:-1])
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        client.sendall(body[-1:])
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (0, "stopped\n", "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"name": "lab/affwild"},
            "--name=lab/affwild must be a part of a path",
        ),
        ({"name": ""}, "--name= must be a part of a path"),
        ({"host": ""}, "--host is empty; give 127.0.0.1"),
    ],
)
def test_what_would_serve_nobody_or_everybody_is_refused(
    options, change, words
):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(options, **change)
