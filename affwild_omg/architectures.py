"""The paper's networks as data: no network is a class or a file of its own.

An `Architecture` says what is tapped, what is recurrent and how wide it is;
`affwild_omg.nets.models.build` turns it into a Keras model. Sections and
tables are those of Kollias & Zafeiriou (2020).
"""

import dataclasses
from collections.abc import Mapping

from affwild_omg.errors import UserError

CROP_SIZE = 96  # pixels, section 4: "96x96x3"
LANDMARKS = 68

# Channels of VGG-Face's convolutions, block by block; a pool ends each block.
VGG_BLOCKS = (
    (64, 64),
    (128, 128),
    (256, 256, 256),
    (512, 512, 512),
    (512, 512, 512),
)
VGG_CONVS = tuple(
    f"conv{block}_{conv}"
    for block, channels in enumerate(VGG_BLOCKS, start=1)
    for conv in range(1, len(channels) + 1)
)
VGG_POOLS = tuple(f"pool{block}" for block in range(1, len(VGG_BLOCKS) + 1))

# Every place that can be tapped, by backbone. The paper counts VGG-Face's
# convolutions from 1 to 13: its "8th conv" is VGG_CONVS[7], conv4_1.
TAPS = {"vgg_face": VGG_CONVS + VGG_POOLS + ("fc",)}
RECURRENCES = ("none", "joint", "per_tap")
GRUS = ("reset_before", "cudnn")
TARGETS = ("valence", "arousal")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """One network, from aligned frames and landmarks to values per frame.

    Attributes:
        backbone: a key of `TAPS`.
        taps: where features leave the backbone, in the order in which they
            are concatenated; "fc" is the fully connected layer on the last
            pool and the landmarks, tapped after its dropout.
        recurrence: "per_tap" gives each tap its own GRU stack (CNN-3RNN),
            "joint" one stack on all taps concatenated (CNN-1RNN), "none"
            none (the CNNs of section 5.1).
        units: units of each GRU layer.
        depth: GRU layers in a stack.
        fc_units: units of the fully connected layer, before `width`.
        landmarks: whether the 68 landmarks join the last pool before fc.
        head_units: units of a fully connected ReLU layer before the output
            (the "1FC" variants); 0 for none.
        targets: what is predicted, out of `TARGETS`, in their order.
        gru: "reset_before" multiplies the state by the reset gate before the
            matrix product (the authors' cell); "cudnn" after it, the kind
            that NVIDIA's kernels compute.
        fc_dropout: rate of the dropout after the fully connected layer.
        rnn_dropout: rate of the dropout between GRU layers. The paper's "0.8
            probability" is TensorFlow 1's probability to keep.
        width: fraction of the channels of every convolution and of fc_units;
            1 is the paper's size.

    Raises:
        UserError: a field is outside its vocabulary or range.
    """

    backbone: str = "vgg_face"
    taps: tuple[str, ...] = ("pool2", "pool5", "fc")
    recurrence: str = "per_tap"
    units: int = 128
    depth: int = 2
    fc_units: int = 4096
    landmarks: bool = True
    head_units: int = 0
    targets: tuple[str, ...] = TARGETS
    gru: str = "reset_before"
    fc_dropout: float = 0.5
    rnn_dropout: float = 0.2
    width: float = 1.0

    def __post_init__(self):
        for name in ("taps", "targets"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _one_of("backbone", self.backbone, TAPS)
        _one_of("recurrence", self.recurrence, RECURRENCES)
        _one_of("gru", self.gru, GRUS)
        _some_of("taps", self.taps, TAPS[self.backbone])
        _some_of("targets", self.targets, TARGETS)
        for name in ("units", "depth", "fc_units"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"{name} must be at least 1, not {getattr(self, name)}"
                )
        if self.head_units < 0:
            raise UserError(
                f"head_units must be 0 (none) or more, not {self.head_units}"
            )
        for name in ("fc_dropout", "rnn_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"{name} must be in [0, 1), not {getattr(self, name)}"
                )
        if not 0 < self.width <= 1:
            raise UserError(f"width must be in (0, 1], not {self.width}")

    def scaled(self, channels: int) -> int:
        """Returns `channels` at this width, at least 1."""
        return max(1, round(channels * self.width))


def _one_of(name, value, vocabulary):
    if value not in vocabulary:
        raise UserError(
            f"{name} must be one of {', '.join(vocabulary)}, not {value!r}"
        )


def _some_of(name, values, vocabulary):
    if not values:
        raise UserError(
            f"{name} is empty; give some of {', '.join(vocabulary)}"
        )
    for value in values:
        _one_of(name, value, vocabulary)
    if len(set(values)) < len(values):
        raise UserError(f"{name} names one of them twice: {', '.join(values)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A network of the paper and where the paper has it.

    Attributes:
        architecture: the network.
        source: section, table or figure.
        published: CCC on the OMG test set as (valence, arousal, mean), with
            post-processing, pre-trained on Aff-Wild2; None if not published.
    """

    architecture: Architecture
    source: str
    published: tuple[float, float, float] | None = None


_CNN_3RNN = Architecture()
_TWO_TAPS = dataclasses.replace(_CNN_3RNN, taps=("pool5", "fc"))

NETWORKS: Mapping[str, Row] = {
    "vgg_face": Row(
        architecture=dataclasses.replace(
            _CNN_3RNN, taps=("fc",), recurrence="none"
        ),
        source="section 5.1, table 3",
        published=(0.378, 0.203, 0.291),
    ),
    "cnn_1rnn": Row(
        architecture=dataclasses.replace(_CNN_3RNN, recurrence="joint"),
        source="section 5.3.2, table 3",
        published=(0.449, 0.303, 0.376),
    ),
    "cnn_3rnn": Row(
        architecture=_CNN_3RNN,
        source="section 5.3.1, table 3",
        published=(0.472, 0.329, 0.401),
    ),
    "cnn_2rnn": Row(architecture=_TWO_TAPS, source="section 5.3"),
    "cnn2_to_1rnn": Row(
        architecture=dataclasses.replace(_TWO_TAPS, recurrence="joint"),
        source="section 5.3, section 7.2",
    ),
    "cnn_2rnn_1fc": Row(
        architecture=dataclasses.replace(_TWO_TAPS, head_units=128),
        source="section 5.3",
    ),
    "cnn_3rnn_1fc": Row(
        architecture=dataclasses.replace(_CNN_3RNN, head_units=128),
        source="section 5.3",
    ),
}


def named(name: str, **overrides) -> Architecture:
    """Returns the network of that name, with some fields replaced.

    Args:
        name: a key of `NETWORKS`.
        **overrides: fields of `Architecture`.

    Raises:
        UserError: there is no such network, or a field is out of range.
    """
    _one_of("architecture", name, NETWORKS)
    return dataclasses.replace(NETWORKS[name].architecture, **overrides)
