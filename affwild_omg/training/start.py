"""The start of a training: where weights come from, and which are trained."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.data.manifest import Manifest
from affwild_omg.nets import parts
from affwild_omg.nets.architectures import PARTS, Architecture, Fusion
from affwild_omg.training.options import TRAINED, TrainingOptions
from affwild_omg.weights import calibration, transfer

# Frames on which features are measured: half a gigabyte of them.
CALIBRATION_FRAMES = 32


def initialise(
    model: keras.Model,
    network: Architecture | Fusion,
    options: TrainingOptions,
    *,
    records: Manifest,
    faces: np.ndarray,
    label_means: np.ndarray,
) -> list[dict]:
    """Takes weights from where the options say.

    Where the output's bias is not among them, it becomes the mean of the
    training labels. CCC's gradient falls with the square of the distance of
    the means: a network that starts half a unit off the labels, as one from 0
    does in arousal, may wander off before it has learned anything.

    Args:
        model: built from the network.
        network: what it is.
        options: of the training.
        records: that it is trained on.
        faces: uint8 [frames, 96, 96, 3], on which features are measured.
        label_means: [targets].

    Returns:
        The reports of what was taken from where, as JSON has them.

    Raises:
        UserError: weights cannot be read, or do not fit, or are of a model that
            learned from other landmarks.
    """
    sources = [
        ("--members", path, {"member": member})
        for member, path in options.member_runs().items()
    ]
    if path := options.init_from:
        sources.append(("--init_from", path, {"strict": options.init_strict}))
    reports, foreign = [], set()
    for flag, path, how in sources:
        source = transfer.read(path, flag=flag)
        records.compare(
            source.treatment,
            f"{flag}: {path}",
            other_landmarks=options.other_landmarks,
        )
        report = transfer.take(model, network, source, **how)
        reports.append(dataclasses.asdict(report))
        for line in report.lines():
            logging.info("%s", line)
        if source.foreign:
            foreign.update(report.taken)
    taken = _taken(reports)
    _calibrate(model, network, faces, taken, foreign)
    if "output/bias" not in taken:
        model.get_layer("output").bias.assign(label_means)
    return reports


def _calibrate(model, network, faces, taken, foreign):
    """Brings features to a size that the rest can learn from.

    Those of foreign weights, and in a fusion of VGG-Faces at full width with
    random ones; others do not saturate what reads them (docs/networks.md).
    """
    faces = faces[:: -(-len(faces) // CALIBRATION_FRAMES)]
    own = {"": (model, network)}
    if isinstance(network, Fusion):
        own = {
            f"member{index}/": (model.get_layer(f"member{index}"), member)
            for index, member in enumerate(network.members, start=1)
        }
    for place, (part, architecture) in own.items():
        backbone = architecture.backbone
        first = f"{place}{calibration.FIRST.get(backbone)}/kernel"
        random = place and backbone == "vgg_face" and first not in taken
        if first in foreign or (random and architecture.width == 1):
            sizes = calibration.calibrate(part, backbone, faces)
            logging.info(
                "features of %s scaled to at most %s, by powers of two; their "
                "sizes were %s",
                place + backbone,
                calibration.MOST,
                ", ".join(f"{name} {size:.3g}" for name, size in sizes.items()),
            )


def fix_parts(
    model: keras.Model, options: TrainingOptions, reports: Sequence[dict]
) -> None:
    """Fixes what the options do not let train.

    Args:
        model: of the network that the options name.
        options: of the training.
        reports: what `initialise` returned.

    Raises:
        UserError: a part has a learning rate, but is not trained.
    """
    taken = {name.rpartition("/")[0] for name in _taken(reports)}
    trained, random = set(), set()
    for name, layer in parts.named_layers(model).items():
        part = parts.part_of(name)
        layer.trainable = part in TRAINED[options.train]
        if layer.weights and layer.trainable:
            trained.add(part)
        elif layer.weights and name not in taken:
            random.add(part)
        if isinstance(layer, keras.layers.BatchNormalization):
            frozen = options.freeze_batch_norm and name in taken
            layer.trainable = layer.trainable and not frozen
    if random:
        logging.warning(
            "--train=%s leaves %s fixed, whose weights are random, not all "
            "taken from elsewhere; --init_from or --members gives weights",
            options.train,
            ", ".join(sorted(random, key=PARTS.index)),
        )
    for part in options.rates():
        if part not in trained:
            raise UserError(
                f"--part_learning_rates gives a rate to {part}, which "
                f"{options.architecture} does not have or --train="
                f"{options.train} leaves fixed; trained are "
                f"{', '.join(sorted(trained, key=PARTS.index))}"
            )


def _taken(reports):
    """Returns the weights that came from elsewhere."""
    return {name for report in reports for name in report["taken"]}
