"""Transfer: a new network takes the weights that fit from another file.

It is the chain of section 5: VGG-Face or ImageNet weights, then Aff-Wild or
Aff-Wild2, then OMG; and from a CNN to a CNN-RNN to a fusion.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from affwild_omg import model_files
from affwild_omg.architectures import Architecture, Fusion
from affwild_omg.errors import UserError
from affwild_omg.importers import weight_files
from affwild_omg.nets import parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Weights to take, wherever they come from.

    Attributes:
        description: what it is, for the log.
        architecture: the network that it is, or of a weight file the bare
            backbone.
        weights: {name: array}, see `affwild_omg.nets.parts.named_weights`.
    """

    description: str
    architecture: Architecture | Fusion
    weights: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a transfer did, weight by weight.

    Attributes:
        source: what was read.
        taken: names in the new network that have the source's values now.
        left: {name in the source: why nothing took it}.
        fresh: {name in the new network: why it stayed as it was}.
    """

    source: str
    taken: list[str]
    left: dict[str, str]
    fresh: dict[str, str]

    def lines(self) -> list[str]:
        """Returns the report for a console, layers in the place of weights."""
        return [
            f"weights from {self.source}",
            f"taken: {layers_of(self.taken)}",
            f"left there: {layers_of(self.left)}",
            f"stayed fresh: {layers_of(self.fresh)}",
        ]


def read(path: os.PathLike | str, *, flag: str = "--init_from") -> Source:
    """Reads a workdir's best model, a model file, or a weight file.

    Raises:
        UserError: it is none of these, or damaged.
    """
    path = pathlib.Path(path)
    if path.is_dir() or model_files.is_model_file(path):
        model, card = model_files.load_model(path, flag=flag)
        return Source(
            description=str(path),
            architecture=card.architecture,
            weights={
                name: weight.numpy()
                for name, weight in parts.named_weights(model).items()
            },
        )
    file = weight_files.read(path, flag=flag)
    return Source(
        description=f"{path} ({file.description})",
        architecture=Architecture(backbone=file.backbone, taps=("fc",)),
        weights=file.weights,
    )


def take(
    model: keras.Model,
    architecture: Architecture | Fusion,
    source: Source,
    *,
    strict: bool = False,
    member: str = "",
) -> Report:
    """Gives the model every weight of the source that fits it.

    A weight fits another of the same name and shape, if its rows and columns
    mean the same: one of a convolutional network the same backbone, one that
    is fed several taps the same taps in the same order, one that gives the
    targets the same targets. What a single network offers is offered to every
    member of a fusion.

    Args:
        model: built from the architecture; changed only if nothing is raised.
        architecture: the model's.
        source: what to take.
        strict: raise unless each weight of either side found its other.
        member: offer the source to this member of a fusion alone; "member1".

    Raises:
        UserError: nothing fits, or with `strict` not everything.
    """
    assignments, fresh, left = [], {}, {}
    for name, weight in parts.named_weights(model).items():
        place, plain = _split(name)
        if member and place != f"{member}/":
            continue
        origin = name if name in source.weights else plain
        values = source.weights.get(origin)
        if values is None:
            fresh[name] = "not there"
            continue
        there, here = _shape(values.shape), _shape(weight.shape)
        if there == here:
            there = _meaning(origin, source.architecture)
            here = _meaning(name, architecture)
        if there == here:
            assignments.append((name, origin, weight, values))
        else:
            fresh[name] = left[origin] = f"{there} there, {here} here"
    used = {origin for _, origin, _, _ in assignments}
    report = Report(
        source=source.description,
        taken=[name for name, _, _, _ in assignments],
        left={
            name: left.get(name, "not here")
            for name in source.weights
            if name not in used
        },
        fresh=fresh,
    )
    if not report.taken:
        raise UserError(f"no weight of {_refusal(report)}")
    if strict and (report.left or report.fresh):
        raise UserError(f"not every weight of {_refusal(report)}")
    for _, _, weight, values in assignments:
        weight.assign(values)
    return report


def _meaning(name, architecture):
    """Returns what a weight's rows and columns stand for, beyond its name."""
    place, plain = _split(name)
    layer = plain.split("/")[0]
    if isinstance(architecture, Fusion):
        if not place:
            members = " and ".join(map(_taps, architecture.members))
            return f"{members} to {' and '.join(architecture.targets)}"
        index = int(place.removeprefix("member").rstrip("/"))
        architecture = architecture.members[index - 1]
    part = parts.part_of(layer)
    if part == "cnn":
        return architecture.backbone
    if part == "output":
        return f"{_taps(architecture)} to {' and '.join(architecture.targets)}"
    return _taps(architecture) if layer.startswith("joint_") else ""


def _taps(architecture):
    return f"{'+'.join(architecture.taps)} ({architecture.recurrence})"


def _split(name):
    """Splits "member1/fc/kernel" into ("member1/", "fc/kernel")."""
    first, _, rest = name.partition("/")
    if first.startswith("member") and "/" in rest:
        return f"{first}/", rest
    return "", name


def _shape(shape):
    return "x".join(str(size) for size in shape)


def _refusal(report):
    return (
        f"{report.source} fits this network: there {_reasons(report.left)}; "
        f"here {_reasons(report.fresh)}; choose --architecture and its sizes "
        "as they are there, or another file"
    )


def _reasons(weights):
    if not weights:
        return "nothing is left over"
    grouped = {}
    for name, reason in weights.items():
        grouped.setdefault(reason, []).append(name)
    return ", ".join(
        f"{layers_of(names)} ({reason})" for reason, names in grouped.items()
    )


def layers_of(weights: Iterable[str]) -> str:
    """Names the layers of some weights; of many the first and the last."""
    layers = list(
        dict.fromkeys(
            place + plain.split("/")[0] for place, plain in map(_split, weights)
        )
    )
    if len(layers) > 8:
        return (
            f"{', '.join(layers[:3])} ... {', '.join(layers[-3:])} "
            f"({len(layers)} layers)"
        )
    return ", ".join(layers) or "nothing"
