"""The regime that a network trains in: its features and gates, tap by tap.

A gate whose pre-activation is far from 0 has next to no gradient. What drives
it there are features of the wrong size, or steps that are too long for a tap of
so many features.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from affwild_omg.nets import losses, parts
from affwild_omg.nets.architectures import Architecture, Fusion

# A sigmoid has a thousandth of its steepest slope at about 8.
SATURATED = 8.0

# The largest share of saturated gates that a training starts with in silence.
MAX_SATURATED = 0.01

# A power of two, which costs no digit, lest gradients vanish in float16.
SCALE = 1024.0


class Regime(NamedTuple):
    """What `measure` found.

    Attributes:
        taps: {tap: {measure: value}}, in a fusion of taps like
            "member1/pool2": "feature_rms", the root mean square of its
            features; "gradient_norm", that of the loss by the weights that
            read the tap; and, where those are a GRU layer's,
            "saturated_gates", the share in [0, 1] of the gates'
            pre-activations that are beyond SATURATED by the features alone.
            The GRU layer of several taps has one share.
        values: what these are of: "features/pool2" [frames, features] and
            "gates/pool2_gru1" [frames, gates], of frames with a face.
    """

    taps: dict[str, dict[str, float]]
    values: dict[str, np.ndarray]


def measure(
    model: keras.Model,
    network: Architecture | Fusion,
    batch: Mapping[str, np.ndarray],
    loss_level: str,
    **loss_settings,
) -> Regime:
    """Measures features, gates and gradients on a batch, without dropout.

    Args:
        model: built from the network.
        network: what it is.
        batch: the model's inputs, and "labels" [batch, time, targets].
        loss_level: see `losses.concordance_loss`.
        **loss_settings: its other arguments.
    """
    named = parts.named_layers(model)
    readers = list(_readers(network))
    kernels = [named[layer].kernel for _, layer, _ in readers]
    with tf.GradientTape() as tape:
        loss = losses.concordance_loss(
            batch["labels"],
            model({x.name: batch[x.name] for x in model.inputs}),
            batch["mask"],
            level=loss_level,
            **loss_settings,
        )
        scaled = SCALE * loss
    gradients = tape.gradient(scaled, [kernel.value for kernel in kernels])
    # One pass through each network, whatever reads its taps.
    tapped = {}
    for place, _, taps in readers:
        tapped.setdefault(place, []).extend(taps)
    features = {}
    for place, taps in tapped.items():
        features |= _features(model, place, taps, batch)
    found, values = {}, {f"features/{x}": own for x, own in features.items()}
    for (place, layer, taps), gradient in zip(readers, gradients, strict=True):
        own = [features[place + tap] for tap in taps]
        sizes = [x.shape[-1] for x in own]
        shares = {}
        if "_gru" in layer:
            gates = np.concatenate(own, axis=-1) @ named[layer].kernel
            gates = (gates + named[layer].bias)[:, : 2 * named[layer].units]
            values[f"gates/{layer}"] = np.asarray(gates)
            shares["saturated_gates"] = float(
                np.mean(np.abs(gates) > SATURATED)
            )
        for tap, x, rows in zip(
            taps, own, tf.split(gradient, sizes), strict=True
        ):
            found[place + tap] = {
                "feature_rms": float(np.sqrt(np.mean(np.square(x)))),
                "gradient_norm": float(tf.norm(rows)) / SCALE,
            } | shares
    return Regime(found, values)


def tell(start: Mapping[str, Mapping[str, float]]) -> None:
    """Logs what `measure` found before the first step."""
    for tap, found in start.items():
        share = found.get("saturated_gates")
        logging.info(
            "%s: features of size %.3g, gradient %.3g%s",
            *(tap, found["feature_rms"], found["gradient_norm"]),
            ""
            if share is None
            else f", {100 * share:.1f} % of gates saturated",
        )
        if share is not None and share > MAX_SATURATED:
            logging.warning(
                "the gates that read %s start saturated, and may hardly "
                "learn: their features are too large, at most 0.4 is expected",
                tap,
            )


def _readers(
    network: Architecture | Fusion, place: str = ""
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yields the place of a network, a layer that reads taps, and the taps."""
    if isinstance(network, Fusion):
        for index, member in enumerate(network.members, start=1):
            yield from _readers(member, f"member{index}/")
    elif network.recurrence == "per_tap":
        for tap in network.taps:
            yield place, f"{place}{tap}_gru1", (tap,)
    elif network.recurrence == "joint":
        yield place, f"{place}joint_gru1", network.taps
    elif network.head_units:
        yield place, f"{place}head", network.taps
    elif not place:
        yield place, "output", network.taps


def _features(model, place, taps, batch):
    """Returns the taps' features [frames, features] where there is a face."""
    if place:
        model = model.get_layer(place.rstrip("/"))
    outputs = [model.get_layer(f"{tap}_sequence").output for tap in taps]
    part = keras.Model(model.inputs, outputs)
    values = part({x.name: batch[x.name] for x in model.inputs})
    return {
        place + tap: np.asarray(x, np.float32)[batch["mask"]]
        for tap, x in zip(taps, keras.tree.flatten(values), strict=True)
    }
