"""TensorFlow 1 checkpoints: the authors' networks become model files.

A network is recognised by the names of its variables and sized by their
shapes. Names, shapes and orders are those of the authors' public repositories
OMG_Challenge (TensorFlow 1.1) and Aff-Wild-models (1.8), and of TF-Slim's
resnet_v1_50.
"""

import dataclasses
import itertools
import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.nets import models, parts
from affwild_omg.nets.architectures import (
    RESNET_STAGES,
    VGG_BLOCKS,
    VGG_CONVS,
    Architecture,
)
from affwild_omg.paper.task import CROP_SIZE, LANDMARKS, TARGETS
from affwild_omg.storage import files
from affwild_omg.weights import model_file
from affwild_omg.weights.options import ImportOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A network of the authors', and what its variables are called.

    The convolutions and the fully connected layer have the same names in
    every kind, see `FC`, `_vgg_face` and `_resnet`.

    Attributes:
        title: what the authors call it, for messages.
        backbone, taps, recurrence: see `Architecture`. The taps stand in the
            order in which the authors concatenate.
        output: weights and biases of the output layer, in a scope of their
            own, by which the kind is recognised.
        grus: {stack of GRU layers here: its scope there}; the cells in it
            are called as `_cell` says.
        head: scope of the fully connected layer before the output; "" where
            there is none.
    """

    title: str
    backbone: str
    taps: tuple[str, ...]
    output: tuple[str, str]
    recurrence: str = "none"
    grus: Mapping[str, str] = dataclasses.field(default_factory=dict)
    head: str = ""


# With one tap, "per_tap" and "joint" are the same network; "per_tap" names
# the GRUs after the tap, as in a CNN-3RNN, which can then start from them.
KINDS = (
    Kind(
        title="CNN_GRU_3RNN",
        backbone="vgg_face",
        taps=("conv5_3", "pool5", "fc"),
        recurrence="per_tap",
        grus={
            "conv5_3": "rnn_last_conv_1",
            "pool5": "rnn_max_pool_1",
            "fc": "rnn_fc_1",
        },
        output=("rnn_max_pool_1/weights", "rnn_max_pool_1/biases"),
    ),
    Kind(
        title="CNN_GRU_1RNN",
        backbone="vgg_face",
        taps=("fc", "pool5"),
        recurrence="joint",
        grus={"joint": "rnn_out_fc_max_pool_1"},
        output=(
            "rnn_out_fc_max_pool_1/weights",
            "rnn_out_fc_max_pool_1/biases",
        ),
    ),
    Kind(
        title="AffWildNet of VGG-Face",
        backbone="vgg_face",
        taps=("fc",),
        recurrence="per_tap",
        grus={"fc": "rnn_1"},
        output=("rnn_1/weights_rnn", "rnn_1/biases_rnn"),
    ),
    Kind(
        title="VGG-Face CNN",
        backbone="vgg_face",
        taps=("fc",),
        head="linear2_1",
        output=("linear3_1/weights", "linear3_1/biases"),
    ),
    Kind(
        title="AffWildNet of ResNet-50",
        backbone="resnet50_slim",
        taps=("pool",),
        recurrence="per_tap",
        grus={"pool": "rnn"},
        output=("rnn/weights_output", "rnn/biases_output"),
    ),
    Kind(
        title="ResNet-50 CNN",
        backbone="resnet50_slim",
        taps=("pool",),
        output=("resnet_v1_50/logits/weights", "resnet_v1_50/logits/biases"),
    ),
)

FIRST_CONVOLUTION = {
    "vgg_face": "conv_1/weights",
    "resnet50_slim": "resnet_v1_50/conv1/weights",
}
FIRST_CHANNELS = 64  # of either, at full width
FC = "linear_1"  # here "fc"
# Numbers a frame that taps below fc give, of a crop of 96x96 at full width.
FEATURES = {"conv5_3": 6 * 6 * 512, "pool5": 3 * 3 * 512, "pool": 2048}

# What training keeps beside the weights: counters, and optimizers' slots and
# running means, which are called after the variable that they belong to.
_BOOKKEEPING = re.compile(
    r"(^|/)(global_step|local_step|biased|beta[12]_power|Adam|Momentum|RMSProp"
    r"|Adagrad|Adadelta|Ftrl|ExponentialMovingAverage)(_\d+)?(:0)?$"
)

# What TensorFlow raises of files that are damaged or something else.
_UNREADABLE = (tf.errors.OpError, IndexError, ValueError)


def convert(options: ImportOptions, *, overwrite: bool = False) -> pathlib.Path:
    """Writes the model file of a checkpoint, whole or not at all.

    Args:
        options: what and where.
        overwrite: replace a file that is there.

    Returns:
        The model file.

    Raises:
        UserError: the checkpoint is none of `KINDS`, is damaged or can't be
            found, or the output can't be used.
    """
    path = pathlib.Path(options.output)
    if path.is_dir():
        raise UserError(f"--output={path} is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise UserError(
            f"--output={path} exists; name another file or give --overwrite "
            "to replace it"
        )
    architecture, weights = read(options.checkpoint)
    model = models.build(architecture)
    variables = parts.named_weights(model)
    if variables.keys() != weights.keys():
        raise RuntimeError(
            "read() and build() differ in "
            f"{sorted(variables.keys() ^ weights.keys())}"
        )
    for name, variable in variables.items():
        variable.assign(weights[name])
    remove_folder = files.make_folder(path.parent)
    try:
        model_file.save_model(
            model,
            model_file.Card(
                architecture=architecture,
                sequence_length=options.sequence_length,
            ),
            path,
        )
    finally:
        remove_folder()  # if nothing came to lie in it
    return path


def read(
    checkpoint: os.PathLike | str, *, flag: str = "--checkpoint"
) -> tuple[Architecture, dict[str, np.ndarray]]:
    """Reads one of the authors' networks.

    Logs what it is, and which variables it leaves.

    Args:
        checkpoint: path of its files without .index or .data-00000-of-00001;
            one of the files, or a folder of one checkpoint, do as well.
        flag: that named it, for messages.

    Returns:
        The network, and its weights by the names of
        `affwild_omg.nets.parts.named_weights`.

    Raises:
        UserError: there is no such checkpoint, it is damaged, or its network
            is none of `KINDS` in every name and shape.
    """
    variables = _Variables(_prefix(checkpoint, flag), flag)
    kind = _recognise(variables)
    architecture = _architecture(kind, variables)
    weights = _weights(kind, architecture, variables)
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
        f"{sum(array.size for array in weights.values()):,}",
    )
    left = variables.left()
    if left:
        logging.info("not used: %s", ", ".join(left))
    return architecture, weights


class _Variables:
    """The variables of a checkpoint, by their names in the authors' code."""

    def __init__(self, prefix, flag):
        self.where = f"{flag}={prefix}"
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
        self._outside = {x for x in stored if not x.startswith(scope)}
        self._stored = {
            _plain(name.removeprefix(scope)): name
            for name in stored
            if name not in self._outside
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

    def take(self, name, *shape, default=None):
        """Returns a variable, or, if there is none, the default everywhere.

        What is missing without a default, or of another shape, is kept for
        `check` to tell; zeros stand in for it.
        """
        self._used.add(name)
        if self.shapes.get(name) == shape:
            return self._values(name)
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
                f"{self.where}: {self._stored[name]} holds values that are no "
                "numbers, as when training has diverged; give an earlier "
                "checkpoint"
            )
        return values.astype(np.float32)

    def check(self, kind):
        """Raises a UserError unless all that was taken was there."""
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
                f"{_times(self.shapes[name])} where its other variables ask "
                f"for {_times(shape)}; only the authors' layers can be imported"
            )

    def left(self):
        """Returns the names of what nothing took, as they are stored."""
        inside = {
            stored
            for name, stored in self._stored.items()
            if name not in self._used
        }
        return sorted(inside | self._outside)

    def _damaged(self):
        return UserError(
            f"{self.where} is damaged, incomplete or no TensorFlow checkpoint; "
            "give the path that its files have in common, and copy all of them"
        )


def _prefix(checkpoint, flag):
    """Returns what the files of a checkpoint have in common."""
    path = os.fspath(checkpoint)
    if os.path.isdir(path):
        found = sorted(
            str(index.with_suffix(""))
            for index in pathlib.Path(path).glob("*.index")
        )
        if len(found) != 1:
            raise UserError(
                f"{flag}={path} is a folder with {len(found)} checkpoints; "
                f"give one, as in {flag}="
                f"{found[-1] if found else os.path.join(path, 'model.ckpt-0')}"
            )
        return found[0]
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", path)
    if not os.path.isfile(f"{prefix}.index") and not os.path.isfile(prefix):
        raise UserError(
            f"{flag}={path}: no such checkpoint; give the path of its files "
            "without .index or .data-00000-of-00001"
        )
    return prefix


def _common_scope(names):
    """Returns the scope, if any, that the network was built in."""
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
    # TensorFlow 1.2 gave the variables of its cells other names.
    name = re.sub(r"(/gru_cell/\w+/)weights$", r"\1kernel", name)
    return re.sub(r"(/gru_cell/\w+/)biases$", r"\1bias", name)


def _recognise(variables):
    names = variables.shapes
    for kind in KINDS:
        scope = kind.output[0].rpartition("/")[0]
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
    """Reads the sizes of a network off its variables."""
    first = FIRST_CONVOLUTION[kind.backbone]
    channels = variables.columns(first)
    if channels > FIRST_CHANNELS:
        raise UserError(
            f"{variables.where} looks like {kind.title}, but {first} has "
            f"{channels} channels; {FIRST_CHANNELS} at most can be imported"
        )
    output = kind.output[0]
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
        sizes["fc_units"] = round(variables.columns(f"{FC}/weights") / width)
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
    """Tells from its rows what the fully connected layer is fed.

    The code that the authors released feeds no landmarks; if a checkpoint has
    rows for them, they are taken to follow the pool's and to be meant for
    landmarks in the order and scale of this project.
    """
    name = f"{FC}/weights"
    pool = round(FEATURES["pool5"] * width)
    both = pool + 2 * LANDMARKS
    rows = variables.shapes.get(name, (pool,))[0]
    if rows not in (pool, both):
        raise UserError(
            f"{variables.where}: {name} has {rows} rows, but crops of "
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


def _weights(kind, architecture, variables):
    """Takes every weight of the network, by its name here."""
    weights = {}
    features = {
        tap: architecture.scaled(size) for tap, size in FEATURES.items()
    }
    if kind.backbone == "vgg_face":
        weights |= _vgg_face(architecture, variables)
        features["fc"] = architecture.scaled(architecture.fc_units)
        weights |= _dense(
            "fc",
            _names(FC),
            features["pool5"] + 2 * LANDMARKS * architecture.landmarks,
            features["fc"],
            variables,
        )
    else:
        weights |= _resnet(architecture, variables)

    size = features["joint"] = sum(features[tap] for tap in kind.taps)
    for stack, scope in kind.grus.items():
        size = features[stack]
        for index in range(architecture.depth):
            weights |= _gru(
                f"{stack}_gru{index + 1}",
                _cell(scope, index),
                size,
                architecture.units,
                variables,
            )
            size = architecture.units
    if kind.grus:
        size = len(kind.grus) * architecture.units
    if kind.head:
        weights |= _dense(
            "head",
            _names(kind.head),
            size,
            architecture.head_units,
            variables,
        )
        size = architecture.head_units
    return weights | _dense(
        "output", kind.output, size, len(TARGETS), variables
    )


def _vgg_face(architecture, variables):
    """Takes conv_1 to conv_13, here conv1_1 to conv5_3."""
    weights = {}
    channels = 3
    all_filters = itertools.chain.from_iterable(VGG_BLOCKS)
    for index, (layer, filters) in enumerate(
        zip(VGG_CONVS, all_filters, strict=True), start=1
    ):
        filters = architecture.scaled(filters)
        kernel, bias = _names(f"conv_{index}")
        weights[f"{layer}/kernel"] = variables.take(
            kernel, 3, 3, channels, filters
        )
        weights[f"{layer}/bias"] = variables.take(bias, filters)
        channels = filters
    return weights


def _resnet(architecture, variables):
    """Takes the convolutions of resnet_v1_50 and their normalisations.

    A unit's conv1, conv2, conv3 and shortcut end in the same words here.
    """
    root = "resnet_v1_50"
    channels = architecture.scaled(64)
    weights = _normalised("conv1", f"{root}/conv1", 7, 3, channels, variables)
    for block, (filters, units) in enumerate(RESNET_STAGES, start=1):
        inner = architecture.scaled(filters)
        outer = architecture.scaled(4 * filters)
        for unit in range(1, units + 1):
            layer = f"conv{block + 1}_unit{unit}"
            scope = f"{root}/block{block}/unit_{unit}/bottleneck_v1"
            convolutions = [
                ("1", "conv1", 1, channels, inner),
                ("2", "conv2", 3, inner, inner),
                ("3", "conv3", 1, inner, outer),
            ]
            if unit == 1:
                convolutions.append(
                    ("shortcut", "shortcut", 1, channels, outer)
                )
            for here, there, *shape in convolutions:
                weights |= _normalised(
                    f"{layer}_{here}", f"{scope}/{there}", *shape, variables
                )
            channels = outer
    return weights


def _normalised(layer, scope, size, inputs, filters, variables):
    """Takes a convolution and the batch normalisation behind it."""
    normalisation = f"{scope}/BatchNorm"
    weights = {
        f"{layer}_conv/kernel": variables.take(
            f"{scope}/weights", size, size, inputs, filters
        ),
        # Slim has no gamma where its `scale` is off.
        f"{layer}_bn/gamma": variables.take(
            f"{normalisation}/gamma", filters, default=1
        ),
    }
    for name in ("beta", "moving_mean", "moving_variance"):
        weights[f"{layer}_bn/{name}"] = variables.take(
            f"{normalisation}/{name}", filters
        )
    return weights


def _dense(layer, names, inputs, units, variables):
    """Takes a fully connected layer, which slim writes as a convolution."""
    kernel, bias = names
    places = (1,) * (len(variables.shapes.get(kernel, ())) - 2)
    return {
        f"{layer}/kernel": variables.take(
            kernel, *places, inputs, units
        ).reshape(inputs, units),
        f"{layer}/bias": variables.take(bias, units),
    }


def _gru(layer, cell, inputs, units, variables):
    """Takes a GRUCell.

    There, a kernel's rows are the inputs and then the state, and the gates'
    columns are reset and then update. Here, inputs and state have a kernel
    each, and columns are update, reset and candidate.
    """
    both = {}
    for name, shape in (("kernel", (inputs + units,)), ("bias", ())):
        gates = variables.take(f"{cell}/gates/{name}", *shape, 2 * units)
        reset, update = np.split(gates, 2, axis=-1)
        candidate = variables.take(f"{cell}/candidate/{name}", *shape, units)
        both[name] = np.concatenate([update, reset, candidate], axis=-1)
    kernel, recurrent_kernel = np.split(both["kernel"], [inputs])
    return {
        f"{layer}/kernel": kernel,
        f"{layer}/bias": both["bias"],
        f"{layer}/recurrence/step/recurrent_kernel": recurrent_kernel,
    }


def _names(scope):
    return f"{scope}/weights", f"{scope}/biases"


def _times(shape):
    return "x".join(map(str, shape))
