"""Corpora and their records on S3 are as on this machine."""

import re
import signal
import tempfile
import time

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import readers
from affwild_omg.corpora.problems import Problems
from affwild_omg.storage import files, remote


def put(folder, target):
    for path in files.within(folder):
        (target / path.relative_to(folder)).put(path)
    return target


def held(folder):
    return {
        str(x.relative_to(folder)): x.read_bytes() for x in files.within(folder)
    }


def as_there(content, films, target):
    """Replaces the source that messages of the manifest name."""
    return content | {
        "manifest.json": content["manifest.json"].replace(
            str(films).encode(), str(target).encode()
        )
    }


LAYOUTS = {
    "omg": {
        "omg_TestVideos_WithLabels.csv": "link,start,end,video,utterance,"
        "arousal,valence\nx,0,1,v,u.mp4,0.5,-0.25\n",
        "v/u.mp4": "film",
    },
    "affwild": {
        "a/train/valence/1.txt": "0.5\n-1\n",
        "a/train/arousal/1.txt": "0.25\n0\n",
        "videos/1.mp4": "film",
    },
    "affwild2": {
        "Train_Set/1.txt": "valence,arousal\n0.5,0.25\n-5,-5\n",
        "batch1/1.mp4": "film",
        ".hidden/1.mp4": "film",
    },
    "framelist": {
        "lists/train.csv": "a/1.jpg,0.5,0.25\na/2.jpg,-5,-5\n",
        "lists/a/2.jpg": "picture",
    },
    "afewva": {
        "001/001.json": '{"actor": "x", "frames": {"00000": '
        '{"valence": 3, "arousal": -2}}}',
        "001/00000.png": "picture",
    },
}


@pytest.mark.parametrize("corpus", readers.READERS)
def test_readers_read_the_same_there(corpus, bucket, tmp_path):
    for name, text in LAYOUTS[corpus].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    read = readers.READERS[corpus]
    here, there = (
        read(source, problems := Problems(), "video")
        for source in (tmp_path, put(tmp_path, bucket))
    )
    assert problems.lines == []
    for one, other in zip(here, there, strict=True):
        assert other.path == bucket / one.path.relative_to(tmp_path)
        assert one.found and other.found
        for name in (
            *("split", "key", "valence", "arousal", "frame_labels", "pictures"),
            *("side", "source", "person", "rows"),
        ):
            assert repr(getattr(one, name)) == repr(getattr(other, name))


def test_films_are_found_and_decoded_the_same_there(
    bucket, films, tmp_path, monkeypatch
):
    from affwild_omg.faces.video import Video
    from affwild_omg.inference import sources

    for clip in ("v0", "v1"):
        (bucket / f"{clip}.mp4").put(films / clip / "u.mp4")
    files.write_text(bucket / "notes.txt", "no film")
    both = [bucket / "v0.mp4", bucket / "v1.mp4"]
    assert sources.find(str(bucket)) == both
    assert sources.find(f"{bucket}/v*.mp4") == both
    assert sources.find(f"{both[1]},{both[0]}") == both[::-1]
    with pytest.raises(UserError, match="v2.mp4 does not exist"):
        sources.find(str(bucket / "v2.mp4"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Video(films / "v1" / "u.mp4") as here, Video(both[1]) as there:
        assert there.path == str(both[1])
        assert [*tmp_path.iterdir()] == []  # what is open has no name
        for one, other in zip(here, there, strict=True):
            assert one[0] == other[0]
            np.testing.assert_array_equal(one[1], other[1])
    with pytest.raises(UserError, match=f"^{bucket}/notes.txt: not a video"):
        Video(bucket / "notes.txt")
    with pytest.raises(UserError, match=f"^{bucket}/v2.mp4: No such file"):
        Video(bucket / "v2.mp4")


@pytest.mark.slow
def test_an_interrupted_preparation_ends_as_on_this_machine(
    s3, bucket, films, local, start, monkeypatch
):
    source = put(films, bucket / "films")
    flags = f"--source={source}", "--workers=2"
    records, partial = bucket / "records", bucket / ".records.partial"
    monkeypatch.setenv("S3_REQUEST_TIMEOUT_MSEC", "3000")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    process = start(records, *flags)
    try:
        while len(files.within(partial / "reports")) < 2:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.5)
        s3.send_signal(signal.SIGSTOP)
        text, _ = process.communicate()
    finally:
        s3.send_signal(signal.SIGCONT)
    assert process.returncode == 2, text
    # Python's tracker of semaphores may add lines of its own.
    (line,) = (x for x in text.splitlines() if x.startswith("error: "))
    assert line.startswith("error: s3://") and "cannot be reached" in line
    assert line.endswith("and the same command goes on")
    assert not records.exists()
    kept = len(files.within(partial / "reports"))
    assert kept
    monkeypatch.undo()
    process = start(records, *flags)
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert "going on with the preparation" in text
    # What is finished is not made again.
    bars = re.findall(r"finding faces +: .*?(\d+)/9 ", text)
    assert int(bars[0]) >= kept and not partial.exists()
    assert held(records) == as_there(local, films, source)
    # What is damaged is made anew, and nothing else.
    path = records / "train" / "v1" / "u.mp4.tfrecord"
    files.write_text(path, "damage")
    process = start(records, *flags)
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert "made anew: v1/u.mp4" in text
    assert held(records) == as_there(local, films, source)
    assert remote.path(records).is_dir()
