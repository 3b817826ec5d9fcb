"""The paper's tables 3 to 8 as data: what was trained, and what was published.

A row of a table names a network of `published.networks.NETWORKS`, what
it was pre-trained on and the published scores. Rows of one `run` are one
training, whichever tables they stand in. Sections and tables are those of
Kollias & Zafeiriou (2020); all scores are those on the OMG-Emotion test set.
"""

import dataclasses
from collections.abc import Mapping

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import Fusion
from affwild_omg.published.networks import NETWORKS

# What a network saw before OMG-Emotion. "scratch" (table 4) is without Aff-Wild
# and Aff-Wild2: "trained directly with the OMG-Emotion set" (section 7.1).
# Whether the convolutions then start from VGG-Face's weights or at random, the
# paper doesn't say. VGG-Face's weights are likelier: they belong to what it
# calls VGG-FACE, and Aff-Wild2 is to it "further pre-training".
PRETRAININGS = ("scratch", "affwild", "affwild2")

# Windows and batches of section 6.1. It gives no batch for the CNNs alone,
# which are taken to have had the CNN-RNNs' one.
_SHARED_FLAGS = {"sequence_length": 80, "batch_size": 4}

# How a network is trained, as flags of train.py (sections 5.2 and 6.1). Of
# CNN-RNNs, end to end was better than with the CNN fixed, at "either" of two
# rates; which of them served which network isn't published. CNNs have 1e-4.
STRATEGIES: Mapping[str, Mapping[str, object]] = {
    "end_to_end": {"train": "all", "learning_rate": 1e-4},
    "end_to_end_slow": {"train": "all", "learning_rate": 1e-5},
    "cnn_fixed": {"train": "head", "learning_rate": 1e-3},
}


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
        key: names it for good, such as "table5/conv4_1_pool5_fc".
        label: what the paper calls it.
        published: the paper's scores; of its own networks CCC with
            post-processing, though of "scratch" and "affwild" in table 4 it
            doesn't say so; see also `Region`.
        heading: what the paper has above the scores, where that tells rows of
            one label apart.
        network: a key of `published.networks.NETWORKS`; None for
            decision-level fusion and for other systems.
        overrides: fields of the network's architecture that are replaced.
        pretraining: one of `PRETRAININGS`; None for other systems.
        members: of decision-level fusion, the runs that are fused, keys of
            `RUNS`.
        unprocessed: CCC without post-processing; table 3 only.
        modality: what the system saw, as table 8 says it.
        reference: of other systems, the number in the paper's references.
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
    modality: str = "V,A: visual"
    reference: int | None = None

    @property
    def run(self) -> str | None:
        """The training, by a name fit for a folder; None if there is none."""
        if self.network is None:
            return None
        changes = [f"{k}_{v}".lower() for k, v in self.overrides.items()]
        return "-".join([self.network, *sorted(changes), self.pretraining])

    @property
    def folder(self) -> str | None:
        """The folder of its results, among those of a table's runs.

        That of the training; of decision-level fusion, which trains nothing,
        one of the same form; None for other systems.
        """
        if not self.members:
            return self.run
        return f"{self.key.partition('/')[2]}-{self.pretraining}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Region(Row):
    """A column of table 7: a network's MSE in part of the plane.

    The paper doesn't say whether labels or predictions decide what lies in a
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
    source: str
    metric: str = "ccc"
    columns: tuple[str, ...] = ("valence", "arousal", "mean")
    rows: tuple[Row, ...]


def to_flags(row: Row, strategy: str = "end_to_end") -> dict[str, object]:
    """Returns the flags of train.py that train a row's network.

    They are the same for pre-training and for what follows it. Where data
    (records), results (workdir) and first weights (init_from) lie, is for the
    caller to add.

    Args:
        row: one that has a `run`.
        strategy: a key of `STRATEGIES`.

    Raises:
        UserError: there is nothing to train, or no such strategy.
    """
    if row.run is None:
        raise UserError(
            f"{row.key} has nothing to train: it "
            + (
                f"fuses the predictions of {' and '.join(row.members)}"
                if row.members
                else f"is another system, reference [{row.reference}]"
            )
        )
    if strategy not in STRATEGIES:
        raise UserError(
            f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}"
        )
    return {
        "architecture": row.network,
        **row.overrides,
        **_SHARED_FLAGS,
        **STRATEGIES[strategy],
    }


def _table_3(name, label, published, unprocessed, **fields):
    """Returns a row of table 3; all were pre-trained on Aff-Wild2."""
    return Row(
        key=f"table3/{name}",
        label=label,
        published=Scores(*published),
        unprocessed=Scores(*unprocessed),
        pretraining="affwild2",
        **{"network": name, **fields},
    )


def _again(row, key, **changes):
    """Returns a row of table 3 as another table has it, or changes it."""
    return dataclasses.replace(row, key=key, unprocessed=None, **changes)


# Those that the tables 4 to 8 take up again.
_CNN_1RNN, _CNN_3RNN, _FUSION_RNN = _BEST = (
    _table_3(
        "cnn_1rnn",
        "CNN-1RNN-2nd-pool last-pool fc",
        (0.449, 0.303),
        (0.441, 0.297),
    ),
    _table_3(
        "cnn_3rnn",
        "CNN-3RNN-2nd-pool last-pool fc",
        (0.472, 0.329),
        (0.463, 0.322),
    ),
    _table_3(
        "model_fusion_rnn",
        "Model-level Fusion + RNN",
        (0.535, 0.365),
        (0.512, 0.340),
    ),
)

_TABLE_3 = (
    _table_3("vgg_face", "VGG-Face", (0.378, 0.203), (0.361, 0.193)),
    _table_3("densenet121", "DenseNet-121", (0.365, 0.191), (0.350, 0.184)),
    _table_3("resnet50", "ResNet-50", (0.359, 0.195), (0.344, 0.189)),
    _table_3("affwildnet", "AffWildNet", (0.409, 0.224), (0.390, 0.219)),
    _table_3("densenet_rnn", "DenseNet-RNN", (0.394, 0.211), (0.378, 0.209)),
    _CNN_1RNN,
    _CNN_3RNN,
    # Section 5.4.2 fuses "the CNN-1RNNs and CNN-3RNNs described above" and
    # leaves open how many of each; taken as one, like model-level fusion.
    _table_3(
        "decision_fusion",
        "Decision-level Fusion",
        (0.501, 0.332),
        (0.482, 0.321),
        network=None,
        members=(_CNN_1RNN.run, _CNN_3RNN.run),
    ),
    _table_3(
        "model_fusion_fc",
        "Model-level Fusion + FC",
        (0.518, 0.348),
        (0.500, 0.328),
    ),
    _FUSION_RNN,
)

_HEADINGS = {
    "scratch": "Trained from Scratch",
    "affwild": "Pre-trained on Aff-Wild",
    "affwild2": "Pre-trained on Aff-Wild2",
}
_TABLE_4 = tuple(
    _again(
        row,
        f"table4/{row.network}_{pretraining}",
        heading=_HEADINGS[pretraining],
        pretraining=pretraining,
        published=published,
    )
    for row, scratch, affwild in zip(
        _BEST,
        ((0.371, 0.210), (0.385, 0.192), (0.431, 0.265)),
        ((0.419, 0.278), (0.448, 0.302), (0.511, 0.342)),
        strict=True,
    )
    for pretraining, published in zip(
        PRETRAININGS,
        (Scores(*scratch), Scores(*affwild), row.published),
        strict=True,
    )
)


def _table_5(taps, label, published):
    """Returns a row of table 5: CNN-3RNN with other taps."""
    return _again(
        _CNN_3RNN,
        f"table5/{taps}",
        label=label,
        network=f"cnn_3rnn_{taps}",
        published=Scores(*published),
    )


_TABLE_5 = (
    _table_5("conv4_1_pool5_fc", "8th conv + last pool + fc", (0.416, 0.261)),
    _table_5("conv3_1_pool5_fc", "5th conv + last pool + fc", (0.455, 0.322)),
    _again(
        _CNN_3RNN, "table5/pool2_pool5_fc", label="2nd pool + last pool + fc"
    ),
    _table_5("conv2_1_conv3_3_fc", "3rd conv + 7th conv + fc", (0.402, 0.267)),
    _table_5("conv5_3_pool5_fc", "last conv + last pool + fc", (0.440, 0.248)),
    _table_5(
        "conv3_2_conv3_3_conv4_1",
        "6th conv + 7th conv + 8th conv",
        (0.328, 0.162),
    ),
    _table_5(
        "conv3_3_conv4_1_conv4_2",
        "7th conv + 8th conv + 9th conv",
        (0.334, 0.172),
    ),
    _table_5(
        "conv2_1_conv2_2_conv3_1",
        "3rd conv + 4th conv + 5th conv",
        (0.345, 0.185),
    ),
)

_TABLE_6 = tuple(
    varied
    for row, without in zip(
        _BEST, ((0.429, 0.291), (0.454, 0.310), (0.524, 0.352)), strict=True
    )
    for varied in (
        _again(
            row,
            f"table6/{row.network}_without_landmarks",
            heading="Without Landmarks",
            overrides={"landmarks": False},
            published=Scores(*without),
        ),
        _again(
            row,
            f"table6/{row.network}_with_landmarks",
            heading="With Landmarks",
        ),
    )
)


def _interval(low, high):
    """Returns bounds as table 7 prints them."""
    return f"[{low},{high}{']' if high == 1 else ')'}"


# The table says "the best CNN-3RNN", and so the one pre-trained on Aff-Wild2.
_TABLE_7 = tuple(
    Region(
        key=f"table7/{name}",
        label=_CNN_3RNN.label,
        heading=f"V in {_interval(*valence)}, A in {_interval(*arousal)}",
        network=_CNN_3RNN.network,
        pretraining=_CNN_3RNN.pretraining,
        valence=valence,
        arousal=arousal,
        published=Scores(*published),
    )
    for name, valence, arousal, published in (
        ("positive_calm", (0, 1), (0, 0.5), (0.101, 0.031)),
        ("positive_aroused", (0, 1), (0.5, 1), (0.055, 0.021)),
        ("negative_calm", (-1, 0), (0, 0.5), (0.154, 0.061)),
        ("negative_aroused", (-1, 0), (0.5, 1), (0.110, 0.040)),
        ("everywhere", (-1, 1), (0, 1), (0.110, 0.041)),
    )
)


def _other(key, label, reference, modality, published):
    """Returns a row of table 8 that is another group's system."""
    return Row(
        key=f"table8/{key}",
        label=label,
        reference=reference,
        modality=modality,
        published=Scores(*published),
    )


_AUDIO_VISUAL = "V,A: audio + visual"
_TABLE_8 = (
    _other("vnet", "VNet", 51, "V,A: visual", (0.438, 0.244)),
    _other("anet_vnet", "ANet + VNet", 51, _AUDIO_VISUAL, (0.442, 0.236)),
    _other(
        "opensmile_lstms_vgg_face_blstm",
        "openSMILE + LSTMs, VGG-FACE-BLSTM",
        60,
        "A: audio, V: visual",
        (0.258, 0.277),
    ),
    _other(
        "opensmile_lstms_vgg_face_blstm_opensmile_lstms",
        "openSMILE + LSTMs, VGG-FACE-BLSTM + openSMILE + LSTMs",
        60,
        "A: audio, V: audio + visual",
        (0.369, 0.286),
    ),
    _other(
        "opensmile_lstms",
        "openSMILE + LSTMs",
        60,
        "V,A: audio",
        (0.361, 0.293),
    ),
    _other(
        "single_multi_modal",
        "Single Multi-Modal",
        64,
        _AUDIO_VISUAL,
        (0.484, 0.345),
    ),
    _other("ensemble_1", "Ensemble I", 64, _AUDIO_VISUAL, (0.496, 0.356)),
    _other("ensemble_2", "Ensemble II", 64, _AUDIO_VISUAL, (0.499, 0.361)),
    _again(_CNN_3RNN, "table8/cnn_3rnn"),
    _again(_FUSION_RNN, "table8/model_fusion_rnn"),
)

TABLES: Mapping[int, Table] = {
    table.number: table
    for table in (
        Table(
            number=3,
            title="Architectures, pre-trained on Aff-Wild2",
            source="section 7.1",
            rows=_TABLE_3,
        ),
        Table(
            number=4,
            title="Pre-training",
            source="section 7.1",
            columns=("valence", "arousal"),
            rows=_TABLE_4,
        ),
        Table(
            number=5,
            title="Taps of CNN-3RNN",
            source="section 7.1",
            rows=_TABLE_5,
        ),
        Table(
            number=6,
            title="Without and with landmarks",
            source="section 7.1",
            rows=_TABLE_6,
        ),
        Table(
            number=7,
            title="CNN-3RNN by region of the valence-arousal plane",
            source="section 7.1",
            metric="mse",
            columns=("valence", "arousal"),
            rows=_TABLE_7,
        ),
        Table(
            number=8,
            title="Other systems of the OMG-Emotion Challenge",
            source="section 7.3",
            columns=("valence", "arousal"),
            rows=_TABLE_8,
        ),
    )
}


def _runs():
    runs = {}
    for table in TABLES.values():
        for row in table.rows:
            if row.run is not None:
                runs.setdefault(row.run, row)
    return runs


# Every training that the tables need, by `Row.run`: the first row that has it.
RUNS: Mapping[str, Row] = _runs()


def find_run(run: str) -> Row:
    """Returns a row of that `run`, also of one that is not pre-trained.

    Raises:
        KeyError: no table has such a run.
    """
    if run in RUNS:
        return RUNS[run]
    scratch = (
        dataclasses.replace(row, pretraining="scratch") for row in RUNS.values()
    )
    return {row.run: row for row in scratch}[run]


def without_pretraining(row: Row) -> Row:
    """Returns a row, and the runs that it fuses, trained on OMG-Emotion alone.

    Args:
        row: one that has a `folder`.
    """
    return dataclasses.replace(
        row,
        pretraining="scratch",
        members=tuple(
            dataclasses.replace(RUNS[run], pretraining="scratch").run
            for run in row.members
        ),
    )


def list_networks() -> list[str]:
    """Returns `networks.NETWORKS` as lines for a console.

    With each stands the CCC that the paper gives for it with post-processing,
    pre-trained on Aff-Wild2.
    """
    rows = [
        (
            "name",
            "backbone",
            "taps",
            "recurrence",
            "parameters",
            "paper: CCC valence, arousal, mean",
            "source",
        )
    ]
    for name, row in NETWORKS.items():
        network = row.architecture
        run = RUNS.get(f"{name}-affwild2")
        published = (
            (run.published.valence, run.published.arousal, run.published.mean)
            if run
            else ()
        )
        rows.append(
            (
                name,
                *_described(network),
                f"{row.parameters:,}",
                " ".join(f"{value:.3f}" for value in published) or "-",
                row.source,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column == 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(
                zip(row, widths, strict=True)
            )
        ).rstrip()
        for row in rows
    ]


def _described(network):
    """Returns a network's backbone, taps and recurrence for `table`."""
    if isinstance(network, Fusion):
        names = {row.architecture: name for name, row in NETWORKS.items()}
        members = " + ".join(names[member] for member in network.members)
        layer = "GRU" if network.by == "rnn" else "fc"
        return "fusion", members, f"{layer} {network.fusion_units}"
    stacks = {
        "none": "none",
        "joint": "1 GRU stack",
        "per_tap": f"{len(network.taps)} GRU stack"
        + "s" * (len(network.taps) > 1),
    }[network.recurrence]
    if network.head_units:
        stacks += f", fc {network.head_units}"
    return network.backbone, ", ".join(network.taps), stacks
