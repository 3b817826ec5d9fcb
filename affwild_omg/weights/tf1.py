"""TensorFlow 1 checkpoints of the authors' networks become model files.

A network is recognised by the names of its variables and sized by their
shapes. Names, shapes and orders are those of the authors' public repositories
OMG_Challenge (TensorFlow 1.1) and Aff-Wild-models (1.8), and of TF-Slim's
resnet_v1_50.
"""

import dataclasses
import glob
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
from affwild_omg.paper.task import LANDMARKS
from affwild_omg.storage import files
from affwild_omg.weights import model_file
from affwild_omg.weights.options import ImportOptions

FIRST_CONVOLUTION = {
    "vgg_face": "conv_1/weights",
    "resnet50_slim": "resnet_v1_50/conv1/weights",
}
FIRST_CHANNELS = 64  # of either, at full width
FC = "linear_1/{}"
ROLES = {"kernel": "weights", "bias": "biases"}  # here: there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A network of the authors, and the names of its variables.

    Attributes:
        title: what the authors call it, for messages.
        architecture: at full size. The taps are in the order in which the
            authors concatenate. With one tap, "per_tap" and "joint" are the
            same network; such a stack is named after the tap, as in CNN-3RNN,
            which can then start from it.
        names: {layer here that is above the backbone: its variables there,
            with "{}" for weights or biases; GRU stack: its scope}. The scope
            of the output layer identifies the kind.
    """

    title: str
    architecture: Architecture
    names: Mapping[str, str]


_VGG_FACE = Architecture(taps=("fc",), landmarks=False)
_RESNET = dataclasses.replace(
    _VGG_FACE, backbone="resnet50_slim", taps=("pool",)
)
KINDS = (
    Kind(
        title="CNN_GRU_3RNN",
        architecture=dataclasses.replace(
            _VGG_FACE, taps=("conv5_3", "pool5", "fc")
        ),
        names={
            "fc": FC,
            "conv5_3_gru": "rnn_last_conv_1",
            "pool5_gru": "rnn_max_pool_1",
            "fc_gru": "rnn_fc_1",
            "output": "rnn_max_pool_1/{}",
        },
    ),
    Kind(
        title="CNN_GRU_1RNN",
        architecture=dataclasses.replace(
            _VGG_FACE, taps=("fc", "pool5"), recurrence="joint"
        ),
        names={
            "fc": FC,
            "joint_gru": "rnn_out_fc_max_pool_1",
            "output": "rnn_out_fc_max_pool_1/{}",
        },
    ),
    Kind(
        title="AffWildNet of VGG-Face",
        architecture=_VGG_FACE,
        names={"fc": FC, "fc_gru": "rnn_1", "output": "rnn_1/{}_rnn"},
    ),
    Kind(
        title="VGG-Face CNN",
        architecture=dataclasses.replace(_VGG_FACE, recurrence="none"),
        names={"fc": FC, "head": "linear2_1/{}", "output": "linear3_1/{}"},
    ),
    Kind(
        title="AffWildNet of ResNet-50",
        architecture=_RESNET,
        names={"pool_gru": "rnn", "output": "rnn/{}_output"},
    ),
    Kind(
        title="ResNet-50 CNN",
        architecture=dataclasses.replace(_RESNET, recurrence="none"),
        names={"output": "resnet_v1_50/logits/{}"},
    ),
)

# What training keeps beside the weights: counters, and optimizers' slots and
# running means, which are named after the variable that they belong to.
_BOOKKEEPING = re.compile(
    r"(^|/)(global_step|local_step|biased|beta[12]_power|Adam|Momentum|RMSProp"
    r"|Adagrad|Adadelta|Ftrl|ExponentialMovingAverage)(_\d+)?$"
)


def convert(options: ImportOptions, *, overwrite: bool = False) -> pathlib.Path:
    """Writes the model file of a checkpoint, whole or not at all.

    Args:
        options: what and where.
        overwrite: replace an existing file.

    Returns:
        The model file.

    Raises:
        UserError: as `read`, or the output cannot be used.
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
        architecture=architecture,
        sequence_length=options.sequence_length,
        treatment=None,
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
        UserError: the checkpoint does not exist or is damaged, or its network
            is none of `KINDS` in every name and shape.
    """
    where = f"--checkpoint={checkpoint}"
    arrays = _load(checkpoint, where)
    kind = _recognise(arrays, where)
    try:
        architecture = _architecture(kind, arrays)
        model = models.build(architecture)
        variables = {
            layer: _variables(layer, kind)
            for layer in model.layers
            if layer.weights
        }
        needed = {k: v for of in variables.values() for k, v in of.items()}
        found = _checked(arrays, needed)
    except UserError as error:
        raise UserError(f"{where} looks like {kind.title}, but {error}") from (
            error
        )
    for layer, names in variables.items():
        weights = [found[name] for name in names]
        is_gru = isinstance(layer, layers.GRU)
        layer.set_weights(_gru(*weights) if is_gru else weights)
    parameters = f"{model.count_params():,}"
    logging.info("%s is %s; %s parameters", where, kind.title, parameters)
    if unused := sorted(arrays.keys() - found.keys()):
        logging.info("not used: %s", ", ".join(unused))
    return model, architecture


def _load(checkpoint, where):
    """Returns {name: array} of all variables but bookkeeping."""
    # A folder's own record of its checkpoint may name a path elsewhere.
    found = sorted(pathlib.Path(checkpoint).glob("*.index")) or [checkpoint]
    if len(found) > 1:
        raise UserError(
            f"{where} holds {len(found)} checkpoints; give one, as in "
            f"--checkpoint={found[-1].with_suffix('')}"
        )
    suffix = r"\.(index|meta|data-\d+-of-\d+)$"
    prefix = pathlib.Path(re.sub(suffix, "", str(found[0])))
    if not any(prefix.parent.glob(f"{glob.escape(prefix.name)}*")):
        raise UserError(
            f"{where} does not exist; give the path of its files without "
            ".index or .data"
        )
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {
            _renamed(name): reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if not _BOOKKEEPING.search(name)
        }
    # What TensorFlow raises on files that are damaged or something else.
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{where} is not a checkpoint of TensorFlow, or it is damaged or "
            "incomplete; copy all its files and give their path without "
            ".index or .data-00000-of-00001"
        ) from error


def _renamed(name):
    """Renames the variables of cells as TensorFlow 1.2 did."""
    name = re.sub(r"(/gru_cell/\w+/)weights$", r"\1kernel", name)
    return re.sub(r"(/gru_cell/\w+/bias)es$", r"\1", name)


def _recognise(arrays, where):
    for kind in KINDS:
        scope = kind.names["output"].rpartition("/")[0]
        if FIRST_CONVOLUTION[kind.architecture.backbone] in arrays and any(
            name.startswith(f"{scope}/") for name in arrays
        ):
            return kind
    raise UserError(
        f"{where} holds {listed(sorted(arrays))}, which is none of the "
        "networks that can be imported: "
        f"{', '.join(kind.title for kind in KINDS)}; give a checkpoint of one "
        "of these"
    )


def _architecture(kind, arrays):
    """Derives the sizes of a network from its variables."""

    def sizes_of(name):
        return np.shape(arrays.get(name, [[1]]))  # ones if it is missing

    first = FIRST_CONVOLUTION[kind.architecture.backbone]
    width = sizes_of(first)[-1] / FIRST_CHANNELS
    sizes = {"width": width}
    if "fc" in kind.names:
        rows, *_, columns = sizes_of(FC.format("weights"))
        sizes["fc_units"] = round(columns / width)
        # The authors' published code has no rows for landmarks. If there are
        # some, they are taken to follow the pool's, for landmarks in the order
        # and scale of this project.
        pool = 3 * 3 * sizes_of("conv_13/weights")[-1]
        sizes["landmarks"] = rows == pool + 2 * LANDMARKS
    if "head" in kind.names:
        head = kind.names["head"].format("weights")
        sizes["head_units"] = sizes_of(head)[-1]
    if stacks := [x for name, x in kind.names.items() if "_gru" in name]:
        candidate = f"{_cell(stacks[0], 1)}/candidate/kernel"
        sizes["units"] = sizes_of(candidate)[-1]
        cells = re.compile(rf"({'|'.join(stacks)})/.*/cell_(\d+)/")
        found = filter(None, map(cells.match, arrays))
        sizes["depth"] = 1 + max((int(x[2]) for x in found), default=0)
    return dataclasses.replace(kind.architecture, **sizes)


def _cell(scope, number):
    return f"{scope}/rnn/multi_rnn_cell/cell_{number - 1}/gru_cell"


def _variables(layer, kind):
    """Returns {name there: shape} of what a layer's weights are made of."""
    if isinstance(layer, layers.GRU):
        stack, number = re.fullmatch(r"(.*_gru)(\d+)", layer.name).groups()
        cell = _cell(kind.names[stack], int(number))
        rows = layer.kernel.shape[0] + layer.units
        return {
            f"{cell}/gates/kernel": (rows, 2 * layer.units),
            f"{cell}/gates/bias": (2 * layer.units,),
            f"{cell}/candidate/kernel": (rows, layer.units),
            f"{cell}/candidate/bias": (layer.units,),
        }
    names = kind.names.get(layer.name) or _names(layer.name)
    return {
        names.format(ROLES.get(weight.name, weight.name)): tuple(weight.shape)
        for weight in layer.weights
    }


def _names(layer):
    """Returns the names of a backbone's variables, with "{}" for the role."""
    if layer in VGG_CONVS:
        return f"conv_{VGG_CONVS.index(layer) + 1}/{{}}"
    # Of ResNet-50: conv1_conv, conv2_unit1_3_bn, conv2_unit1_shortcut_bn.
    stage, *unit, role = layer.split("_")
    scope = stage
    if unit:
        scope = f"block{int(stage[-1]) - 1}/unit_{unit[0][-1]}/bottleneck_v1/"
        scope += unit[1] if unit[1] == "shortcut" else f"conv{unit[1]}"
    return f"resnet_v1_50/{scope}/{'BatchNorm/' * (role == 'bn')}{{}}"


def _checked(arrays, shapes):
    """Returns the arrays of these names; raises unless their shapes fit."""
    # Slim has no gamma where its `scale` is off.
    ones = {x: np.ones(shapes[x]) for x in shapes if x.endswith("/gamma")}
    arrays = ones | arrays
    if missing := [name for name in shapes if name not in arrays]:
        raise UserError(
            f"lacks {listed(missing)}; give a checkpoint of the whole network"
        )
    found = {}
    for name, shape in shapes.items():
        # Slim writes a fully connected layer as a convolution.
        if arrays[name].shape not in (shape, (1, 1, *shape)):
            raise UserError(
                f"{name} is {_times(arrays[name].shape)} where its other "
                f"variables require {_times(shape)}; only the authors' layers "
                "can be imported"
            )
        if not np.isfinite(arrays[name]).all():
            raise UserError(
                f"{name} holds values that are not finite, as when training "
                "has diverged; give an earlier checkpoint"
            )
        found[name] = arrays[name].reshape(shape).astype(np.float32)
    return found


def _gru(gates_kernel, gates_bias, candidate_kernel, candidate_bias):
    """Returns the weights of a GRUCell, in the order of `layers.GRU`.

    There, the rows of a kernel are the inputs and then the state, and the
    columns of the gates are reset and then update. Here, inputs and state each
    have a kernel, whose columns are update, reset and candidate.
    """

    def joined(gates, candidate):
        reset, update = np.split(gates, 2, axis=-1)
        return np.concatenate([update, reset, candidate], axis=-1)

    kernel = joined(gates_kernel, candidate_kernel)
    inputs = len(kernel) - len(candidate_bias)
    bias = joined(gates_bias, candidate_bias)
    return [kernel[:inputs], bias, kernel[inputs:]]


def _times(shape):
    return "x".join(map(str, shape))
