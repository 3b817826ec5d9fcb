"""The paper's tables 3 to 8: what was trained, and what was published.

`tables.csv` holds them, a line for each cell in which the paper prints a
network's scores. Rows of one `folder` are trained once, whichever tables they
stand in. Sections and tables are those of Kollias & Zafeiriou (2020); all
scores are those on the OMG-Emotion test set.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping

# How a CNN-RNN is trained, as flags of train.py (sections 5.2 and 6.1). End to
# end was better than with the CNN fixed, at "either" of two rates; which of
# them served which network is not published. See `to_flags` for what else.
STRATEGIES: Mapping[str, Mapping[str, object]] = {
    "end_to_end": {"train": "all", "learning_rate": 1e-4},
    "end_to_end_slow": {"train": "all", "learning_rate": 1e-5},
    "cnn_fixed": {"train": "head", "learning_rate": 1e-3},
}
CNNS = ("vgg_face", "resnet50", "densenet121")  # without recurrence
# `Row.pretraining` without Aff-Wild and Aff-Wild2: "trained directly with the
# OMG-Emotion set" (section 7.1). Whether the convolutions then start from
# VGG-Face's weights or at random, the paper does not say. VGG-Face's are
# likelier: they belong to what it calls VGG-FACE, and Aff-Wild2 is to it
# "further pre-training".
SCRATCH = "scratch"


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
            does not say so; see also `Region`.
        heading: what the paper has above the scores, where that tells rows of
            one label apart.
        network: a key of `networks.NETWORKS`; None for decision-level fusion
            and for other systems.
        overrides: fields of the network's architecture that are replaced.
        pretraining: `SCRATCH`, "affwild" or "affwild2"; None for other systems.
        members: of decision-level fusion, the keys of the rows of table 3
            that are fused. The paper fuses "the CNN-1RNNs and CNN-3RNNs
            described above" (section 5.4.2) and leaves open how many of each;
            taken as one, like model-level fusion.
        unprocessed: CCC without post-processing; table 3 only.
    """

    key: str
    label: str
    published: Scores
    heading: str = ""
    network: str | None = None
    overrides: Mapping[str, object] = dataclasses.field(default_factory=dict)
    pretraining: str | None = None
    members: tuple[str, ...] = ()
    unprocessed: Scores | None = None

    @property
    def folder(self) -> str | None:
        """The folder of its runs, which names what is trained or fused.

        None for other systems.
        """
        if self.pretraining is None:
            return None
        changes = [f"{k}_{v}".lower() for k, v in self.overrides.items()]
        return "-".join([self.network or self.key, *changes, self.pretraining])

    @property
    def fused(self) -> list["Row"]:
        """The rows that decision-level fusion fuses, pre-trained like it."""
        return [
            dataclasses.replace(row, pretraining=self.pretraining)
            for row in TABLES[3].rows
            if row.key in self.members
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
    """A table of the paper.

    Attributes:
        number: its number in the paper.
        title: what it compares.
        source: the section that discusses it.
        metric: of `Row.published`, "ccc" or "mse".
        columns: which scores the paper prints of each row.
        rows: in the paper's order.
    """

    number: int
    title: str
    source: str = "section 7.1"
    metric: str = "ccc"
    columns: tuple[str, ...] = ("valence", "arousal", "mean")
    rows: tuple[Row, ...]


def to_flags(
    row: Row, strategy: str = "end_to_end", *, pretraining: bool = False
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
    if row.network in CNNS or (pretraining and strategy == "cnn_fixed"):
        strategy = "end_to_end"
    return {
        "architecture": row.network,
        **row.overrides,
        "sequence_length": 80,
        "batch_size": 4,
        **STRATEGIES[strategy],
    }


def _read_rows():
    """Returns {number of the table: rows} of tables.csv."""
    rows = {}
    path = pathlib.Path(__file__).with_name("tables.csv")
    with path.open(newline="", encoding="utf-8") as file:
        for cells in csv.DictReader(file):
            rows.setdefault(int(cells["table"]), []).append(_row(cells))
    return {number: tuple(of_table) for number, of_table in rows.items()}


def _row(cells):
    """Returns a row of the cells of a line, which are empty where it has none.

    The only override that the paper has is of the landmarks.
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


_ROWS = _read_rows()
_PAIR = ("valence", "arousal")
TABLES: Mapping[int, Table] = {
    number: Table(number=number, rows=_ROWS[number], **about)
    for number, about in {
        3: {"title": "Architectures, pre-trained on Aff-Wild2"},
        4: {"title": "Pre-training", "columns": _PAIR},
        5: {"title": "Taps of CNN-3RNN"},
        6: {"title": "Without and with landmarks"},
        7: {
            "title": "CNN-3RNN by region of the valence-arousal plane",
            "metric": "mse",
            "columns": _PAIR,
        },
        8: {
            "title": "Other systems of the OMG-Emotion Challenge",
            "source": "section 7.3",
            "columns": _PAIR,
        },
    }.items()
}
