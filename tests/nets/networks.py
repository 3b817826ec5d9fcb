"""Inputs and small networks for the tests."""

import numpy as np

from affwild_omg.nets.architectures import BACKBONES, Fusion
from affwild_omg.published.networks import named

SMALL = {"width": 0.05, "units": 6}


def inputs(batch, time, seed=0):
    random = np.random.default_rng(seed)
    return {
        "frames": random.integers(0, 255, (batch, time, 96, 96, 3), np.uint8),
        "landmarks": random.uniform(0, 96, (batch, time, 68, 2)).astype("f"),
        "mask": np.ones((batch, time), bool),
    }


def small(row, overrides):
    """Returns a network of few parameters and the same topology."""
    network = named(row, **overrides)
    if isinstance(network, Fusion):
        return named(row, fc_units=400, fusion_units=5, **(SMALL | overrides))
    sizes = {"units": 6, "fc_units": 24}
    if BACKBONES[network.backbone].scalable:
        sizes = {**SMALL, "fc_units": 400}
    used = {name: size for name, size in sizes.items() if network.uses(name)}
    return named(row, **(used | overrides))
