"""Options of prediction: the flags of affwild_omg.predict."""

import dataclasses

from affwild_omg.cli import options
from affwild_omg.cli.options import option
from affwild_omg.paper.task import DETECT_EVERY


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionOptions(options.Checked):
    """Which video is predicted, by which model, and where to."""

    model: str = option("SavedModel, workdir or .keras file.", exists=True)
    video: str = option("Video file.", exists=True)
    output: str = option(
        "Folder for <stem>.csv, one row per frame, and <stem>.png."
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
