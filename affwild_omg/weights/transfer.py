"""Transfer: a new network takes the weights of a file where they fit.

It makes the chain of section 5: VGG-Face or ImageNet weights, then Aff-Wild or
Aff-Wild2, then OMG; and from a CNN to a CNN-RNN to a fusion.
"""

import dataclasses
import os

import keras

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.nets import parts
from affwild_omg.nets.architectures import Architecture, Fusion
from affwild_omg.storage import remote
from affwild_omg.weights import model_file, weight_files
from affwild_omg.weights.foreign import Source

ABSENT = "absent"  # the reason if the other side lacks a weight


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a transfer did, weight by weight.

    Attributes:
        source: what was read.
        taken: names in the new network that now have the source's values.
        left: {name in the source: why it was not taken}.
        fresh: {name in the new network: why it keeps its initial values}.
    """

    source: str
    taken: list[str]
    left: dict[str, str]
    fresh: dict[str, str]

    def lines(self) -> list[str]:
        """Returns the report by layer, for a console."""
        return [
            f"weights from {self.source}",
            f"taken: {_layers(self.taken)}",
            f"not taken: {_layers(self.left)}",
            f"initialised anew: {_layers(self.fresh)}",
        ]


def read(path: os.PathLike | str, *, flag: str = "--init_from") -> Source:
    """Reads a workdir's best model, a model file, or a weight file.

    Raises:
        UserError: it is none of these, or damaged.
    """
    path = remote.path(path)
    if path.is_dir() or path.suffix == ".keras":
        model, card = model_file.load_model(path, flag=flag)
        return Source(
            description=str(path),
            architecture=card.architecture,
            treatment=card.treatment,
            weights={
                name: weight.numpy()
                for name, weight in parts.named_weights(model).items()
            },
        )
    return weight_files.read(path, flag=flag)


def take(
    model: keras.Model,
    architecture: Architecture | Fusion,
    source: Source,
    *,
    strict: bool = False,
    member: str = "",
) -> Report:
    """Copies every weight of the source that fits into the model.

    Weights fit if they have the same name and shape. A layer is taken whole or
    not at all, and only if its inputs and outputs mean the same there as here:
    features of the same backbone, the same taps in the same order, the same
    form of landmarks, the same targets. The layers of a single network are
    offered to every member of a fusion.

    Args:
        model: built from the architecture; changed only if nothing is raised.
        architecture: that of the model.
        source: what to take.
        strict: raise unless every weight of both sides fits.
        member: the only member of a fusion to change, such as "member1".

    Raises:
        UserError: nothing fits, or with `strict` not everything.
    """
    taken, left, fresh = {}, {}, {}
    offers = _by_layer(source.weights)
    for layer, weights in _by_layer(parts.named_weights(model)).items():
        place, plain = _split(layer)
        if member and place != f"{member}/":
            continue
        origin = layer if layer in offers else plain
        offer = offers.get(origin, {})
        reason = _difference(offer, weights) if offer else ABSENT
        if not reason:
            there = _meaning(origin, source.architecture)
            here = _meaning(layer, architecture)
            reason = "" if there == here else f"{there} there, {here} here"
        if reason:
            fresh |= {layer + rest: reason for rest in weights}
            left |= {origin + rest: reason for rest in offer}
        else:
            taken |= {layer + rest: origin + rest for rest in weights}
    report = Report(
        source=source.description,
        taken=list(taken),
        left={
            name: left.get(name, ABSENT)
            for name in source.weights
            if name not in taken.values()
        },
        fresh=fresh,
    )
    if not taken:
        raise UserError(f"no weight of {_refusal(report)}")
    if strict and (report.left or report.fresh):
        raise UserError(f"not every weight of {_refusal(report)}")
    for name, weight in parts.named_weights(model).items():
        if name in taken:
            weight.assign(source.weights[taken[name]])
    return report


def _by_layer(weights):
    """Groups {"member1/fc/kernel": ...} as {"member1/fc": {"/kernel": ...}}."""
    layers = {}
    for name, weight in weights.items():
        layer = _layer(name)
        layers.setdefault(layer, {})[name.removeprefix(layer)] = weight
    return layers


def _layer(name):
    place, plain = _split(name)
    return place + plain.split("/")[0]


def _difference(there, here):
    """Returns how a layer's weights differ in shape; "" if they do not."""
    for rest in {**here, **there}:
        shapes = [
            "x".join(map(str, side[rest].shape)) if rest in side else "absent"
            for side in (there, here)
        ]
        if shapes[0] != shapes[1]:
            return f"{rest[1:]} {shapes[0]} there, {shapes[1]} here"
    return ""


def _meaning(layer, architecture):
    """Describes a layer's inputs and outputs, beyond its name and shapes."""
    place, plain = _split(layer)
    if isinstance(architecture, Fusion):
        if not place:
            members = " and ".join(map(_features, architecture.members))
            return f"{members} to {' and '.join(architecture.targets)}"
        index = int(place.removeprefix("member").rstrip("/"))
        architecture = architecture.members[index - 1]
    if plain == "fc":
        landmarks = "landmarks" if architecture.landmarks else "no landmarks"
        if architecture.landmark_units:
            landmarks = "encoded landmarks"
        return f"{architecture.backbone} with {landmarks}"
    if plain == "output":
        targets = " and ".join(architecture.targets)
        return f"{_features(architecture)} to {targets}"
    if plain == "head" or plain.startswith("joint_gru"):
        return _features(architecture, head=False)
    return architecture.backbone


def _features(architecture, head=True):
    """Names the inputs of a network's output layer, or of what is below."""
    above = f"{architecture.recurrence} recurrence"
    if head and architecture.head_units:
        above += " and head"
    return f"{architecture.backbone} {'+'.join(architecture.taps)}, {above}"


def _split(name):
    """Splits "member1/fc/kernel" into ("member1/", "fc/kernel")."""
    first, _, rest = name.partition("/")
    if first.startswith("member"):
        return f"{first}/", rest
    return "", name


def _refusal(report):
    different = {
        _layer(name): f"{_layer(name)}: {reason}"
        for name, reason in report.fresh.items()
        if reason != ABSENT
    }
    only_there, only_here = (
        _layers(name for name, reason in weights.items() if reason == ABSENT)
        for weights in (report.left, report.fresh)
    )
    return (
        f"{report.source} fits this network; different: "
        f"{listed(list(different.values()), 2)}; only there: {only_there}; "
        f"only here: {only_here}; choose --architecture, --width and --units "
        "as they are there, or another file"
    )


def _layers(weights):
    """Names the layers of some weights, the first of many."""
    return listed(list(dict.fromkeys(map(_layer, weights))), 8)
