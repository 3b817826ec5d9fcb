"""Options of prediction: the flags of affwild_omg.predict."""

import dataclasses

from affwild_omg.cli import options
from affwild_omg.cli.options import option
from affwild_omg.paper.task import DETECT_EVERY

# As many are told apart in a video, see `faces.people`.
MAX_PEOPLE = 20
MODES = ("windows", "overlap")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionOptions(options.Checked):
    """Which videos are predicted, by which model, and where to."""

    model: str = option("SavedModel, workdir or .keras file.", exists=True)
    video: str = option(
        "Video file, folder of them, or pattern such as 'clips/*.mp4'; "
        "several are separated by commas."
    )
    output: str = option(
        "Folder for <stem>.csv, one row per frame, <stem>.png and <stem>.json "
        "of each video."
    )
    resume: bool = option(
        "Leave out videos whose results are there and whole.", False
    )
    annotate: bool = option(
        "Write <stem>_annotated.mp4, too: the video with boxes, landmarks, "
        "values and a plane of valence and arousal.",
        False,
    )
    faces: int = option(
        "People whose faces are predicted, the largest ones: each has rows, "
        "windows and an id of its own.",
        1,
        least=1,
        most=MAX_PEOPLE,
    )
    mode: str = option(
        "How a video is cut: windows (the paper's; the network starts anew "
        "with each), or overlap (each begins amid the one before, so that the "
        "network has seen half a window before a frame counts).",
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
