"""Options of preparation: the flags of affwild_omg.prepare."""

import dataclasses
import math
import re

from affwild_omg.cli import options
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import option
from affwild_omg.corpora.folders import CROPS
from affwild_omg.corpora.options import CorpusOptions
from affwild_omg.paper.task import DETECT_EVERY
from affwild_omg.paper.treatment import (
    CROP_FORMATS,
    DLIB,
    LANDMARKERS,
    PNG,
    Treatment,
)

FPS = 25.0
PROCESSES, RAY = "processes", "ray"
AUTO = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparationOptions(CorpusOptions):
    """Which corpus is prepared, from where, to where and how."""

    records: str = option("Folder for the records.", address=True)
    fps: float = option(
        "Frames a second of clips that are pictures.", FPS, least=1
    )
    max_fps: float | None = option(
        "Frames of a second that are kept, at most, such as 25; the model is "
        "then fed as many in prediction (default: all).",
        None,
        least=1,
    )
    detect_every: int = option(
        "Frames from one face detection to the next; landmarks are tracked in "
        "between.",
        DETECT_EVERY,
        least=1,
    )
    landmarks: str = option(
        "Whose model finds landmarks: dlib's, which must not be used "
        "commercially, or MediaPipe's, which may (docs/faces.md).",
        DLIB,
        choices=LANDMARKERS,
    )
    crop_format: str = option(
        "As what crops are kept: png, to the bit, or jpeg, in a third of the "
        "space.",
        PNG,
        choices=CROP_FORMATS,
    )
    preview: bool = option(
        "Draw a sheet of each clip, <records>/previews/<split>/<video>/"
        "<utterance>.png: its frames, boxes, landmarks, and why there is no "
        "face.",
        False,
    )
    workers: int = option("Processes; 0 takes one per core.", 0, least=0)
    engine: str = option(
        "What prepares clips: processes of this machine, or a Ray cluster, a "
        "clip per core.",
        PROCESSES,
        choices=(PROCESSES, RAY),
    )
    ray_address: str = option(
        "Of Ray's head, host:port; auto takes the cluster that this machine "
        "belongs to.",
        AUTO,
    )
    shard: str | None = option(
        "Prepare a part of the corpus, such as 2/8, the second of eight; "
        "--merge in its place makes the records (default: all of it).",
        None,
    )
    merge: bool = option(
        "Make the records of all shards, once they are prepared.", False
    )

    @property
    def treatment(self) -> Treatment:
        """What is done to the films."""
        return Treatment(self.landmarks, self.max_fps, self.crop_format)

    @property
    def part(self) -> tuple[int, int] | None:
        """The shard: its number, from 1, and of how many; None without."""
        if self.shard is None:
            return None
        number, _, shards = self.shard.partition("/")
        return int(number), int(shards)

    def __post_init__(self):
        super().__post_init__()
        if self.fps == math.inf:
            raise UserError("--fps=inf is no number of frames a second")
        if self.max_fps == math.inf:
            raise UserError(
                "--max_fps=inf keeps all frames, as does no --max_fps; leave "
                "it out"
            )
        if self.engine == RAY and self.workers:
            raise UserError(
                f"--workers={self.workers} changes nothing with --engine={RAY}"
                ", which takes all cores of the cluster; leave it out"
            )
        if self.engine != RAY and self.ray_address != AUTO:
            raise UserError(
                f"--ray_address={self.ray_address} changes nothing without "
                f"--engine={RAY}; leave it out, or give that, too"
            )
        if self.shard is not None:
            form = re.fullmatch(r"[0-9]{1,6}/[0-9]{1,6}", self.shard)
            if not form or not 1 <= self.part[0] <= self.part[1]:
                raise UserError(
                    "--shard must be like 2/8, from 1/8 to 8/8, not "
                    f"{self.shard!r}"
                )
            if self.merge:
                raise UserError(
                    "--shard does not go with --merge, which makes the "
                    "records of all shards; leave one of the two out"
                )
        if self.frames == CROPS and self.detect_every != DETECT_EVERY:
            raise UserError(
                f"--detect_every={self.detect_every} changes nothing with "
                f"--frames={CROPS}, which are searched for no faces; leave it "
                "out"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerificationOptions(options.Checked):
    """Which records are checked."""

    verify: bool = option(
        "Prepare nothing: check all of --records against their checksums, and "
        "name what is damaged.",
        False,
    )
    records: str = option("Folder with the records.", exists=True, address=True)
