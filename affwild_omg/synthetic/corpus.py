"""Writes the demo corpus: moving faces whose emotion is known exactly.

No face corpus can be passed around freely, so this one is made: `plan` chooses
what is felt and what five simulated raters say of it, `acting` turns that into
poses, and `faces` draws them.

The corpus lies on disk exactly as OMG-Emotion does and is read by
`corpora.omg`: the organisers' tables beside `<video>/utterance_<n>.mp4`. Two
more files are for people only: `truth.csv`, before any rater, and `demo.json`,
which tells that the corpus is drawn, and its edition.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np
import pandas as pd

from affwild_omg.cli import progress
from affwild_omg.cli.errors import UserError
from affwild_omg.corpora import omg
from affwild_omg.corpora.clips import SPLITS
from affwild_omg.storage import files, parallel
from affwild_omg.synthetic import acting, faces, plan
from affwild_omg.synthetic.camera import Camera
from affwild_omg.synthetic.portrait import load_portraits

EDITION = 2  # raise it when frames or labels change
TRUTH = "truth.csv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Where the corpus is drawn, and which edition of it."""

    directory: str
    edition: int = EDITION


def write_corpus(
    options: CorpusOptions,
    *,
    overwrite: bool = False,
    videos: Sequence[plan.Video] | None = None,
    workers: int | None = None,
) -> None:
    """Writes the demo corpus, whole or not at all.

    The frames are the same for any number of workers. A script that calls
    this needs the usual `if __name__ == "__main__":`, because processes are
    spawned.

    Args:
        options: the corpus' root.
        overwrite: replace a demo corpus that is there; nothing else ever is.
        videos: what to draw; by default all of `plan.plan_corpus`.
        workers: processes; by default one per core.

    Raises:
        UserError: the directory holds something else, a portrait is not
            found, or no video can be written.
    """
    videos = plan.plan_corpus() if videos is None else videos
    with new_corpus(options, overwrite=overwrite) as root:
        draw(functools.partial(_draw_video, root), videos, workers)
        _write_tables(root, videos)


@contextlib.contextmanager
def new_corpus(
    options: CorpusOptions, *, overwrite: bool
) -> Iterator[pathlib.Path]:
    """Yields the folder of a demo corpus, which is there whole or not at all.

    Raises:
        UserError: the directory holds something else, or a demo corpus that
            is not to be replaced.
    """
    directory = pathlib.Path(options.directory)
    # A killed run leaves a hidden folder.
    if (
        directory.is_dir()
        and not (directory / omg.DEMO).is_file()
        and any(not p.name.startswith(".") for p in directory.iterdir())
    ):
        raise UserError(
            f"{directory} holds something other than a demo corpus; remove it "
            "or name another folder"
        )
    with files.atomic_directory(
        directory, flag="--directory", overwrite=overwrite
    ) as root:
        yield root
        files.write_json(root / omg.DEMO, {"edition": options.edition})


def draw(
    function: Callable, videos: Sequence, workers: int | None = None
) -> None:
    """Calls a function with each video, in parallel, the longest first.

    Args:
        function: can be pickled.
        videos: have `frames`.
        workers: processes; by default one per core.
    """
    with (
        progress.bar(
            description="drawing videos", unit="video", total=len(videos)
        ) as bar,
        parallel.parallel_map(
            function,
            sorted(videos, key=lambda video: -video.frames),
            workers=workers or parallel.cores(),
        ) as results,
    ):
        for _ in results:
            bar.update(1)


def _draw_video(root: pathlib.Path, video: plan.Video) -> None:
    cv2.setNumThreads(1)  # the workers fill the cores already
    rng = np.random.default_rng([0, SPLITS.index(video.split), video.index])
    looks = faces.draw_looks(rng, blend=video.blend)
    person = faces.Person(load_portraits(), looks)
    habits = acting.draw_habits(rng)
    (root / video.video).mkdir()
    for utterance in video.utterances:
        poses = acting.act(rng, utterance, habits)
        camera = Camera(rng)
        write_film(
            root / video.video / utterance.utterance,
            (camera.take(person.render(pose)) for pose in poses),
        )


def write_film(path: pathlib.Path, frames: Iterable[np.ndarray]) -> None:
    """Writes a film of RGB frames, uint8 [height, width, 3], at `plan.FPS`.

    Raises:
        UserError: this OpenCV cannot.
    """
    codec, writer = cv2.VideoWriter_fourcc(*"mp4v"), None
    for frame in frames:
        if writer is None:
            height, width = frame.shape[:2]
            size = width, height
            writer = cv2.VideoWriter(str(path), codec, plan.FPS, size)
            if not writer.isOpened():
                raise UserError(
                    f"{path}: this OpenCV cannot write MPEG-4; install the "
                    "wheel opencv-python, which can"
                )
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def _write_tables(root: pathlib.Path, videos: Sequence[plan.Video]) -> None:
    table = pd.DataFrame(
        {
            "split": video.split,
            "link": f"demo:{video.video}",
            "video": video.video,
            **dataclasses.asdict(utterance),
        }
        for video in videos
        for utterance in video.utterances
    ).rename(columns={"emotion": "EmotionMaxVote"})
    bare = list(omg.COLUMNS)
    labelled = [*bare, *omg.LABEL_RANGES, "EmotionMaxVote"]
    for split, names in omg.TABLES.items():
        rows = table[table["split"] == split]
        for name, columns in zip(names, (labelled, bare), strict=False):
            rows[columns].to_csv(root / name, index=False)
    truth = ["video", "utterance", "true_arousal", "true_valence"]
    table[truth].to_csv(root / TRUTH, index=False)
