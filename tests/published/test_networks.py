"""Parameter counts, worked out from the layers' shapes at full size.

A convolution has (places * in + 1) * out parameters, a dense layer (in + 1) *
out, a GRU layer 3 * (in * units + units * units + units).
"""

import collections

import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import PARTS
from affwild_omg.published.networks import NETWORKS, named


def dense(inputs, outputs):
    return (inputs + 1) * outputs


def gru(inputs, units=128):
    return 3 * (inputs * units + units * units + units)


def stack(inputs):
    return gru(inputs) + gru(128)


def vgg(convolutions=13):
    channels = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    return sum(
        dense(9 * channels[i], channels[i + 1]) for i in range(convolutions)
    )


def resnet50():
    # He et al., table 1; convolutions with biases, batch normalisation with
    # four numbers a channel; a unit with another number of channels than
    # the one before has a convolution on its shortcut.
    total, before = dense(49 * 3, 64) + 4 * 64, 64
    for inner, units in [(64, 3), (128, 4), (256, 6), (512, 3)]:
        for _ in range(units):
            outer = 4 * inner
            if before != outer:
                total += dense(before, outer) + 4 * outer
            total += dense(before, inner) + 4 * inner
            total += dense(9 * inner, inner) + 4 * inner
            total += dense(inner, outer) + 4 * outer
            before = outer
    return total


def densenet121():
    # Huang et al., table 1, growth 32; no biases; between blocks a 1x1
    # convolution halves the channels.
    total, channels = 49 * 3 * 64 + 4 * 64, 64
    for block, layers in enumerate([6, 12, 24, 16]):
        for _ in range(layers):
            total += 4 * channels + channels * 128 + 4 * 128 + 9 * 128 * 32
            channels += 32
        if block < 3:
            total += 4 * channels + channels * (channels // 2)
            channels //= 2
    return total + 4 * channels


TAPS = {
    "conv2_1": 48 * 48 * 128,
    "conv2_2": 48 * 48 * 128,
    "pool2": 24 * 24 * 128,
    "conv3_1": 24 * 24 * 256,
    "conv3_2": 24 * 24 * 256,
    "conv3_3": 24 * 24 * 256,
    "conv4_1": 12 * 12 * 512,
    "conv4_2": 12 * 12 * 512,
    "conv5_3": 6 * 6 * 512,
    "pool5": 3 * 3 * 512,
    "fc": 4096,
}
VGG_FC = vgg() + dense(TAPS["pool5"] + 136, 4096)
RESNET_FC = resnet50() + dense(2048 + 136, 1500)
DENSENET_FC = densenet121() + dense(1024 + 136, 1500)


def stacks(*taps):
    return sum(stack(TAPS[tap]) for tap in taps)


def table_5(*taps):
    # A network whose taps are all convolutions ends at the highest of them.
    below = {"conv3_1": vgg(5), "conv4_1": vgg(8), "conv4_2": vgg(9)}
    name = f"cnn_3rnn_{'_'.join(taps)}"
    count = below.get(taps[-1], VGG_FC) + stacks(*taps) + dense(3 * 128, 2)
    return {name: count}


ONE_RNN = VGG_FC + stack(TAPS["pool2"] + TAPS["pool5"] + TAPS["fc"])
TWO_RNN = VGG_FC + stacks("pool5", "fc")
THREE_RNN = VGG_FC + stacks("pool2", "pool5", "fc")
CNN_3RNN = 66_249_538
FUSION_RNN = ONE_RNN + THREE_RNN + gru(4 * 128) + dense(128, 2)
PARAMETERS = {
    "vgg_face": VGG_FC + dense(4096, 2),
    "resnet50": RESNET_FC + dense(1500, 2),
    "densenet121": DENSENET_FC + dense(1500, 2),
    "affwildnet": RESNET_FC + stack(1500) + dense(128, 2),
    "densenet_rnn": DENSENET_FC + stack(1500) + dense(128, 2),
    "cnn_1rnn": ONE_RNN + dense(128, 2),
    "cnn_3rnn": CNN_3RNN,
    "cnn_2rnn": TWO_RNN + dense(256, 2),
    "cnn2_to_1rnn": VGG_FC + stack(4608 + 4096) + dense(128, 2),
    "cnn_2rnn_1fc": TWO_RNN + dense(256, 128) + dense(128, 2),
    "cnn_3rnn_1fc": THREE_RNN + dense(384, 128) + dense(128, 2),
    **table_5("conv4_1", "pool5", "fc"),
    **table_5("conv3_1", "pool5", "fc"),
    **table_5("conv2_1", "conv3_3", "fc"),
    **table_5("conv5_3", "pool5", "fc"),
    **table_5("conv3_2", "conv3_3", "conv4_1"),
    **table_5("conv3_3", "conv4_1", "conv4_2"),
    **table_5("conv2_1", "conv2_2", "conv3_1"),
    "model_fusion_rnn": FUSION_RNN,
    "model_fusion_fc": ONE_RNN + THREE_RNN + dense(512, 128) + dense(128, 2),
}

# The paper's ablations: (row, what differs, parameters). An encoder replaces
# the 136 numbers of the landmarks.
ABLATIONS = {
    "no landmarks": (
        "cnn_3rnn",
        {"landmarks": False},
        CNN_3RNN - 136 * 4096,
    ),
    "fusion, no landmarks": (
        "model_fusion_rnn",
        {"landmarks": False},
        FUSION_RNN - 2 * 136 * 4096,
    ),
    "landmark encoder": (
        "cnn_3rnn",
        {"landmark_units": 512},
        CNN_3RNN + dense(136, 512) + (512 - 136) * 4096,
    ),
    "valence alone": ("cnn_3rnn", {"targets": ("valence",)}, CNN_3RNN - 385),
    "cudnn": ("cnn_3rnn", {"gru": "cudnn"}, 66_251_842),
    "fusion, cudnn": (
        "model_fusion_rnn",
        {"gru": "cudnn"},
        # A second bias of 3 * 128 in each of nine layers.
        FUSION_RNN + 9 * 384,
    ),
    "one GRU layer": ("cnn_3rnn", {"depth": 1}, CNN_3RNN - 3 * gru(128)),
    "three GRU layers": (
        "cnn2_to_1rnn",
        {"depth": 3},
        PARAMETERS["cnn2_to_1rnn"] + gru(128),
    ),
    "averaged pool alone, on TF-Slim's ResNet-50": (
        "affwildnet",
        {"backbone": "resnet50_slim", "taps": ("pool",)},
        # Its convolutions have no biases: of each stage 6 * inner a unit and
        # 4 * inner on the shortcut.
        resnet50()
        - (64 + 22 * 64 + 28 * 128 + 40 * 256 + 22 * 512)
        + stack(2048)
        + dense(128, 2),
    ),
}
COUNTED = {
    **{name: (name, {}, count) for name, count in PARAMETERS.items()},
    **ABLATIONS,
}


def parameters(architecture):
    """Counts parameters of each part from shapes; networks fill gigabytes."""
    import keras

    from affwild_omg.nets import models, parts

    sizes = collections.Counter()
    with keras.StatelessScope(initialize_variables=False):
        network = models.build(architecture)
        for name, layer in parts.named_layers(network).items():
            sizes[parts.part_of(name)] += layer.count_params()
    # Forgets what was never initialised.
    keras.backend.clear_session(free_memory=False)
    return sizes


def test_every_row_is_counted():
    assert PARAMETERS == {
        name: row.parameters for name, row in NETWORKS.items()
    }


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_at_full_size(tf, name):
    row, overrides, expected = COUNTED[name]
    assert parameters(named(row, **overrides)).total() == expected


def test_parameters_of_the_parts_of_cnn_3rnn(tf):
    assert parameters(named("cnn_3rnn")) == {
        "cnn": 14_714_688,
        "fc": 19_435_520,
        "rnn": 32_098_560,
        "output": 770,
    }
    assert set(PARTS) == {"cnn", "fc", "rnn", "output"}


def test_the_stack_of_one_tap_is_named_after_it():
    """A CNN-3RNN can then start from an AffWildNet."""
    for name in ("affwildnet", "densenet_rnn"):
        assert named(name).recurrence == "per_tap"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cnn_9rnn"}, "cnn_3rnn.*not 'cnn_9rnn'"),
        (
            {"name": "vgg_face", "units": 3},
            "units changes nothing in vgg_face with taps fc and recurrence no",
        ),
        (
            {"name": "cnn_3rnn", "taps": ["pool5"], "landmarks": False},
            "landmarks changes nothing in cnn_3rnn with taps pool5 and rec",
        ),
        (
            {"name": "cnn_3rnn", "members": ["vgg_face"]},
            "members is for model_fusion_rnn and model_fusion_fc; cnn_3rnn is",
        ),
        ({"name": "cnn_3rnn", "fusion_units": 3}, "fusion_units is for model"),
        (
            {"name": "model_fusion_fc", "head_units": 0, "members": ["cnn"]},
            "not 'cnn'",
        ),
        (
            {
                "name": "model_fusion_fc",
                "units": 3,
                "members": [NETWORKS["vgg_face"].architecture] * 2,
            },
            "units changes no member of this fusion",
        ),
    ],
)
def test_what_is_not_a_network_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        named(**arguments)


def test_overrides_change_members_given_by_name():
    fixed = NETWORKS["cnn_2rnn"].architecture
    fusion = named(
        "model_fusion_rnn",
        members=["cnn2_to_1rnn", fixed],
        units=5,
        gru="cudnn",
        fusion_units=7,
    )
    changed = named("cnn2_to_1rnn", units=5, gru="cudnn")
    assert fusion.members == (changed, fixed)
    assert (fusion.gru, fusion.fusion_units) == ("cudnn", 7)
    own = named("model_fusion_rnn", units=5).members
    assert own == (named("cnn_1rnn", units=5), named("cnn_3rnn", units=5))
