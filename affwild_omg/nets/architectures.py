"""Networks as data: no network has a class or a file of its own.

An `Architecture` states what is tapped, what is recurrent and how wide it is;
a `Fusion` states which architectures are joined. `models.build` turns either
into a Keras model. `affwild_omg.published.networks` names those of the paper.
Sections and tables are those of Kollias & Zafeiriou (2020).
"""

import dataclasses
import math
from collections.abc import Mapping

from affwild_omg.cli.errors import UserError
from affwild_omg.paper.task import TARGETS

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
# Channels and units of ResNet-50's stages (He et al., 2016, table 1); a unit
# gives four times the channels.
RESNET_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
VGG_POOLS = tuple(f"pool{block}" for block in range(1, len(VGG_BLOCKS) + 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """A convolutional network and where it can be tapped.

    Attributes:
        taps: every place, from the frame to the fully connected layer.
        last_pool: the tap that feeds the fully connected layer.
        scalable: whether `Architecture.width` applies to it.
    """

    taps: tuple[str, ...]
    last_pool: str
    scalable: bool = True


# conv1 to conv5 are the stages of He et al. (2016), table 1, and of Huang et
# al. (2017), table 1, where stages 2 to 5 are the dense blocks; "pool" is the
# average over all positions.
_STAGES = ("conv1", "pool1", "conv2", "conv3", "conv4", "conv5", "pool", "fc")

BACKBONES: Mapping[str, Backbone] = {
    # The paper counts VGG-Face's convolutions from 1 to 13: its "8th conv" is
    # VGG_CONVS[7], conv4_1.
    "vgg_face": Backbone(
        taps=VGG_CONVS + VGG_POOLS + ("fc",), last_pool="pool5"
    ),
    "resnet50": Backbone(taps=_STAGES, last_pool="pool", scalable=False),
    "densenet121": Backbone(taps=_STAGES, last_pool="pool", scalable=False),
    # TF-Slim's resnet_v1_50, as in the authors' checkpoints.
    "resnet50_slim": Backbone(taps=_STAGES, last_pool="pool"),
}
RECURRENCES = ("none", "joint", "per_tap")
GRUS = ("reset_before", "cudnn")
# What can be trained, or fixed, on its own; `parts.part_of` assigns layers.
PARTS = ("cnn", "fc", "rnn", "output")


def _field(default, **rules):
    """Returns a field with `choices`, or `least` and perhaps `below`."""
    return dataclasses.field(default=default, metadata=rules)


def _check(network):
    """Checks the fields' rules."""
    for field in dataclasses.fields(network):
        value, rules = getattr(network, field.name), field.metadata
        if "choices" in rules:
            _one_of(field.name, value, rules["choices"])
        least, below = rules.get("least"), rules.get("below", math.inf)
        if least is not None and not least <= value < below:
            limit = f"in [{least}, {below})"
            if below == math.inf:
                limit = f"{least} or more"
            raise UserError(f"{field.name} must be {limit}, not {value}")


def _one_of(name, value, choices, where=""):
    if value not in choices:
        raise UserError(
            f"{name} must be one of {', '.join(choices)}{where}, not {value!r}"
        )


def _some_of(name, values, choices, where=""):
    """Returns the values as a tuple, checked."""
    values = tuple(values)
    if not values:
        raise UserError(f"{name} is empty; give some of {', '.join(choices)}")
    for value in values:
        _one_of(name, value, choices, where)
    if len(set(values)) < len(values):
        raise UserError(f"{name} names one of them twice: {', '.join(values)}")
    return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """One network, from aligned frames and landmarks to values per frame.

    Attributes:
        backbone: a key of `BACKBONES`.
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
        landmark_units: units of a fully connected ReLU layer on the landmarks
            before they join (section 7: 512, 1024 or 2048); 0 for none.
        head_units: units of a fully connected ReLU layer before the output
            (the "1FC" variants); 0 for none.
        targets: what is predicted, some of `TARGETS`, sorted into their order;
            one target makes a uni-task network.
        gru: "reset_before" multiplies the state by the reset gate before the
            matrix product (the authors' cell); "cudnn" after it, the kind
            that NVIDIA's kernels compute.
        fc_dropout: rate of the dropout after the fully connected layer.
        rnn_dropout: rate of the dropout between GRU layers. The paper's "0.8
            probability" is TensorFlow 1's probability to keep.
        width: fraction of the channels of every convolution and of fc_units;
            1 is the paper's size, and the only one for the networks of
            keras.applications.

    Raises:
        UserError: a field is outside its vocabulary or range.
    """

    backbone: str = _field("vgg_face", choices=tuple(BACKBONES))
    taps: tuple[str, ...] = ("pool2", "pool5", "fc")
    recurrence: str = _field("per_tap", choices=RECURRENCES)
    units: int = _field(128, least=1)
    depth: int = _field(2, least=1)
    fc_units: int = _field(4096, least=1)
    landmarks: bool = True
    landmark_units: int = _field(0, least=0)
    head_units: int = _field(0, least=0)
    targets: tuple[str, ...] = TARGETS
    gru: str = _field("reset_before", choices=GRUS)
    fc_dropout: float = _field(0.5, least=0, below=1)
    rnn_dropout: float = _field(0.2, least=0, below=1)
    width: float = 1.0

    def __post_init__(self):
        _check(self)
        backbone = BACKBONES[self.backbone]
        taps = _some_of(
            "taps", self.taps, backbone.taps, f" with backbone {self.backbone}"
        )
        object.__setattr__(self, "taps", taps)
        targets = _some_of("targets", self.targets, TARGETS)
        object.__setattr__(
            self, "targets", tuple(sorted(targets, key=TARGETS.index))
        )
        if not 0 < self.width <= 1:
            raise UserError(f"width must be in (0, 1], not {self.width}")
        if self.width != 1 and not backbone.scalable:
            raise UserError(
                f"width must be 1 with backbone {self.backbone}, which comes "
                f"in one size, not {self.width}"
            )
        if self.landmark_units and not self.landmarks:
            raise UserError(
                f"landmark_units is {self.landmark_units}, but landmarks is "
                "false; an encoder of landmarks needs them"
            )

    def uses(self, field: str) -> bool:
        """Returns whether a field has an effect on this network."""
        if field in ("units", "depth", "gru", "rnn_dropout"):
            return self.recurrence != "none"
        if field in ("fc_units", "fc_dropout", "landmarks", "landmark_units"):
            return "fc" in self.taps
        return True

    @property
    def sees_landmarks(self) -> bool:
        """Whether the landmarks reach the output, which they do through fc."""
        return self.landmarks and "fc" in self.taps

    def scaled(self, channels: int) -> int:
        """Returns `channels` at this width, at least 1."""
        return max(1, round(channels * self.width))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fusion:
    """Networks fused at model level (section 5.4.1).

    The members keep everything below their output layers; the inputs of those
    layers (for a CNN-RNN, the outputs of all its RNNs) are concatenated.

    Attributes:
        members: two networks or more, of the same targets.
        by: "rnn" feeds the concatenation to one GRU layer, "fc" to a fully
            connected ReLU layer; the output layer follows.
        fusion_units: units of that layer.
        gru: kind of that GRU layer, see `Architecture`.

    Raises:
        UserError: a field is outside its vocabulary or range, or the members
            cannot be fused.
    """

    members: tuple[Architecture, ...]
    by: str = _field("rnn", choices=("rnn", "fc"))
    fusion_units: int = _field(128, least=1)
    gru: str = _field("reset_before", choices=GRUS)

    def __post_init__(self):
        object.__setattr__(self, "members", tuple(self.members))
        _check(self)
        if len(self.members) < 2:
            raise UserError(
                f"members must be two networks or more, not {len(self.members)}"
            )
        for member in self.members:
            if not isinstance(member, Architecture):
                raise UserError(
                    "members must be single networks; one of them is a fusion"
                )
        targets = [", ".join(member.targets) for member in self.members]
        if len(set(targets)) > 1:
            raise UserError(
                "members must have the same targets to be fused, not "
                f"{' against '.join(targets)}; networks of other targets can "
                "be fused at decision level"
            )

    @property
    def targets(self) -> tuple[str, ...]:
        """What is predicted; every member's targets."""
        return self.members[0].targets


def from_dict(fields: Mapping) -> Architecture | Fusion:
    """Returns the network of fields that `dataclasses.asdict` returned.

    Raises:
        TypeError: the fields are not those of a network.
        UserError: a field is out of range.
    """
    if "members" not in fields:
        return Architecture(**fields)
    members = [Architecture(**member) for member in fields["members"]]
    return Fusion(**{**fields, "members": members})
