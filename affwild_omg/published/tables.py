"""The paper's tables 3 to 8, and what it compares in its text alone.

`tables.csv` holds the tables, a line for each cell in which the paper prints a
network's scores; the comparisons, of which it prints none, stand here. Rows of
one `folder` are trained once, whichever tables they stand in. Sections and
tables are those of Kollias & Zafeiriou (2020); all scores are those on the
OMG-Emotion test set.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping

from affwild_omg.paper.task import TARGETS

# How a CNN-RNN is trained, as flags of train.py (sections 5.2 and 6.1). End to
# end was better than with the CNN fixed, at "either" of two rates; which of
# them served which network is not published. See `to_flags` for what else.
STRATEGIES: Mapping[str, Mapping[str, object]] = {
    "end_to_end": {"train": "all", "learning_rate": 1e-4},
    "end_to_end_slow": {"train": "all", "learning_rate": 1e-5},
    "cnn_fixed": {"train": "head", "learning_rate": 1e-3},
}
# At full size 1e-4 saturates the gates (docs/networks.md).
STRATEGY = "end_to_end_slow"
CNNS = ("vgg_face", "resnet50", "densenet121")  # without recurrence
# `Row.pretraining` without Aff-Wild and Aff-Wild2: "trained directly with the
# OMG-Emotion set" (section 7.1). Whether the convolutions then start from
# VGG-Face's weights or at random, the paper does not say. VGG-Face's are
# likelier: they belong to what it calls VGG-FACE, and Aff-Wild2 is to it
# "further pre-training".
SCRATCH = "scratch"
SEQUENCE_LENGTH = 80  # frames, section 6.1
FOLDS = 10  # section 7


@dataclasses.dataclass(frozen=True)
class Scores:
    """A pair of published scores: CCC in [-1, 1], or MSE of at least 0."""

    valence: float
    arousal: float

    @property
    def mean(self) -> float:
        """The mean of both, as every table that prints one rounds it."""
        # Half up, which round() isn't: of 0.378 and 0.203 they print 0.291.
        return round((self.valence + self.arousal) / 2 + 1e-9, 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table, or a cell of one that sets pre-trainings side by side.

    Attributes:
        key: names it in its table, such as "conv4_1_pool5_fc".
        label: what the paper calls it.
        published: the paper's scores; of its own networks CCC with
            post-processing, though of "scratch" and "affwild" in table 4 it
            does not say so; see also `Region`. None where it prints none.
        heading: what the paper has above the scores, where that tells rows of
            one label apart.
        network: a key of `networks.NETWORKS`; None for decision-level fusion
            and for other systems.
        overrides: fields of the network's architecture that are replaced.
        pretraining: `SCRATCH`, "affwild" or "affwild2"; None for other systems.
        members: of decision-level fusion, the networks that are fused. The
            paper fuses "the CNN-1RNNs and CNN-3RNNs
            described above" (section 5.4.2) and leaves open how many of each;
            taken as one, like model-level fusion.
        unprocessed: CCC without post-processing; table 3 only.
        sequence_length: frames of a window.
        averages: what trainings of the network differ in whose predictions are
            averaged: "targets", "seeds" or "folds"; "" where one stands alone.
        fold: of a network of a cross-validation, the fold that it is validated
            on, from 0 on.
        steps: post-processing of the runs that are fused: "" for all that is
            chosen, "median" for the filter alone, or "none".
    """

    key: str
    label: str
    published: Scores | None = None
    heading: str = ""
    network: str | None = None
    overrides: Mapping[str, object] = dataclasses.field(default_factory=dict)
    pretraining: str | None = None
    members: tuple[str, ...] = ()
    unprocessed: Scores | None = None
    sequence_length: int = SEQUENCE_LENGTH
    averages: str = ""
    fold: int | None = None
    steps: str = ""

    @property
    def folder(self) -> str | None:
        """The folder of its runs, which names what is trained or fused.

        None for other systems.
        """
        if self.pretraining is None:
            return None
        changes = [
            f"{k}_{'_'.join(v) if isinstance(v, tuple) else v}".lower()
            for k, v in self.overrides.items()
        ]
        if self.sequence_length != SEQUENCE_LENGTH:
            changes.append(f"frames_{self.sequence_length}")
        if self.averages:
            changes.append(f"over_{self.averages}")
        if self.fold is not None:
            changes.append(f"fold_{self.fold}")
        return "-".join([self.network or self.key, *changes, self.pretraining])

    @property
    def compares(self) -> set[str]:
        """The options of train.py that the row itself sets apart from rates."""
        other = self.sequence_length != SEQUENCE_LENGTH
        return {*self.overrides, *["sequence_length"] * other}

    @property
    def fused(self) -> list["Row"]:
        """The rows whose runs it fuses or averages, pre-trained like it."""
        changes = {
            "targets": [
                {"overrides": {**self.overrides, "targets": (target,)}}
                for target in TARGETS
            ],
            "seeds": [{}],
            "folds": [{"fold": fold} for fold in range(FOLDS)],
        }
        if self.averages:
            return [
                dataclasses.replace(self, averages="", published=None, **change)
                for change in changes[self.averages]
            ]
        return [
            Row(key=x, label=x, network=x, pretraining=self.pretraining)
            for x in self.members
        ]

    def without_pretraining(self) -> "Row":
        """Returns the row trained on OMG-Emotion alone."""
        return dataclasses.replace(self, pretraining=SCRATCH)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Region(Row):
    """A column of table 7: the MSE of "the best CNN-3RNN" in part of the plane.

    The paper does not say whether labels or predictions decide what lies in a
    region, nor whether the predictions were post-processed.

    Attributes:
        valence: its bounds, in [-1, 1], see `contains`.
        arousal: its bounds, in [0, 1], likewise.
    """

    valence: tuple[float, float]
    arousal: tuple[float, float]

    def contains(self, valence, arousal):
        """Returns whether values lie in the region.

        The upper bound is out of it, except 1, where the plane ends.

        Args:
            valence: a number, or an array of any shape.
            arousal: likewise, of the same shape.

        Returns:
            A bool, or an array of them of that shape.
        """
        return _within(valence, *self.valence) & _within(arousal, *self.arousal)


def _within(value, low, high):
    below = value <= high if high == 1 else value < high
    return (value >= low) & below


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the paper, or a comparison in its text.

    Attributes:
        name: its number in the paper, or what it is called here.
        title: what it compares.
        source: the section that discusses it.
        metric: of `Row.published`, "ccc" or "mse".
        columns: which scores the paper prints of each row.
        says: what the paper says in words instead of numbers.
        rows: in the paper's order.
    """

    name: str
    title: str
    source: str = "section 7.1"
    metric: str = "ccc"
    columns: tuple[str, ...] = ("valence", "arousal", "mean")
    says: str = ""
    rows: tuple[Row, ...]

    @property
    def heading(self) -> str:
        """What it is called in a sentence, and where the paper has it."""
        if self.name.isdecimal():
            return f"Table {self.name}: {self.title}"
        return f"{self.source.capitalize()}: {self.title}"


def to_flags(
    row: Row, strategy: str = STRATEGY, *, pretraining: bool = False
) -> dict[str, object]:
    """Returns the flags of train.py that train a row's network.

    The strategies are the CNN-RNNs', for what follows pre-training: the CNN is
    fixed as it comes from there, where it learned with the rest (section 5.2).
    CNNs always learn, at 1e-4 (section 6.1). Windows and batches are those of
    section 6.1; it gives no batch for the CNNs alone, which are taken to have
    had the CNN-RNNs' one.

    Args:
        row: one that has a network.
        strategy: a key of `STRATEGIES`.
        pretraining: whether on Aff-Wild or Aff-Wild2.
    """
    if row.network in CNNS:
        strategy = "end_to_end"
    elif pretraining and strategy == "cnn_fixed":
        strategy = STRATEGY
    return {
        "architecture": row.network,
        **row.overrides,
        "sequence_length": row.sequence_length,
        "batch_size": 4,
        **STRATEGIES[strategy],
    }


def _read_rows():
    """Returns {name of the table: rows} of tables.csv."""
    rows = {}
    path = pathlib.Path(__file__).with_name("tables.csv")
    with path.open(newline="", encoding="utf-8") as file:
        for cells in csv.DictReader(file):
            rows.setdefault(cells["table"], []).append(_row(cells))
    return {name: tuple(of_table) for name, of_table in rows.items()}


def _row(cells):
    """Returns a row of the cells of a line, which are empty where it has none.

    The only override that the tables have is of the landmarks.
    """

    def pair(form):
        return [float(cells[form.format(x)]) for x in ("valence", "arousal")]

    fields = {
        "published": Scores(*pair("{}")),
        "network": cells["network"] or None,
        "overrides": {"landmarks": False} if cells["landmarks"] else {},
        "pretraining": cells["pretraining"] or None,
        "members": tuple(cells["members"].split()),
    } | {name: cells[name] for name in ("key", "label", "heading")}
    if cells["unprocessed_valence"]:
        fields["unprocessed"] = Scores(*pair("unprocessed_{}"))
    if not cells["valence_from"]:
        return Row(**fields)
    valence, arousal = zip(pair("{}_from"), pair("{}_to"), strict=True)
    return Region(**fields, valence=valence, arousal=arousal)


def _compare(key, heading, base, **changes):
    """Returns a row of a comparison, derived from one of table 3."""
    changes = {"published": None, "unprocessed": None} | changes
    return dataclasses.replace(base, key=key, heading=heading, **changes)


_ROWS = _read_rows()
_PAIR = ("valence", "arousal")
_TABLES = {
    "3": {"title": "Architectures, pre-trained on Aff-Wild2"},
    "4": {"title": "Pre-training", "columns": _PAIR},
    "5": {"title": "Taps of CNN-3RNN"},
    "6": {"title": "Without and with landmarks"},
    "7": {
        "title": "CNN-3RNN by region of the valence-arousal plane",
        "metric": "mse",
        "columns": _PAIR,
    },
    "8": {
        "title": "Other systems of the OMG-Emotion Challenge",
        "source": "section 7.3",
        "columns": _PAIR,
    },
}
_BASE = {row.key: row for row in _ROWS["3"]}
_VGG_FACE, _CNN_3RNN = _BASE["vgg_face"], _BASE["cnn_3rnn"]
_PUBLISHED = {"published": _CNN_3RNN.published}
_COMPARISONS = {
    "tasks": {
        "title": "Multi-task and uni-task learning",
        "source": "section 5",
        "says": "multi-task learning was better in both dimensions",
        "rows": (
            _compare("multi_task", "Multi-task", _CNN_3RNN, **_PUBLISHED),
            _compare("uni_task", "Uni-task", _CNN_3RNN, averages="targets"),
        ),
    },
    "lengths": {
        "title": "Length of sequences",
        "source": "section 6.1",
        "says": "of 40 to 100 frames, tried with the CNNs, 80 were best",
        "rows": tuple(
            _compare(
                f"frames_{frames}",
                f"{frames} frames",
                _VGG_FACE,
                sequence_length=frames,
                published=_VGG_FACE.published if frames == 80 else None,
            )
            for frames in (40, 60, 80, 100)
        ),
    },
    "encoders": {
        "title": "A layer that encodes the landmarks",
        "source": "section 7",
        "says": "an encoder of 512, 1024 or 2048 units made no significant "
        "difference",
        "rows": (
            _compare("no_encoder", "No encoder", _CNN_3RNN, **_PUBLISHED),
            *(
                _compare(
                    f"encoder_{units}",
                    f"{units} units",
                    _CNN_3RNN,
                    overrides={"landmark_units": units},
                )
                for units in (512, 1024, 2048)
            ),
        ),
    },
    "trainings": {
        "title": "One training, an average of several, cross-validation",
        "source": "section 7",
        "says": "there was no significant difference",
        "rows": (
            _compare("once", "Trained once", _CNN_3RNN, **_PUBLISHED),
            _compare(
                "repeated", "Average over seeds", _CNN_3RNN, averages="seeds"
            ),
            _compare(
                "cross_validated",
                f"Average over {FOLDS} folds",
                _CNN_3RNN,
                averages="folds",
            ),
        ),
    },
    # "the CNN2-to-1RNN and CNN-3RNN-last-conv last-pool fc pre-trained on
    # Aff-Wild models' predictions": how two networks became one submission, it
    # does not say; taken as decision-level fusion.
    "submissions": {
        "title": "Submissions to the OMG-Emotion Challenge",
        "source": "section 7.2",
        "says": "the third was the best",
        "rows": tuple(
            Row(
                key=f"submission_{number}",
                label=f"Submission {'I' * number}",
                heading=heading,
                pretraining="affwild",
                members=("cnn2_to_1rnn", "cnn_3rnn_conv5_3_pool5_fc"),
                steps=steps,
            )
            for number, steps, heading in (
                (1, "none", "No post-processing"),
                (2, "median", "Median filter"),
                (3, "", "Median filter and smoothing"),
            )
        ),
    },
}
TABLES: Mapping[str, Table] = {
    name: Table(name=name, **({"rows": _ROWS.get(name)} | about))
    for name, about in (_TABLES | _COMPARISONS).items()
}
