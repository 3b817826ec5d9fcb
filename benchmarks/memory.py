"""Measures whether peak memory depends on the length of a video.

    python benchmarks/memory.py --video=a_face.mp4

Repeats a video until it has so many frames, and prepares it, trains and
evaluates on it, and predicts it, each in a process of its own.
"""

import fractions
import pathlib
import subprocess
import sys
import tempfile

import av
from absl import app, flags

VIDEO = flags.DEFINE_string("video", None, "Video that shows a face.")
FRAMES = flags.DEFINE_multi_integer(
    "frames", [1_000, 20_000], "Lengths of the videos, in frames."
)
flags.mark_flag_as_required("video")

RATE = 25
# A small network: what it needs does not depend on the video either.
NETWORK = ["--width=0.0625", "--units=16", "--sequence_length=80"]


def repeat(source: pathlib.Path, target: pathlib.Path, frames: int) -> None:
    """Writes the frames of a video over and over, until there are enough."""
    target.parent.mkdir(parents=True)
    written = 0
    with av.open(str(target), "w") as output:
        stream = None
        while written < frames:
            with av.open(str(source)) as video:
                for frame in video.decode(video=0):
                    if stream is None:
                        stream = output.add_stream("libx264", rate=RATE)
                        stream.width, stream.height = frame.width, frame.height
                        stream.pix_fmt = "yuv420p"
                        stream.options = {"preset": "ultrafast"}
                    if written < frames:
                        frame.pts = written
                        frame.time_base = fractions.Fraction(1, RATE)
                        output.mux(stream.encode(frame))
                        written += 1
        output.mux(stream.encode())


def write_corpus(folder: pathlib.Path, source: pathlib.Path, frames: int):
    """Writes a corpus like OMG-Emotion with two clips of so many frames.

    Training has a short one, too, because it needs labels that differ.
    """
    repeat(source, folder / "long" / "u.mp4", frames)
    (folder / "other").symlink_to(folder / "long")
    (folder / "short").mkdir()
    (folder / "short" / "u.mp4").symlink_to(source.resolve())
    header = "link,start,end,video,utterance,arousal,valence"
    tables = {
        "Train": "x,0,1,long,u.mp4,0.2,-0.2\nx,0,1,short,u.mp4,0.6,0.3\n",
        "Validation": "x,0,1,other,u.mp4,0.2,-0.2\n",
    }
    for split, rows in tables.items():
        (folder / f"omg_{split}Videos.csv").write_text(f"{header}\n{rows}")


def peak_mb(command: list[str]) -> float:
    """Runs a command; returns the peak memory of its largest process in MB."""
    # A process that only waits for the command, so that no earlier one counts.
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL,"
        " stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, sys.executable, *command],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(found.stdout) / 1024


def measure(root: pathlib.Path, frames: int) -> dict[str, float]:
    """Returns the peak memory of each command in MB."""
    write_corpus(root / "corpus", pathlib.Path(VIDEO.value), frames)
    module = ["-m", "affwild_omg."]
    at = {name: str(root / name) for name in ("corpus", "records", "run")}
    commands = {
        "prepare": [
            f"--source={at['corpus']}",
            "--corpus=omg",
            f"--records={at['records']}",
            "--workers=1",
        ],
        "train": [
            f"--records={at['records']}",
            f"--workdir={at['run']}",
            "--epochs=1",
            *NETWORK,
        ],
        "evaluate": [
            f"--model={at['run']}",
            f"--records={at['records']}",
            "--split=validation",
            f"--output={root / 'results'}",
        ],
        "predict": [
            f"--model={at['run']}",
            f"--video={root / 'corpus' / 'long' / 'u.mp4'}",
            f"--output={root / 'predictions'}",
        ],
    }
    return {
        name: peak_mb([module[0], f"{module[1]}{name}", *arguments])
        for name, arguments in commands.items()
    }


def main(_) -> None:
    """Measures each length and prints a table."""
    found = []
    for frames in FRAMES.value:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(pathlib.Path(folder), frames))
    print(f"{'peak MB':10}", *(f"{x:>10,}" for x in FRAMES.value), "frames")
    for name in found[0]:
        values = [one[name] for one in found]
        ratio = values[-1] / values[0]
        print(f"{name:10}", *(f"{x:10.0f}" for x in values), f"x {ratio:.2f}")


if __name__ == "__main__":
    app.run(main)
