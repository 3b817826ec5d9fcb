"""A corpus of real faces, and the records that one command makes of it."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import skimage.data

CLIPS = 9


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """Films of the astronaut, each moved a little more than that before it."""
    source = tmp_path_factory.mktemp("films")
    picture = skimage.data.astronaut()[:320, 60:380, ::-1]
    rows = ["link,start,end,video,utterance,arousal,valence"]
    for clip in range(CLIPS):
        path = source / f"v{clip}" / "u.mp4"
        path.parent.mkdir()
        codec = cv2.VideoWriter_fourcc(*"mp4v")
        film = cv2.VideoWriter(str(path), codec, 10.0, (320, 320))
        for frame in range(25):
            film.write(np.roll(picture, clip + frame // 5, axis=1))
        film.release()
        rows.append(f"x{clip},0,1,v{clip},u.mp4,0.5,{clip / 10}")
    (source / "v4" / "u.mp4").write_bytes(b"no film")
    (source / "omg_TrainVideos.csv").write_text("\n".join(rows) + "\n")
    return source


@pytest.fixture(scope="session")
def start(films):
    """Starts the command on these films; returns its process."""

    processes = []

    def start(records, *flags):
        flags = [f"--source={films}", f"--records={records}", *flags]
        processes.append(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "affwild_omg.prepare"),
                    *("--corpus=omg", *flags),
                ],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="session")
def local(start, tmp_path_factory):
    """What the records of one command with two workers hold, by their names."""
    records = tmp_path_factory.mktemp("local") / "records"
    process = start(records, "--workers=2")
    text, _ = process.communicate()
    assert process.returncode == 0, text
    found = tree(records)
    assert len(found) == CLIPS  # the manifest, and all clips but one
    return found
