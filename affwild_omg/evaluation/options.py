"""Options of evaluation, scoring, fusion and comparison of runs."""

import dataclasses
from collections.abc import Sequence

from affwild_omg.cli import options
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import option
from affwild_omg.inference.options import ComputationOptions
from affwild_omg.storage import files

LEVELS = ("utterance", "sequence", "frame")
POOLINGS = ("pooled", "per_video")
POOLED = {"pooled": "over all of them", "per_video": "averaged over the videos"}

# Which utterances of a validation split decide: all, as in the paper, or those
# whose source does not stand in train.
VALIDATIONS = ("all", "disjoint")

_RESULTS = "Folder for metrics.json, predictions.csv, labels.csv and pictures."
_GROUPS = (
    "CSV that says which utterances belong together, to score each group: "
    "columns name (<video>/<utterance>) or video, then any, such as "
    "age,gender,race; empty: none."
)
_POOLING = "CCC over all of them, or the mean of the videos' own CCCs."


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationOptions(ComputationOptions):
    """Which model is evaluated, on what and how: flags of evaluate.py."""

    model: str = option(
        "Workdir, .keras file or folder that export.py wrote.",
        exists=True,
        address=True,
    )
    records: str = option(
        "Folder that affwild_omg.prepare wrote.", exists=True, address=True
    )
    output: str = option(_RESULTS, address=True)
    split: str = option(
        "What to evaluate.", "test", choices=("train", "validation", "test")
    )
    level: str | None = option(
        "What the headline scores compare; metrics.json has all (default: "
        "frames where labels differ within a clip, else utterances).",
        None,
        choices=LEVELS,
    )
    pooling: str = option(_POOLING, "pooled", choices=POOLINGS)
    estimate: str = option(
        "How the frames of a sequence become one estimate.",
        "median",
        choices=("median", "mean"),
    )
    sequence_weights: str = option(
        "How sequences count in the mean of an utterance: equally, or by "
        "their frames.",
        "equal",
        choices=("equal", "frames"),
    )
    postprocessing: str = option(
        "File of the steps to apply; empty: the workdir's, if it has chosen "
        "any; none: no post-processing.",
        "",
        address=True,
    )
    choose_postprocessing: bool = option(
        "Choose the steps that raise CCC on this split, which must be "
        "validation, and write them to the workdir.",
        False,
    )
    validation: str = option(
        "Which utterances the steps are chosen on: all (the paper's), or those "
        "whose source does not stand in train.",
        "all",
        choices=VALIDATIONS,
    )
    other_landmarks: bool = option(
        "Evaluate although landmarks of the records are another model's than "
        "those that --model learned from.",
        False,
    )
    sequence_length: int = option(
        "Frames of a window; 0 takes the model's own.", 0, least=0
    )
    batch_size: int = option("Windows at a time.", 4, least=1)
    groups: str = option(_GROUPS, "", exists=True, address=True)

    def __post_init__(self):
        super().__post_init__()
        if self.choose_postprocessing and self.split != "validation":
            raise UserError(
                "--choose_postprocessing goes with --split=validation, not "
                f"{self.split}: steps must not be chosen on what is scored"
            )
        if self.validation != "all" and not self.choose_postprocessing:
            raise UserError(
                f"--validation={self.validation} goes with "
                "--choose_postprocessing, and changes nothing without it"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubmissionOptions(options.Checked):
    """Whose predictions are scored: flags of evaluate.py without a model.

    Both tables have columns arousal, valence or both; to match them by key,
    video and utterance, too. Of frames see `frame_tables`.
    """

    predictions: str = option(
        "CSV of predictions to score instead of a model: of utterances, or of "
        "a video's frames (predict, py-feat, OpenFace); or a folder of the "
        "latter, of clips as <video>/<utterance>.csv.",
        exists=True,
    )
    annotations: str = option(
        "CSV of the truth, such as the organisers' tables; of frames a text "
        "like Aff-Wild2's, or a folder of these.",
        exists=True,
    )
    output: str = option(_RESULTS)
    match: str = option(
        "How the rows of the two match: by video and utterance, or by order.",
        "key",
        choices=("key", "order"),
    )
    pooling: str = option(_POOLING, "pooled", choices=POOLINGS)
    groups: str = option(_GROUPS, "", exists=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FusionOptions(options.Checked):
    """Which runs are fused: the flags of affwild_omg.fuse."""

    test: Sequence[str] = option(
        "Results of the test split: folders that evaluate.py wrote, two or "
        "more, separated by commas."
    )
    validation: Sequence[str] | None = option(
        "Results of the validation split, for weights: folders of the same "
        "runs in the same order (default: none, for equal weights).",
        None,
    )
    weights: str = option(
        "How much a run counts: by its CCC on validation, or all alike.",
        "ccc",
        choices=("ccc", "equal"),
    )
    output: str = option(_RESULTS)
    weigh_on: str = option(
        "Which utterances of --validation weights come from: all (the "
        "paper's), or those whose source does not stand in train.",
        "all",
        choices=VALIDATIONS,
    )

    def __post_init__(self):
        super().__post_init__()
        equal = self.weights == "equal"
        if equal == bool(self.validation):
            raise UserError(
                "--validation is not needed for --weights=equal; leave it out"
                if equal
                else "--validation is missing, whose CCCs are the weights; "
                "give it, or --weights=equal"
            )
        if equal and self.weigh_on != "all":
            raise UserError(
                f"--weigh_on={self.weigh_on} changes nothing with "
                "--weights=equal; leave it out"
            )
        count = len(self.test if equal else self.validation)
        if not 2 <= count == len(self.test):
            raise UserError(
                "--validation and --test must name the same runs in the same "
                "order, two or more, separated by commas, not "
                f"{count} and {len(self.test)} folders"
            )
        files.require_apart(
            [
                *(("validation", x) for x in self.validation or ()),
                *(("test", folder) for folder in self.test),
                ("output", self.output),
            ]
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonOptions(options.Checked):
    """Which two runs are compared: the flags of affwild_omg.compare."""

    first: str = option(
        "Results of one run: a folder that evaluate.py or fuse wrote, or a CSV "
        "of anyone's predictions.",
        exists=True,
    )
    second: str = option(
        "Results of the other run on the same split: another such folder or "
        "CSV.",
        exists=True,
    )
    output: str = option("Folder for comparison.json.")
    table: str = option(
        "CSV that names, in its order, the rows of a CSV without columns video "
        "and utterance, such as omg_TestVideos_WithoutLabels.csv; empty: none.",
        "",
        exists=True,
    )

    def __post_init__(self):
        super().__post_init__()
        files.require_apart(
            (name, getattr(self, name))
            for name in ("first", "second", "output")
        )
