import dataclasses
import functools

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import Architecture, Fusion
from affwild_omg.published.networks import named
from tests.weights.test_vgg_face import make_network, write_npz

SMALL = Architecture(taps=("pool5", "fc"), width=0.03, units=3)


@pytest.fixture(scope="module")
def transfer(tf):
    from affwild_omg.weights import transfer

    return transfer


def build(architecture, seed=0):
    from affwild_omg.nets import models

    return models.build(architecture, seed)


@functools.cache
def offered(transfer, architecture):
    """Returns the network's weights, all 7, as a source."""
    from affwild_omg.nets import parts
    from affwild_omg.weights import foreign

    return foreign.Source(
        description="there",
        architecture=architecture,
        weights={
            name: np.full(weight.shape, 7, "f")
            for name, weight in parts.named_weights(build(architecture)).items()
        },
    )


def layers(names):
    return sorted(
        {name.rsplit("/", 1)[0].split("/recurr")[0] for name in names}
    )


def test_only_what_fits_is_taken_and_all_is_reported(transfer):
    from affwild_omg.nets import parts

    source = offered(transfer, dataclasses.replace(SMALL, units=4))
    model = build(SMALL)
    before = {
        name: weight.numpy().copy()
        for name, weight in parts.named_weights(model).items()
    }
    report = transfer.take(model, SMALL, source)
    after = parts.named_weights(model)
    for name, values in before.items():
        assert (name in report.taken) != (name in report.fresh)
        expected = np.full_like(values, 7) if name in report.taken else values
        np.testing.assert_array_equal(after[name], expected)
    assert len(report.taken) == 2 * 13 + 2
    # Layers that depend on the units; none is taken by half, not even the
    # output, whose bias has the same shape.
    assert set(report.fresh) == set(report.left)
    grus = {"fc_gru1", "fc_gru2", "pool5_gru1", "pool5_gru2"}
    assert set(layers(report.fresh)) == grus | {"output"}
    for name in ("output/kernel", "output/bias"):
        assert report.fresh[name] == "kernel 8x2 there, 6x2 here"


@pytest.mark.parametrize(
    ("there", "here", "fresh"),
    [
        ({}, {}, []),
        # The same shapes, but other columns, or rows.
        ({"targets": ("valence",)}, {"targets": ("arousal",)}, ["output"]),
        ({"taps": ("fc", "pool5")}, {}, ["output"]),
        (
            {"taps": ("conv5_3", "pool4"), "recurrence": "joint"},
            {"taps": ("pool4", "conv5_3"), "recurrence": "joint"},
            ["joint_gru1", "joint_gru2", "output"],
        ),
        # The output is fed six features by the RNNs there, by a head here.
        ({}, {"head_units": 6}, ["head", "output"]),
        # 136 numbers a frame each, but raw or encoded.
        ({}, {"landmark_units": 136}, ["fc", "landmark_encoder"]),
    ],
)
def test_the_same_shape_may_mean_something_else(transfer, there, here, fresh):
    here = dataclasses.replace(SMALL, **here)
    there = dataclasses.replace(SMALL, **there)
    report = transfer.take(build(here), here, offered(transfer, there))
    assert layers(report.fresh) == fresh
    only_here = {"head", "landmark_encoder"}
    assert set(layers(report.left)) == set(fresh) - only_here


def test_nothing_crosses_from_one_backbone_to_another(transfer):
    """Though both call layers conv1_conv and fc, here of the same shapes."""
    here = Architecture(
        backbone="resnet50_slim", taps=("fc",), width=0.05, units=3
    )
    there = dataclasses.replace(here, backbone="resnet50", width=1)
    source = dataclasses.replace(offered(transfer, here), architecture=there)
    with pytest.raises(UserError) as raised:
        transfer.take(build(here), here, source)
    assert "no weight of there fits" in str(raised.value)
    assert "resnet50 there, resnet50_slim here" in str(raised.value)


def test_a_single_network_gives_to_every_member(transfer):
    fusion = Fusion(
        members=(SMALL, dataclasses.replace(SMALL, recurrence="joint")),
        fusion_units=3,
    )
    cnn = dataclasses.replace(SMALL, taps=("fc",), recurrence="none")
    report = transfer.take(build(fusion), fusion, offered(transfer, cnn))
    assert layers(report.taken) == layers(
        f"member{member}/{name}"
        for member in (1, 2)
        for name in offered(transfer, cnn).weights
        if not name.startswith("output")
    )
    assert list(report.left) == ["output/kernel", "output/bias"]


def test_a_member_takes_what_is_meant_for_it(transfer):
    fusion = Fusion(members=(SMALL, SMALL), fusion_units=3)
    model = build(fusion)
    source = offered(transfer, SMALL)
    report = transfer.take(model, fusion, source, member="member2")
    assert set(report.taken) == {
        f"member2/{name}" for name in source.weights if "output" not in name
    }
    assert report.fresh == {}


def test_a_fusion_gives_to_a_fusion(transfer):
    fusion = Fusion(members=(SMALL, SMALL), fusion_units=3)
    source = offered(transfer, fusion)
    report = transfer.take(build(fusion), fusion, source, strict=True)
    assert set(report.taken) == set(source.weights)
    # Its members' order is part of what its own layer is fed.
    first = dataclasses.replace(SMALL, taps=("fc", "pool5"))
    other = Fusion(members=(first, SMALL), fusion_units=3)
    report = transfer.take(build(other), other, source)
    assert layers(report.fresh) == ["fusion_gru", "output"]


def test_strict_changes_nothing_where_it_refuses(transfer):
    model = build(SMALL, seed=3)
    before = [weight.numpy().copy() for weight in model.weights]
    cnn = dataclasses.replace(SMALL, taps=("fc",), recurrence="none")
    with pytest.raises(UserError) as raised:
        transfer.take(model, SMALL, offered(transfer, cnn), strict=True)
    message = str(raised.value)
    assert message.startswith("not every weight of there fits this network")
    assert "; different: output: kernel 123x2 there, 6x2 here; " in message
    assert "only there: nothing; only here: pool5_gru1, fc_gru1" in message
    for weight, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, values)


def test_both_sides_are_listed_if_nothing_fits(transfer):
    other = dataclasses.replace(
        SMALL, width=0.05, targets=("valence",), units=4
    )
    with pytest.raises(UserError) as raised:
        transfer.take(build(SMALL), SMALL, offered(transfer, other))
    message = str(raised.value)
    assert message.startswith("no weight of there fits this network")
    assert "conv1_1: kernel 3x3x3x3 there, 3x3x3x2 here, conv1_2" in message
    assert "and 17 more; only there: nothing; only here" in message
    assert "choose --architecture" in message


def test_a_weight_file_is_read_with_its_backbone(transfer, tmp_path):
    path = tmp_path / "vgg.npz"
    write_npz(path, make_network())
    source = transfer.read(path)
    architecture = named("cnn_3rnn", width=4 / 64, units=3)
    report = transfer.take(build(architecture), architecture, source)
    assert len(report.taken) == 26
    assert report.left == {}
    assert report.lines()[0].startswith(f"weights from {path} (VGG-Face")
    assert report.lines()[1:] == [
        "taken: conv1_1, conv1_2, conv2_1, conv2_2, conv3_1, conv3_2, conv3_3, "
        "conv4_1 and 5 more",
        "not taken: nothing",
        "initialised anew: fc, pool2_gru1, pool5_gru1, fc_gru1, pool2_gru2, "
        "pool5_gru2, fc_gru2, output",
    ]
