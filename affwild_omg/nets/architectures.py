"""The paper's networks as data: no network is a class or a file of its own.

An `Architecture` says what is tapped, what is recurrent and how wide it is, a
`Fusion` which architectures are joined; `affwild_omg.nets.models.build` turns
either into a Keras model. Sections and tables are those of Kollias & Zafeiriou
(2020).
"""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence

from affwild_omg.cli.errors import UserError, listed
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
        last_pool: the tap that the fully connected layer is fed.
        scalable: whether `Architecture.width` applies to it.
    """

    taps: tuple[str, ...]
    last_pool: str
    scalable: bool = True


# conv1 to conv5 are the stages of He et al. (2016), table 1, and of Huang et
# al. (2017), table 1, where stages 2 to 5 are the dense blocks; "pool" is the
# average over all places.
_STAGES = ("conv1", "pool1", "conv2", "conv3", "conv4", "conv5", "pool", "fc")

BACKBONES: Mapping[str, Backbone] = {
    # The paper counts VGG-Face's convolutions from 1 to 13: its "8th conv" is
    # VGG_CONVS[7], conv4_1.
    "vgg_face": Backbone(
        taps=VGG_CONVS + VGG_POOLS + ("fc",), last_pool="pool5"
    ),
    "resnet50": Backbone(taps=_STAGES, last_pool="pool", scalable=False),
    "densenet121": Backbone(taps=_STAGES, last_pool="pool", scalable=False),
    # TF-Slim's resnet_v1_50, the one that the authors' checkpoints hold.
    "resnet50_slim": Backbone(taps=_STAGES, last_pool="pool"),
}
RECURRENCES = ("none", "joint", "per_tap")
GRUS = ("reset_before", "cudnn")
FUSIONS = ("rnn", "fc")
# What can be trained, or fixed, on its own; `affwild_omg.nets.parts` says what
# belongs to each.
PARTS = ("cnn", "fc", "rnn", "output")


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
        targets: what is predicted, some of `TARGETS`, brought to their order;
            one alone is a uni-task network.
        gru: "reset_before" multiplies the state by the reset gate before the
            matrix product (the authors' cell); "cudnn" after it, the kind
            that NVIDIA's kernels compute.
        fc_dropout: rate of the dropout after the fully connected layer.
        rnn_dropout: rate of the dropout between GRU layers. The paper's "0.8
            probability" is TensorFlow 1's probability to keep.
        width: fraction of the channels of every convolution and of fc_units;
            1 is the paper's size, and the only one that the networks of
            keras.applications have.

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
    landmark_units: int = 0
    head_units: int = 0
    targets: tuple[str, ...] = TARGETS
    gru: str = "reset_before"
    fc_dropout: float = 0.5
    rnn_dropout: float = 0.2
    width: float = 1.0

    def __post_init__(self):
        for name in ("taps", "targets"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _one_of("backbone", self.backbone, BACKBONES)
        _one_of("recurrence", self.recurrence, RECURRENCES)
        _one_of("gru", self.gru, GRUS)
        taps = BACKBONES[self.backbone].taps
        _some_of("taps", self.taps, taps, f" with backbone {self.backbone}")
        _some_of("targets", self.targets, TARGETS)
        ordered = tuple(name for name in TARGETS if name in self.targets)
        object.__setattr__(self, "targets", ordered)
        for field in dataclasses.fields(self):
            _of_type(field, getattr(self, field.name))
        for name in ("units", "depth", "fc_units"):
            _at_least(name, getattr(self, name), 1)
        for name in ("landmark_units", "head_units"):
            _at_least(name, getattr(self, name), 0, " (none)")
        for name in ("fc_dropout", "rnn_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"{name} must be in [0, 1), not {getattr(self, name)}"
                )
        if not 0 < self.width <= 1:
            raise UserError(f"width must be in (0, 1], not {self.width}")
        if self.width != 1 and not BACKBONES[self.backbone].scalable:
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
        """Tells whether a field has an effect on this network."""
        if field in ("units", "depth", "gru", "rnn_dropout"):
            return self.recurrence != "none"
        if field in ("fc_units", "fc_dropout", "landmark_units"):
            return "fc" in self.taps
        return True

    @property
    def sees_landmarks(self) -> bool:
        """Whether the landmarks reach the output: by way of fc alone."""
        return self.landmarks and "fc" in self.taps

    def scaled(self, channels: int) -> int:
        """Returns `channels` at this width, at least 1."""
        return max(1, round(channels * self.width))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fusion:
    """Networks fused at model level (section 5.4.1).

    The members keep everything below their outputs; what their outputs were
    fed (of a CNN-RNN, what all its RNNs give) is concatenated.

    Attributes:
        members: two networks or more, of the same targets.
        by: "rnn" feeds the concatenation to one GRU layer, "fc" to a fully
            connected ReLU layer; the output layer follows.
        fusion_units: units of that layer.
        gru: kind of that GRU layer, see `Architecture`.

    Raises:
        UserError: a field is outside its vocabulary or range, or the members
            can't be fused.
    """

    members: tuple[Architecture, ...]
    by: str = "rnn"
    fusion_units: int = 128
    gru: str = "reset_before"

    def __post_init__(self):
        object.__setattr__(self, "members", tuple(self.members))
        _one_of("by", self.by, FUSIONS)
        _one_of("gru", self.gru, GRUS)
        _at_least("fusion_units", self.fusion_units, 1)
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
    """Returns the network that `dataclasses.asdict` made these fields of.

    Raises:
        TypeError: it did not make these.
        UserError: a field is out of range.
    """
    if "members" not in fields:
        return Architecture(**fields)
    members = [Architecture(**member) for member in fields["members"]]
    return Fusion(**{**fields, "members": members})


def _one_of(name, value, vocabulary, where=""):
    if value not in vocabulary:
        raise UserError(
            f"{name} must be one of {', '.join(vocabulary)}{where}, not "
            f"{value!r}"
        )


def _some_of(name, values, vocabulary, where=""):
    if not values:
        raise UserError(
            f"{name} is empty; give some of {', '.join(vocabulary)}"
        )
    for value in values:
        _one_of(name, value, vocabulary, where)
    if len(set(values)) < len(values):
        raise UserError(f"{name} names one of them twice: {', '.join(values)}")


def _of_type(field, value):
    """Checks numbers and truth values, which may come from a file."""
    kinds = {int: (int,), float: (int, float), bool: (bool,)}.get(field.type)
    if kinds and (
        not isinstance(value, kinds)
        or (isinstance(value, bool) and field.type is not bool)
    ):
        raise UserError(
            f"{field.name} must be of type {field.type.__name__}, not {value!r}"
        )


def _at_least(name, value, least, meaning=""):
    if value < least:
        raise UserError(f"{name} must be {least}{meaning} or more, not {value}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A network of the paper, and where the paper has it.

    Attributes:
        architecture: the network.
        parameters: how many numbers it holds, trained or not.
        source: section, table or figure.
    """

    architecture: Architecture | Fusion
    parameters: int
    source: str


_CNN_3RNN = Architecture()
_CNN_1RNN = dataclasses.replace(_CNN_3RNN, recurrence="joint")
_CNN_2RNN = dataclasses.replace(_CNN_3RNN, taps=("pool5", "fc"))
_CNN = dataclasses.replace(_CNN_3RNN, taps=("fc",), recurrence="none")
_RESNET = dataclasses.replace(_CNN, backbone="resnet50", fc_units=1500)
_DENSENET = dataclasses.replace(_RESNET, backbone="densenet121")


def _table_5(*taps, parameters):
    """Returns a row of table 5, which compares taps of CNN-3RNN."""
    return Row(
        architecture=dataclasses.replace(_CNN_3RNN, taps=taps),
        parameters=parameters,
        source="table 5",
    )


NETWORKS: Mapping[str, Row] = {
    "vgg_face": Row(
        architecture=_CNN,
        parameters=34_158_402,
        source="section 5.1, table 3",
    ),
    "resnet50": Row(
        architecture=_RESNET,
        parameters=26_868_214,
        source="section 5.1, table 3",
    ),
    "densenet121": Row(
        architecture=_DENSENET,
        parameters=8_782_006,
        source="section 5.1, table 3",
    ),
    "affwildnet": Row(
        architecture=dataclasses.replace(_RESNET, recurrence="per_tap"),
        parameters=27_589_694,
        source="section 5.2.1, tables 2 and 3",
    ),
    "densenet_rnn": Row(
        architecture=dataclasses.replace(_DENSENET, recurrence="per_tap"),
        parameters=9_503_486,
        source="section 5.2, table 3",
    ),
    "cnn_1rnn": Row(
        architecture=_CNN_1RNN,
        parameters=65_952_578,
        source="section 5.3.2, table 3",
    ),
    "cnn_3rnn": Row(
        architecture=_CNN_3RNN,
        parameters=66_249_538,
        source="section 5.3.1, tables 3 and 5",
    ),
    "cnn_2rnn": Row(
        architecture=_CNN_2RNN, parameters=37_789_506, source="section 5.3"
    ),
    "cnn2_to_1rnn": Row(
        architecture=dataclasses.replace(_CNN_2RNN, recurrence="joint"),
        parameters=37_641_026,
        source="section 5.3, section 7.2",
    ),
    "cnn_2rnn_1fc": Row(
        architecture=dataclasses.replace(_CNN_2RNN, head_units=128),
        parameters=37_822_146,
        source="section 5.3",
    ),
    "cnn_3rnn_1fc": Row(
        architecture=dataclasses.replace(_CNN_3RNN, head_units=128),
        parameters=66_298_306,
        source="section 5.3",
    ),
    "cnn_3rnn_conv4_1_pool5_fc": _table_5(
        "conv4_1",
        "pool5",
        "fc",
        parameters=66_249_538,
    ),
    "cnn_3rnn_conv3_1_pool5_fc": _table_5(
        "conv3_1",
        "pool5",
        "fc",
        parameters=94_561_090,
    ),
    "cnn_3rnn_conv2_1_conv3_3_fc": _table_5(
        "conv2_1",
        "conv3_3",
        "fc",
        parameters=206_037_826,
    ),
    "cnn_3rnn_conv5_3_pool5_fc": _table_5(
        "conv5_3",
        "pool5",
        "fc",
        parameters=45_015_874,
    ),
    "cnn_3rnn_conv3_2_conv3_3_conv4_1": _table_5(
        "conv3_2",
        "conv3_3",
        "conv4_1",
        parameters=144_918_850,
    ),
    "cnn_3rnn_conv3_3_conv4_1_conv4_2": _table_5(
        "conv3_3",
        "conv4_1",
        "conv4_2",
        parameters=118_967_106,
    ),
    "cnn_3rnn_conv2_1_conv2_2_conv3_1": _table_5(
        "conv2_1",
        "conv2_2",
        "conv3_1",
        parameters=284_116_290,
    ),
    "model_fusion_rnn": Row(
        architecture=Fusion(members=(_CNN_1RNN, _CNN_3RNN)),
        parameters=132_447_490,
        source="section 5.4.1, table 3",
    ),
    "model_fusion_fc": Row(
        architecture=Fusion(members=(_CNN_1RNN, _CNN_3RNN), by="fc"),
        parameters=132_267_010,
        source="section 5.4.1, table 3",
    ),
}


def named(
    name: str,
    *,
    members: Sequence[Architecture | str] = (),
    **overrides,
) -> Architecture | Fusion:
    """Returns the network of that name, with some fields replaced.

    Args:
        name: a key of `NETWORKS`.
        members: of a fusion, other networks or names instead of its own.
        **overrides: fields of `Architecture`; a fusion replaces them in every
            member that is its own or given by name. `fusion_units` and `gru`
            go to the fusion itself, the second to the members too.

    Raises:
        UserError: there is no such network, or a field is out of range.
    """
    if name not in NETWORKS:
        close = difflib.get_close_matches(name, NETWORKS, cutoff=0.3)
        raise UserError(
            "architecture must be a name that train.py --list_architectures "
            f"shows{f', such as {listed(close)}' * bool(close)}, not {name!r}"
        )
    network = NETWORKS[name].architecture
    if isinstance(network, Fusion):
        own = {
            field: overrides[field]
            for field in ("fusion_units", "gru")
            if field in overrides
        }
        theirs = {k: v for k, v in overrides.items() if k != "fusion_units"}
        if not members:
            members = network.members
            changed = members = [
                dataclasses.replace(member, **theirs) for member in members
            ]
        else:
            changed = [
                named(member, **theirs)
                for member in members
                if isinstance(member, str)
            ]
            fresh = iter(changed)
            members = [
                next(fresh) if isinstance(member, str) else member
                for member in members
            ]
        for field in theirs.keys() - own.keys():
            if not any(member.uses(field) for member in changed):
                raise UserError(
                    f"{field} changes no member of this fusion; leave it out"
                )
        return dataclasses.replace(network, members=members, **own)
    if members or "fusion_units" in overrides:
        fusions = [
            name
            for name, row in NETWORKS.items()
            if isinstance(row.architecture, Fusion)
        ]
        raise UserError(
            f"{'members' if members else 'fusion_units'} is for "
            f"{' and '.join(fusions)}; {name} is a single network: give "
            f"--architecture={fusions[0]}, or leave it out"
        )
    network = dataclasses.replace(network, **overrides)
    for field in overrides:
        if not network.uses(field):
            raise UserError(
                f"{field} changes nothing in {name} as it is here, with taps "
                f"{', '.join(network.taps)} and recurrence "
                f"{network.recurrence}; leave it out"
            )
    return network
