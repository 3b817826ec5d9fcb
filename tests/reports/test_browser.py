"""Opens a report as a reader does: in a browser, on a desk and on a phone."""

import contextlib
import dataclasses
import json
import shutil

import pytest

from affwild_omg.reports import report
from affwild_omg.reports.options import ReportOptions
from tests import conftest
from tests.reports import test_report

WINDOWS = {"desktop": (1280, 900, False), "phone": (390, 844, True)}
FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync "
    "disable-background-networking disable-component-update"
).split()
SMALLEST = 12  # pixels of text


@contextlib.contextmanager
def opened(profile, *flags):
    """Opens a headless Chromium that keeps a log of all it asks for."""
    webdriver = pytest.importorskip(
        "selenium.webdriver",
        reason="needs selenium: pip install -e .[test]",
    )
    from selenium.webdriver.chrome.service import Service

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver (Debian: both packages)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, *flags, f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tf, tmp_path_factory):  # its records start TensorFlow
    """The path of a report with every part."""
    root = tmp_path_factory.mktemp("report")
    workdir = root / "run"
    workdir.mkdir()
    (workdir / "history.json").write_text(json.dumps(test_report.HISTORY))
    # A name as long and as unbreakable as a name can be.
    name = "v" * 120
    utterances = ("utterance_1.mp4", "utterance_3.mp4")  # as in the records
    keys = [f"{video}/{x}" for video in (name, "w") for x in utterances]
    folder = test_report.make(
        root / "results",
        keys=keys,
        frames=dataclasses.replace(test_report.frames(), keys=keys),
        split="test",
        corpus="omg",
        sequence_estimate="median",
        sequence_length=4,
        model=str(workdir),
        network=test_report.NETWORK,
        training={"init_from": "long/" * 30},
    )
    records = conftest.write_records_folder(
        root / "records", {"test": {name: [2, 5], "w": [8, 3]}}
    )
    output = root / "report"
    options = {"results": str(folder), "records": str(records)}
    return report.write(ReportOptions(output=str(output), **options))


def open_page(browser, url, window):
    """Opens a page in a window, and returns what was asked for on the way."""
    width, height, mobile = WINDOWS[window]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {
            "width": width,
            "height": height,
            "deviceScaleFactor": 2 if mobile else 1,
            "mobile": mobile,
        },
    )
    for log in ("browser", "performance"):
        browser.get_log(log)  # reading empties it
    browser.get(url)
    events = [
        json.loads(entry["message"])["message"]
        for entry in browser.get_log("performance")
    ]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def ask(browser, script):
    return browser.execute_script(f"return {script}")


@pytest.mark.parametrize("window", WINDOWS)
def test_the_report_in_a_browser(browser, page, window):
    requests = open_page(browser, page.as_uri(), window)
    asked = {url for url in requests if not url.startswith("data:")}
    assert asked == {page.as_uri()}
    assert browser.get_log("browser") == []

    pictures = len(list(page.parent.glob("*.png")))
    assert pictures == len(report.PICTURES)
    shown = ask(
        browser,
        "[...document.images].map(image => [image.naturalWidth,"
        " image.getBoundingClientRect().width, image.complete])",
    )
    assert len(shown) == pictures
    width = ask(browser, "document.documentElement.clientWidth")
    # But for the room of a scroll bar.
    assert WINDOWS[window][0] - 20 <= width <= WINDOWS[window][0]
    for natural, drawn, complete in shown:
        assert complete and natural > 0
        assert 0 < drawn <= width
    # Only tables that are too wide scroll sideways, never the page.
    assert ask(browser, "document.documentElement.scrollWidth") <= width
    boxes = ask(
        browser,
        "[...document.querySelectorAll('h1, h2, p, figcaption, dd')]"
        ".map(x => x.getBoundingClientRect())"
        ".map(box => [box.left, box.right, box.height])",
    )
    assert len(boxes) > 30
    for left, right, height in boxes:
        assert 0 <= left < right <= width and height > 0
    sizes = ask(
        browser,
        "[...document.querySelectorAll('main *')]"
        ".filter(x => [...x.childNodes].some(child => child.nodeType === 3"
        " && child.textContent.trim()))"
        ".map(x => parseFloat(getComputedStyle(x).fontSize))",
    )
    assert min(sizes) >= SMALLEST


def test_what_a_row_is_of_stays_in_view(browser, page):
    """But not a long name, which would hide the rest of its row."""
    open_page(browser, page.as_uri(), "phone")
    found = ask(
        browser,
        "[...document.querySelectorAll('.scroll')]"
        ".filter(x => x.scrollWidth > x.clientWidth).map(x => {"
        " x.scrollLeft = 10000;"
        " const [left, right] = [x.getBoundingClientRect().left, innerWidth];"
        " const cells = [...x.querySelectorAll(':first-child:is(th, td)')];"
        " return [x.querySelector('.long:first-child') !== null,"
        "  cells.map(cell => cell.getBoundingClientRect().left - left),"
        "  Math.max(...cells.map(cell => cell.offsetWidth)) / right]; })",
    )
    assert {long for long, *_ in found} == {True, False}
    for long, lefts, width in found:
        assert all(left < 0 if long else left == 0 for left in lefts)
        assert long or width < 0.6
