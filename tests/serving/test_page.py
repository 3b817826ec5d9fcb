"""The server's page in a browser, whose camera shows a film."""

import time
import urllib.parse

import av
import numpy as np
import pytest
from skimage import data

from affwild_omg.serving.options import ServerOptions
from tests.reports import test_browser
from tests.reports.test_browser import SMALLEST, WINDOWS, ask

CAMERA = "use-fake-device-for-media-stream", "use-fake-ui-for-media-stream"


def write_film(path, codec, frames=25, face=True):
    """Writes a film of an astronaut who sways, 320x240."""
    frame = np.full((240, 320, 3), 90, np.uint8)
    with av.open(str(path), "w", format=path.suffix[1:]) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 320, 240
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(frames):
            if face:
                left = 40 + round(10 * np.sin(number / 4))
                frame[:] = 90
                frame[:, left : left + 220] = data.astronaut()[:240, 110:330]
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return {
        "camera": write_film(folder / "camera.mjpeg", "mjpeg"),
        "face": write_film(folder / "face.webm", "libvpx", frames=75),
        "empty": write_film(folder / "empty.webm", "libvpx", face=False),
    }


@pytest.fixture(scope="module")
def options(small_saved_model):
    return ServerOptions(model=str(small_saved_model), live=2, timeout_s=30)


@pytest.fixture(scope="module")
def browser(films, tmp_path_factory):
    film = f"use-file-for-fake-video-capture={films['camera']}"
    profile = tmp_path_factory.mktemp("browser")
    with test_browser.opened(profile, *CAMERA, film) as browser:
        yield browser


def open_page(browser, port, window="desktop"):
    address = f"http://127.0.0.1:{port}/"
    return test_browser.open_page(browser, address, window)


def click(browser, name):
    browser.execute_script(f"document.getElementById('{name}').click()")


def text(browser, name):
    return ask(browser, f"document.getElementById('{name}').textContent")


def wait_until(browser, condition, seconds=30):
    """Waits for a condition in the page's own words."""
    end = time.monotonic() + seconds
    while not ask(browser, condition):
        assert time.monotonic() < end, (
            condition,
            text(browser, "notice"),
            browser.get_log("browser"),
        )
        time.sleep(0.1)


def painted(browser, name, color):
    """Counts the pixels of a canvas that are near a colour."""
    return ask(
        browser,
        f"(canvas => [...new Uint32Array(canvas.getContext('2d').getImageData("
        "0, 0, canvas.width, canvas.height).data.buffer)].filter(x => "
        f"Math.max(...{color}.map((c, i) => Math.abs(c - (x >> 8 * i & 255))))"
        f" < 30).length)(document.getElementById('{name}'))",
    )


@pytest.mark.parametrize("window", WINDOWS)
def test_the_camera_is_shown_with_its_values(browser, port, window):
    requests = open_page(browser, port, window)
    hosts = {urllib.parse.urlsplit(url).netloc for url in requests}
    assert hosts - {""} == {f"127.0.0.1:{port}"}  # "": data within the page
    valence, line = [11, 98, 208], [127, 209, 255]
    assert painted(browser, "picture", line) == 0
    assert painted(browser, "plane", valence) == 0
    click(browser, "camera")
    wait_until(browser, "course.filter(x => x.valence !== null).length > 20")
    assert text(browser, "notice") == ""
    # The number, the curve, the plane's dot and the box are drawn.
    last = "course[course.length - 1]"
    shown = float(text(browser, "valence").replace("−", "-"))
    assert shown == pytest.approx(ask(browser, f"{last}.valence"), abs=0.1)
    assert painted(browser, "curves", valence) > 30
    assert painted(browser, "plane", valence) > 100
    assert painted(browser, "picture", line) > 100
    # The face is where the film has it, in the middle but for 10 pixels.
    box = ask(browser, f"{last}.faces[0].box.map(x => 320 * x / grab.width)")
    assert box[0] + box[2] / 2 == pytest.approx(154, abs=25)
    width = ask(browser, "document.documentElement.clientWidth")
    assert ask(browser, "document.documentElement.scrollWidth") <= width
    sizes = ask(
        browser,
        "[...document.querySelectorAll('header *, main *, footer *')]"
        ".filter(x => x.textContent.trim())"
        ".map(x => parseFloat(getComputedStyle(x).fontSize))",
    )
    assert min(sizes) >= SMALLEST
    # Reading pixels back, as this test does, gives warnings.
    log = browser.get_log("browser")
    assert [entry for entry in log if entry["level"] == "SEVERE"] == []
    click(browser, "stop")
    assert ask(browser, "video.srcObject") is None


def choose(browser, path):
    from selenium.webdriver.common.by import By

    browser.find_element(By.ID, "file").send_keys(str(path))


def test_a_video_is_shown_to_its_end(browser, port, films):
    open_page(browser, port)
    choose(browser, films["face"])
    wait_until(browser, "notice.textContent.endsWith('has ended.')")
    assert text(browser, "notice") == "face.webm has ended."
    times = ask(browser, "course.map(x => x.time)")
    assert times == sorted(set(times))
    assert times[-1] == pytest.approx(3, abs=0.5)
    assert ask(browser, "course.filter(x => x.valence !== null).length") > 5
    assert ask(browser, "document.getElementById('stop').hidden")


def test_states_are_told(browser, port, films, tmp_path):
    open_page(browser, port)
    choose(browser, films["empty"])
    wait_until(browser, "notice.textContent === 'No face detected.'")
    (tmp_path / "text.mp4").write_text("this is not a video")
    choose(browser, tmp_path / "text.mp4")
    wait_until(browser, "notice.textContent.includes('cannot play text.mp4')")
    browser.execute_script(
        "navigator.mediaDevices.getUserMedia = () =>"
        " Promise.reject(new DOMException('', 'NotFoundError'))"
    )
    click(browser, "camera")
    wait_until(browser, "notice.textContent.startsWith('No camera was found')")


def test_a_lost_connection_is_told_and_taken_up_again(browser, port):
    open_page(browser, port)
    click(browser, "camera")
    wait_until(browser, "course.length > 3")
    browser.execute_script("socket.close()")
    wait_until(browser, "notice.textContent.includes('Trying again')")
    wait_until(browser, "socket && notice.textContent === ''")
    seen = ask(browser, "course.length")
    wait_until(browser, f"course.length > {seen}")
    click(browser, "stop")
