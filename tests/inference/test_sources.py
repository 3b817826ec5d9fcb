import logging
import os

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.inference import sources


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in (
        *("b.mp4", "a.MKV", "notes.txt", ".hidden.mp4", "one, two.mp4"),
        *("c[1].mp4", "deep/d.mp4", "deep/er/e.avi", "texts/x.txt"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("b.mp4", ["b.mp4"]),
        ("notes.txt", ["notes.txt"]),  # named, it is tried
        ("one, two.mp4", ["one, two.mp4"]),
        (" a.MKV", ["a.MKV"]),
        ("c[1].mp4", ["c[1].mp4"]),
        (".", ["a.MKV", "b.mp4", "c[1].mp4", "one, two.mp4"]),
        ("deep", ["deep/d.mp4"]),
        ("deep/*", ["deep/d.mp4"]),
        ("**/*.avi", ["deep/er/e.avi"]),
        ("[ab].*", ["a.MKV", "b.mp4"]),
        ("b.mp4,deep, a.MKV", ["b.mp4", "deep/d.mp4", "a.MKV"]),
        ("b.mp4,?.mp4,deep/../b.mp4", ["b.mp4"]),
    ],
)
def test_what_is_named_is_found_once(place, text, found):
    assert [os.fspath(x) for x in sources.find(text)] == found


def test_a_name_is_taken_as_it_stands(place):
    (place / "b.mp4 ").touch()
    for name in ("b.mp4", "b.mp4 "):
        assert [os.fspath(x) for x in sources.find(name)] == [name]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nowhere.mp4", "--video=nowhere.mp4 does not exist"),
        ("b.mp4,nowhere.mp4", "--video=nowhere.mp4 does not exist"),
        ("*.wmv", "matches no file"),
        ("deep/e*", "matches no file"),  # a folder
        ("empty", "--video=empty holds no film"),
        ("texts", "--video=texts holds no film"),
        ("", "--video is empty"),
        (" , ", "--video is empty"),
    ],
)
def test_what_names_nothing_is_told(place, text, word):
    with pytest.raises(UserError, match=word.replace("*", r"\*")):
        sources.find(text)


def test_what_a_folder_holds_besides_is_counted(place, caplog):
    caplog.set_level("INFO", logger="absl")
    with caplog.at_level(logging.INFO):
        sources.find(".", quiet=True)
        assert caplog.messages == []
        sources.find(".")
    assert caplog.messages == [
        ".: 1 file left out, whose names do not end as a film's"
    ]
