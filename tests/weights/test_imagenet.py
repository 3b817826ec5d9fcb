import h5py
import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.weights import imagenet, weight_files

# keras.applications' "caffe" and "torch", in the kernel's order of channels.
CAFFE = np.array([103.939, 116.779, 123.68])
TORCH = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
EPSILON = 1.001e-5  # of keras.applications' batch normalisation
TOP = {"predictions": [np.ones((5, 7), "f"), np.ones(7, "f")]}


def make_layers(backbone, seed=0):
    """Makes {layer: arrays} of few channels."""
    random = np.random.default_rng(seed)
    layers, channels = {}, 2
    for name, variables in imagenet.LAYERS[backbone].items():
        if "kernel" in variables:
            size = (7, 7, 3) if name == "conv1_conv" else (1, 1, channels)
            channels = 1 + (channels + 1) % 5
            layers[name] = [random.normal(size=(*size, channels))]
            layers[name] += [random.normal(size=channels)] * (
                len(variables) - 1
            )
        else:
            layers[name] = list(random.uniform(0.5, 2, (4, channels)))
    return {
        name: [array.astype("f") for array in arrays]
        for name, arrays in layers.items()
    }


def write_legacy(path, layers, *, slashes=False, below="/"):
    """Writes Keras' legacy layout; `slashes` as Keras 2 named DenseNet's."""
    variables = {2: ("kernel", "bias"), 1: ("kernel",)}
    variables[4] = ("gamma", "beta", "moving_mean", "moving_variance")
    with h5py.File(path, "w") as file:
        group = file.require_group(below)
        renamed = {
            name.replace("conv1_", "conv1/", 1)
            if slashes and name.startswith("conv1_")
            else name: arrays
            for name, arrays in ({"input_1": []} | layers).items()
        }
        # As Keras did: arrays of bytes of one length, floats where empty.
        group.attrs["layer_names"] = np.array([n.encode() for n in renamed])
        for name, arrays in renamed.items():
            layer = group.create_group(name)
            weights = [
                f"{name}/{variable}:0"
                for variable in variables.get(len(arrays), ())
            ]
            layer.attrs["weight_names"] = np.array(
                [weight.encode() for weight in weights]
            )
            for weight, array in zip(weights, arrays, strict=True):
                layer[weight] = array


def convolve(padded, kernel):
    """A 7x7 convolution of stride 2 without padding, tap by tap."""
    height, width = (np.array(padded.shape[:2]) - 7) // 2 + 1
    return sum(
        padded[y : y + 2 * height : 2, x : x + 2 * width : 2]
        @ kernel[y, x].astype(float)
        for y in range(7)
        for x in range(7)
    )


def pad(image, value=0.0):
    return np.pad(image, [(3, 3), (3, 3), (0, 0)], constant_values=value)


def preprocessed(image, backbone):
    x = image.astype(float)
    if backbone == "resnet50":
        return x[..., ::-1] - CAFFE
    return (x / 255 - TORCH[0]) / TORCH[1]


def grey(backbone):
    """What mid-grey is after preprocessing, where padding is zero."""
    return preprocessed(np.full((1, 1, 3), 128), backbone)[0, 0]


def stem(x, kernel, bias, normalisation):
    """The first convolution on a padded image, and batch normalisation."""
    gamma, beta, mean, variance = (
        array.astype(float) for array in normalisation
    )
    x = convolve(x, kernel) + bias
    return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta


def trained_stem(image, layers, backbone):
    kernel, *bias = layers["conv1_conv"]
    return stem(
        pad(preprocessed(image, backbone)),
        kernel,
        bias[0] if bias else 0.0,
        layers["conv1_bn"],
    )


def folded_stem(image, weights):
    return stem(
        pad((image.astype(float) - 128) / 128),
        weights["conv1_conv/kernel"],
        weights.get("conv1_conv/bias", 0.0),
        [
            weights[f"conv1_bn/{variable}"]
            for variable in ("gamma", "beta", "moving_mean", "moving_variance")
        ],
    )


def close(a, b):
    return np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).integers(0, 256, (96, 96, 3), np.uint8)


@pytest.mark.parametrize("backbone", ["resnet50", "densenet121"])
@pytest.mark.parametrize(
    "options",
    [{}, {"slashes": True}, {"below": "model_weights"}, {"top": True}],
)
def test_the_first_layers_give_the_trained_output(
    backbone, options, tmp_path, image
):
    layers = make_layers(backbone)
    top = TOP if options.pop("top", False) else {}
    write_legacy(tmp_path / "x", layers | top, **options)
    read = weight_files.read(tmp_path / "x")
    assert read.backbone == backbone

    expected = trained_stem(image, layers, backbone)
    result = folded_stem(image, read.weights)
    assert expected.shape[:2] == (48, 48)
    assert close(result[2:-1, 2:-1], expected[2:-1, 2:-1])
    # At the edge, by just as much as the module says, and noticeably.
    outside = pad(np.zeros((96, 96, 1)), 1.0) * grey(backbone)
    gamma, _, _, variance = layers["conv1_bn"]
    difference = convolve(outside, layers["conv1_conv"][0])
    difference = difference * gamma / np.sqrt(variance + EPSILON)
    assert close(result - difference, expected)
    assert not difference[2:-1, 2:-1].any()
    ring = np.ones((48, 48), bool)
    ring[2:-1, 2:-1] = False
    assert difference[ring].any(axis=-1).all()

    changed = {"conv1_conv/kernel"} | (
        {"conv1_conv/bias"}
        if backbone == "resnet50"
        else {"conv1_bn/moving_mean"}
    )
    names = []
    for name, variables in imagenet.LAYERS[backbone].items():
        for variable, array in zip(variables, layers[name], strict=True):
            names.append(f"{name}/{variable}")
            assert read.weights[names[-1]].dtype == np.float32
            same = np.array_equal(read.weights[names[-1]], array)
            assert same == (names[-1] not in changed)
    assert list(read.weights) == names


@pytest.mark.parametrize("backbone", ["resnet50", "densenet121"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"bgr": None},  # the other order
        {"mean": (0.0, 0.0, 0.0)},
        {"mean": (128.0, 128.0, 128.0)},
        {"scale": (3.0, 3.0, 3.0)},
    ],
)
def test_wrong_preprocessing_would_be_seen(
    backbone, wrong, monkeypatch, tmp_path, image
):
    right = imagenet.PREPROCESSING[backbone]
    if "bgr" in wrong:
        wrong = {"bgr": not right.bgr}
    layers = make_layers(backbone)
    write_legacy(tmp_path / "x", layers)
    expected = trained_stem(image, layers, backbone)
    monkeypatch.setitem(
        imagenet.PREPROCESSING,
        backbone,
        type(right)(**vars(right) | wrong),
    )
    result = folded_stem(image, weight_files.read(tmp_path / "x").weights)
    assert not close(result[2:-1, 2:-1], expected[2:-1, 2:-1])


def make_application(backbone):
    """Makes keras.applications' network, as if trained."""
    import keras

    make = {
        "resnet50": keras.applications.ResNet50,
        "densenet121": keras.applications.DenseNet121,
    }[backbone]
    keras.utils.set_random_seed(1)
    model = make(weights=None, include_top=False, input_shape=(96, 96, 3))
    random = np.random.default_rng(2)
    for layer in model.layers:
        for variable in layer.weights:
            if variable.name in ("bias", "beta", "moving_mean"):
                variable.assign(random.normal(size=variable.shape))
            elif variable.name == "moving_variance":
                variable.assign(random.uniform(0.5, 2, variable.shape))
    return model


@pytest.mark.parametrize("backbone", ["resnet50", "densenet121"])
def test_a_whole_network_gives_the_trained_features(
    backbone, tf, tmp_path, image
):
    import keras

    model = make_application(backbone)
    model.save(tmp_path / "x.h5")
    model.save_weights(tmp_path / "x.weights.h5")
    weights = weight_files.read(tmp_path / "x.h5").weights
    variables = {
        f"{layer.name}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.weights
    }
    assert {name: array.shape for name, array in weights.items()} == {
        name: variable.shape for name, variable in variables.items()
    }
    as_in_keras_3 = weight_files.read(tmp_path / "x.weights.h5").weights
    assert as_in_keras_3.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(as_in_keras_3[name], array)

    # Keras' own preprocessing is the reference.
    module = getattr(keras.applications, backbone.replace("121", ""))
    x = module.preprocess_input(image[None].astype("float32"))
    expected = np.array(model(x, training=False))
    # From the padded image on: its edge is then the mean colour, as it was in
    # training, and the rest of the network must agree everywhere.
    from_padded = keras.Model(model.get_layer("conv1_conv").input, model.output)
    padded = np.full((1, 102, 102, 3), 255 * TORCH[0], np.float32)
    if backbone == "resnet50":
        padded[:] = CAFFE[::-1]
    padded[:, 3:-3, 3:-3] = image
    padded = (padded - 128) / 128
    unfolded = np.array(from_padded(padded, training=False))
    for name, variable in variables.items():
        variable.assign(weights[name])
    result = np.array(from_padded(padded, training=False))

    largest = np.abs(expected).max()
    assert np.std(expected) > 0.01 * largest
    assert np.abs(result - expected).max() < 1e-3 * largest
    assert np.abs(unfolded - expected).max() > 1e-2 * largest


def test_another_resnet_is_told(tmp_path):
    layers = make_layers("resnet50")
    layers["conv4_block7_1_conv"] = layers["conv4_block6_1_conv"]
    write_legacy(tmp_path / "x", layers)
    with pytest.raises(
        UserError, match="HDF5 with the layers conv1_conv, .* and 103 more"
    ):
        weight_files.read(tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("conv1_conv", [np.ones((3, 3, 3, 4))] * 2, "conv1_conv has"),
        (
            "conv1_conv",
            [np.ones((3, 3, 3, 4)), np.ones(4)],
            r"conv1_conv has the shape \(3, 3, 3, 4\)",
        ),
        (
            "conv2_block1_1_conv",
            [np.ones((1, 1, 3, 4))],
            "conv2_block1_1_conv has the shapes .* kernel, bias",
        ),
        (
            "conv3_block1_2_bn",
            [np.ones(4), np.ones(4), np.ones(4), np.ones(5)],
            "conv3_block1_2_bn has the shapes .* moving_variance",
        ),
        (
            "conv3_block1_2_bn",
            [np.ones(4), np.ones(4), np.full(4, np.inf), np.ones(4)],
            "conv3_block1_2_bn/moving_mean has values",
        ),
    ],
)
def test_a_broken_network_is_told(name, arrays, message, tmp_path):
    path = tmp_path / "x"
    write_legacy(path, make_layers("resnet50") | {name: arrays})
    with pytest.raises(UserError, match=f"^--init_from={path}.*{message}"):
        weight_files.read(path)
