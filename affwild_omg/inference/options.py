"""Options of prediction: the flags of affwild_omg.predict."""

import dataclasses
from collections.abc import Sequence

from affwild_omg.cli import options
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import option
from affwild_omg.inference.precision import PRECISIONS, RUNTIMES
from affwild_omg.paper.task import DETECT_EVERY

# As many are told apart in a video, see `faces.people`.
MAX_PEOPLE = 20
MODES = ("windows", "overlap", "stream")
FORMATS = ("elan", "fex", "abaw")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComputationOptions(options.Checked):
    """What computes a network, and in which numbers."""

    precision: str = option(
        "What the network computes in; auto is bfloat16, of three digits, "
        "where the GPU (without one, the CPU) and the runtime have it; int8 is "
        "what export.py --int8 wrote.",
        "float32",
        choices=PRECISIONS,
    )
    runtime: str = option(
        "What computes; auto: the first that --model is there for.",
        "auto",
        choices=("auto", *RUNTIMES),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionOptions(ComputationOptions):
    """Which videos are predicted, by which model, and where to."""

    model: str = option(
        "Folder that export.py wrote, workdir or .keras file.",
        exists=True,
        address=True,
    )
    video: str = option(
        "Video file, folder of them, or pattern such as 'clips/*.mp4'; "
        "several are separated by commas. Or the number of a camera, such as "
        "0, until Ctrl-C.",
        address=True,
    )
    output: str = option(
        "Folder for <stem>.csv, one row per frame, <stem>.png and <stem>.json "
        "of each video.",
        address=True,
    )
    resume: bool = option(
        "Leave out videos whose results are there and whole.", False
    )
    annotate: bool = option(
        "Write <stem>_annotated.mp4, too: the video with boxes, landmarks, "
        "values and a plane of valence and arousal.",
        False,
    )
    format: Sequence[str] | None = option(
        "More files of the values, separated by commas: elan (<stem>.eaf, the "
        "means of each second), fex (<stem>_fex.csv, py-feat's columns), abaw "
        "(<stem>_abaw.txt, of which a submission is made) (default: none).",
        None,
    )
    faces: int = option(
        "People whose faces are predicted, up to 20, the largest ones: each "
        "has rows, windows and an id of its own.",
        1,
        least=1,
        most=MAX_PEOPLE,
    )
    mode: str = option(
        "How a video is cut: windows (the paper's; the network starts anew "
        "with each), overlap (each begins amid the one before, so that the "
        "network has seen half a window before a frame counts), or stream "
        "(not at all: an answer a frame, from what came before).",
        "windows",
        choices=MODES,
    )
    sequence_length: int = option(
        "Frames of a window; 0 takes the model's own.", 0, least=0
    )
    detect_every: int = option(
        "Frames from one face detection to the next; landmarks are tracked in "
        "between.",
        DETECT_EVERY,
        least=1,
    )
    verify: bool = option(
        "Repeat at first what a SavedModel did with its golden frames where it "
        "was exported, and stop where a step differs here.",
        False,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.verify and self.precision != "float32":
            raise UserError(
                f"--verify does not go with --precision={self.precision}, "
                "whose values differ; leave one of the two out"
            )
        if self.mode == "stream" and self.sequence_length:
            raise UserError(
                "--sequence_length has no effect with --mode=stream, which has "
                "no windows; leave one of the two out"
            )
        if self.mode == "stream" and "abaw" in (self.format or ()):
            raise UserError(
                "--format=abaw has the main person of the whole video, whom a "
                "stream cannot know; give --mode=windows or --mode=overlap"
            )
        for name in self.format or ():
            if name not in FORMATS:
                raise UserError(
                    f"--format must be some of {', '.join(FORMATS)}, separated "
                    f"by commas, not {name!r}"
                )
