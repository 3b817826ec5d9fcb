"""TensorFlow 1 checkpoints of the authors' networks become model files.

A network is recognised by the names of its variables and sized by their
shapes. Names, shapes and orders are those of the authors' public repositories
OMG_Challenge (TensorFlow 1.1) and Aff-Wild-models (1.8), and of TF-Slim's
resnet_v1_50.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.nets import layers, models
from affwild_omg.nets.architectures import VGG_CONVS, Architecture
from affwild_omg.paper.task import CROP_SIZE, LANDMARKS, TARGETS
from affwild_omg.storage import files
from affwild_omg.weights import model_file
from affwild_omg.weights.options import ImportOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A network of the authors, and the names of its variables.

    Attributes:
        title: what the authors call it, for messages.
        backbone, taps: see `Architecture`. The taps are in the order in which
            the authors concatenate.
        output: names of the output layer's variables, with "{}" for weights
            or biases. Their scope identifies the kind.
        grus: {stack of GRU layers here: its scope there}. With one tap,
            "per_tap" and "joint" are the same network; such a stack is named
            after the tap, as in CNN-3RNN, which can then start from it.
        head: scope of the fully connected layer before the output; "" if
            there is none.
    """

    title: str
    backbone: str = "vgg_face"
    taps: tuple[str, ...]
    output: str
    grus: Mapping[str, str] = dataclasses.field(default_factory=dict)
    head: str = ""

    @property
    def recurrence(self) -> str:
        """See `Architecture`."""
        if not self.grus:
            return "none"
        return "joint" if "joint" in self.grus else "per_tap"


KINDS = (
    Kind(
        title="CNN_GRU_3RNN",
        taps=("conv5_3", "pool5", "fc"),
        grus={
            "conv5_3": "rnn_last_conv_1",
            "pool5": "rnn_max_pool_1",
            "fc": "rnn_fc_1",
        },
        output="rnn_max_pool_1/{}",
    ),
    Kind(
        title="CNN_GRU_1RNN",
        taps=("fc", "pool5"),
        grus={"joint": "rnn_out_fc_max_pool_1"},
        output="rnn_out_fc_max_pool_1/{}",
    ),
    Kind(
        title="AffWildNet of VGG-Face",
        taps=("fc",),
        grus={"fc": "rnn_1"},
        output="rnn_1/{}_rnn",
    ),
    Kind(
        title="VGG-Face CNN",
        taps=("fc",),
        head="linear2_1",
        output="linear3_1/{}",
    ),
    Kind(
        title="AffWildNet of ResNet-50",
        backbone="resnet50_slim",
        taps=("pool",),
        grus={"pool": "rnn"},
        output="rnn/{}_output",
    ),
    Kind(
        title="ResNet-50 CNN",
        backbone="resnet50_slim",
        taps=("pool",),
        output="resnet_v1_50/logits/{}",
    ),
)

FIRST_CONVOLUTION = {
    "vgg_face": "conv_1/weights",
    "resnet50_slim": "resnet_v1_50/conv1/weights",
}
FIRST_CHANNELS = 64  # of either, at full width
FC = "linear_1/weights"
ROLES = {"kernel": "weights", "bias": "biases"}  # here: there
POOL5 = 3 * 3 * 512  # values of VGG-Face's last pool, at full width

# What training keeps beside the weights: counters, and optimizers' slots and
# running means, which are named after the variable that they belong to.
_BOOKKEEPING = re.compile(
    r"(^|/)(global_step|local_step|biased|beta[12]_power|Adam|Momentum|RMSProp"
    r"|Adagrad|Adadelta|Ftrl|ExponentialMovingAverage)(_\d+)?(:0)?$"
)

# What TensorFlow raises on files that are damaged or something else.
_UNREADABLE = (tf.errors.OpError, IndexError, ValueError)


def convert(options: ImportOptions, *, overwrite: bool = False) -> pathlib.Path:
    """Writes the model file of a checkpoint, whole or not at all.

    Args:
        options: what and where.
        overwrite: replace an existing file.

    Returns:
        The model file.

    Raises:
        UserError: the checkpoint does not exist, is damaged or is none of
            `KINDS`, or the output cannot be used.
    """
    path = pathlib.Path(options.output)
    if path.is_dir():
        raise UserError(f"--output={path} is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise UserError(
            f"--output={path} exists; name another file or give --overwrite "
            "to replace it"
        )
    model, architecture = read(options.checkpoint)
    card = model_file.Card(
        architecture=architecture, sequence_length=options.sequence_length
    )
    remove_folder = files.make_folder(path.parent)
    try:
        model_file.save_model(model, card, path)
    finally:
        remove_folder()  # if it is empty
    return path


def read(checkpoint: os.PathLike | str) -> tuple[keras.Model, Architecture]:
    """Reads one of the authors' networks.

    Logs which one it is, and which variables are not used.

    Args:
        checkpoint: path of its files without .index or .data-00000-of-00001;
            one of the files, or a folder of one checkpoint, also works.

    Returns:
        The network with the checkpoint's weights, and its architecture.

    Raises:
        UserError: there is no such checkpoint, it is damaged, or its network
            is none of `KINDS` in every name and shape.
    """
    variables = _Variables(_prefix(checkpoint))
    kind = _recognise(variables)
    architecture = _architecture(kind, variables)
    model = models.build(architecture)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_weights(layer, kind, variables))
    variables.check(kind)
    logging.info(
        "%s is %s: backbone %s at width %g, taps %s%s%s; %s parameters",
        variables.where,
        kind.title,
        kind.backbone,
        architecture.width,
        ", ".join(kind.taps),
        f", {architecture.depth} GRU layers of {architecture.units} units"
        if kind.grus
        else "",
        ", landmarks after the pool" if architecture.landmarks else "",
        f"{model.count_params():,}",
    )
    if unused := variables.unused():
        logging.info("not used: %s", ", ".join(unused))
    return model, architecture


class _Variables:
    """The variables of a checkpoint, by their names in the authors' code."""

    def __init__(self, prefix):
        self.where = f"--checkpoint={prefix}"
        try:
            self._reader = tf.train.load_checkpoint(prefix)
            shapes = self._reader.get_variable_to_shape_map()
        except _UNREADABLE as error:
            raise self._damaged() from error
        if "_CHECKPOINTABLE_OBJECT_GRAPH" in shapes:
            raise UserError(
                f"{self.where} is a checkpoint of TensorFlow 2, which holds "
                "objects; give one that TensorFlow 1's Saver wrote"
            )
        stored = [name for name in shapes if not _BOOKKEEPING.search(name)]
        scope = _common_scope(stored)
        self._all = set(stored)
        self._stored = {
            _plain(name.removeprefix(scope)): name
            for name in stored
            if name.startswith(scope)
        }
        self.shapes = {
            name: tuple(shapes[stored]) for name, stored in self._stored.items()
        }
        self._used = set()
        self._missing = []
        self._misfits = []

    def columns(self, name):
        """Returns the last size of a variable; 1 if it is missing."""
        return (self.shapes.get(name) or (1,))[-1]

    def take(self, name, shape, default=None):
        """Returns a variable or, if it is missing, the default everywhere.

        `check` reports variables that are missing without a default, or that
        have another shape; until then, zeros replace them.
        """
        self._used.add(name)
        # Slim writes a fully connected layer as a convolution.
        if self.shapes.get(name) in (shape, (1, 1, *shape)):
            return self._values(name).reshape(shape)
        if name in self.shapes:
            self._misfits.append((name, shape))
        elif default is None:
            self._missing.append(name)
        return np.full(shape, default or 0, np.float32)

    def _values(self, name):
        try:
            values = self._reader.get_tensor(self._stored[name])
        except _UNREADABLE as error:
            raise self._damaged() from error
        if not np.isfinite(values).all():
            raise UserError(
                f"{self.where}: {self._stored[name]} holds values that are not "
                "finite, as when training has diverged; give an earlier "
                "checkpoint"
            )
        return values.astype(np.float32)

    def check(self, kind):
        """Raises a UserError unless everything that was taken was there."""
        if self._missing:
            raise UserError(
                f"{self.where} looks like {kind.title}, but lacks "
                f"{listed(self._missing)}; give a checkpoint of the whole "
                "network"
            )
        if self._misfits:
            name, shape = self._misfits[0]
            raise UserError(
                f"{self.where} looks like {kind.title}, but {name} is "
                f"{_times(self.shapes[name])} where its other variables "
                f"require {_times(shape)}; only the authors' layers can be "
                "imported"
            )

    def unused(self):
        """Returns the names of what was not taken, as they are stored."""
        used = {self._stored.get(name) for name in self._used}
        return sorted(self._all - used)

    def _damaged(self):
        return UserError(
            f"{self.where} is damaged, incomplete or not a checkpoint of "
            "TensorFlow; copy all its files and give the path without suffix"
        )


def _prefix(checkpoint):
    """Returns the common path of a checkpoint's files."""
    path = os.fspath(checkpoint)
    if os.path.isdir(path):
        found = sorted(
            str(index.with_suffix(""))
            for index in pathlib.Path(path).glob("*.index")
        )
        if len(found) != 1:
            example = found[-1] if found else os.path.join(path, "model.ckpt-0")
            raise UserError(
                f"--checkpoint={path} is a folder with {len(found)} "
                f"checkpoints; give one, as in --checkpoint={example}"
            )
        return found[0]
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", path)
    if not os.path.isfile(f"{prefix}.index") and not os.path.isfile(prefix):
        raise UserError(
            f"--checkpoint={path}: no such checkpoint; give the path of its "
            "files without .index or .data-00000-of-00001"
        )
    return prefix


def _common_scope(names):
    """Returns the scope, if any, in which the network was built."""
    scopes = [
        name.removesuffix(":0").removesuffix(first)
        for name in names
        for first in FIRST_CONVOLUTION.values()
        if f"/{name}".removesuffix(":0").endswith(f"/{first}")
    ]
    return min(scopes, key=len, default="")


def _plain(name):
    """Returns a name as the authors' code has it in TensorFlow 1.8."""
    name = name.removesuffix(":0")
    # TensorFlow 1.2 renamed the variables of its cells.
    name = re.sub(r"(/gru_cell/\w+/)weights$", r"\1kernel", name)
    return re.sub(r"(/gru_cell/\w+/bias)es$", r"\1", name)


def _recognise(variables):
    names = variables.shapes
    for kind in KINDS:
        scope = kind.output.rpartition("/")[0]
        if FIRST_CONVOLUTION[kind.backbone] in names and any(
            name.startswith(f"{scope}/") for name in names
        ):
            return kind
    raise UserError(
        f"{variables.where} holds {listed(sorted(names))}, which "
        "is none of the networks that can be imported: "
        f"{', '.join(kind.title for kind in KINDS)}; give a checkpoint of one "
        "of these"
    )


def _architecture(kind, variables):
    """Derives the sizes of a network from its variables."""
    first = FIRST_CONVOLUTION[kind.backbone]
    channels = variables.columns(first)
    if channels > FIRST_CHANNELS:
        raise UserError(
            f"{variables.where} looks like {kind.title}, but {first} has "
            f"{channels} channels; {FIRST_CHANNELS} at most can be imported"
        )
    output = kind.output.format("weights")
    values = variables.columns(output)
    if output in variables.shapes and values != len(TARGETS):
        raise UserError(
            f"{variables.where}: {output} has {values} columns; only networks "
            f"with {len(TARGETS)} outputs, {' and '.join(TARGETS)}, can be "
            "imported"
        )
    width = channels / FIRST_CHANNELS
    sizes = {"width": width, "landmarks": False}
    if kind.backbone == "vgg_face":
        sizes["landmarks"] = _sees_landmarks(variables, width)
        sizes["fc_units"] = round(variables.columns(FC) / width)
    if kind.grus:
        scopes = list(kind.grus.values())
        sizes["depth"] = max(_depth(scope, variables) for scope in scopes)
        sizes["units"] = variables.columns(
            f"{_cell(scopes[0], 0)}/candidate/kernel"
        )
    if kind.head:
        sizes["head_units"] = variables.columns(f"{kind.head}/weights")
    return Architecture(
        backbone=kind.backbone,
        taps=kind.taps,
        recurrence=kind.recurrence,
        targets=TARGETS,
        **sizes,
    )


def _sees_landmarks(variables, width):
    """Returns whether the fully connected layer has rows for landmarks.

    The authors' published code has none. If a checkpoint has, they are taken
    to follow the pool's, for landmarks in the order and scale of this project.
    """
    pool = round(POOL5 * width)
    both = pool + 2 * LANDMARKS
    rows = variables.shapes.get(FC, (pool,))[0]
    if rows not in (pool, both):
        raise UserError(
            f"{variables.where}: {FC} has {rows} rows, but crops of "
            f"{CROP_SIZE}x{CROP_SIZE} give {pool}, or {both} with landmarks; "
            "give a checkpoint that was trained on such crops"
        )
    return rows == both


def _cell(scope, index):
    return f"{scope}/rnn/multi_rnn_cell/cell_{index}/gru_cell"


def _depth(scope, variables):
    depth = 1
    while any(x.startswith(_cell(scope, depth)) for x in variables.shapes):
        depth += 1
    return depth


def _weights(layer, kind, variables):
    """Returns the weights of a layer, in its order."""
    if isinstance(layer, layers.GRU):
        return _gru(layer, kind, variables)
    names = _names(layer.name, kind)
    return [
        variables.take(
            names.format(ROLES.get(weight.name, weight.name)),
            tuple(weight.shape),
            # Slim has no gamma where its `scale` is off.
            default=1 if weight.name == "gamma" else None,
        )
        for weight in layer.weights
    ]


def _names(layer, kind):
    """Returns the names of a layer's variables, with "{}" for the role."""
    if layer in VGG_CONVS:
        return f"conv_{VGG_CONVS.index(layer) + 1}/{{}}"
    if layer == "fc":
        return "linear_1/{}"
    if layer == "head":
        return f"{kind.head}/{{}}"
    if layer == "output":
        return kind.output
    # A layer of ResNet: conv1_conv, conv2_unit1_3_bn, conv2_unit1_shortcut_bn.
    layer, _, role = layer.rpartition("_")
    stage, *unit = layer.split("_")
    scope = f"resnet_v1_50/{stage}"
    if unit:
        number, part = unit
        scope = (
            f"resnet_v1_50/block{int(stage[-1]) - 1}/unit_{number[-1]}"
            f"/bottleneck_v1/{'conv' * part.isdigit()}{part}"
        )
    return f"{scope}/BatchNorm/{{}}" if role == "bn" else f"{scope}/{{}}"


def _gru(layer, kind, variables):
    """Returns the weights of a GRUCell, in the order of `layers.GRU`.

    There, the rows of a kernel are the inputs and then the state, and the
    columns of the gates are reset and then update. Here, inputs and state each
    have a kernel, whose columns are update, reset and candidate.
    """
    stack, index = layer.name.rsplit("_gru", 1)
    cell = _cell(kind.grus[stack], int(index) - 1)
    inputs, units = layer.kernel.shape[0], layer.units
    both = []
    for name, shape in (("kernel", (inputs + units,)), ("bias", ())):
        gates = variables.take(f"{cell}/gates/{name}", (*shape, 2 * units))
        reset, update = np.split(gates, 2, axis=-1)
        candidate = variables.take(f"{cell}/candidate/{name}", (*shape, units))
        both.append(np.concatenate([update, reset, candidate], axis=-1))
    kernel, recurrent_kernel = np.split(both[0], [inputs])
    return [kernel, both[1], recurrent_kernel]


def _times(shape):
    return "x".join(map(str, shape))
