import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.weights import imagenet, weight_files

MEAN = {  # of keras.applications' "caffe" and "torch", in R, G, B
    "resnet50": (123.68, 116.779, 103.939),
    "densenet121": (255 * 0.485, 255 * 0.456, 255 * 0.406),
}


@pytest.fixture(scope="module", params=["resnet50", "densenet121"])
def backbone(request, tf):
    return request.param


@pytest.fixture(scope="module")
def model(backbone):
    """A network of keras.applications with random statistics and biases."""
    import keras

    name = {"resnet50": "ResNet50", "densenet121": "DenseNet121"}[backbone]
    keras.utils.set_random_seed(1)
    model = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(96, 96, 3)
    )
    random = np.random.default_rng(2)
    for variable in model.weights:
        if variable.name in ("bias", "beta", "moving_mean"):
            variable.assign(random.normal(size=variable.shape))
        elif variable.name == "moving_variance":
            variable.assign(random.uniform(0.5, 2, variable.shape))
    return model


@pytest.fixture(scope="module")
def layers(model):
    return {layer.name: layer.get_weights() for layer in model.layers}


@pytest.fixture(scope="module")
def weights(layers):
    return imagenet.from_layers(layers, "").weights


def test_a_whole_network_gives_the_trained_features(backbone, model, weights):
    import keras

    image = np.random.default_rng(1).integers(0, 256, (1, 96, 96, 3), np.uint8)
    # Keras' own preprocessing is the reference.
    module = getattr(keras.applications, backbone.replace("121", ""))
    x = module.preprocess_input(image.astype("float32"))
    expected = np.array(model(x, training=False))
    largest = np.abs(expected).max()
    assert np.std(expected) > 0.01 * largest
    # The networks are compared from the padded image on, whose edge is the
    # mean colour, as in training; then they agree everywhere.
    from_padded = keras.Model(model.get_layer("conv1_conv").input, model.output)
    padded = np.empty((1, 102, 102, 3), np.float32)
    padded[:] = MEAN[backbone]
    padded[:, 3:-3, 3:-3] = image
    trained = model.get_weights()

    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(weights[f"{layer.name}/{variable.name}"])
    result = from_padded((padded - 128) / 128, training=False)
    assert np.abs(result - expected).max() < 1e-5 * largest
    model.set_weights(trained)


@pytest.mark.parametrize("layout", ["h5", "weights.h5"])
def test_a_file_gives_every_weight_by_its_name(
    backbone, model, weights, tmp_path, layout
):
    path = tmp_path / f"x.{layout}"
    (model.save if layout == "h5" else model.save_weights)(path)
    read = weight_files.read(path)
    assert read.architecture.backbone == backbone
    changed = {
        "conv1_conv/kernel",
        "conv1_conv/bias" if backbone == "resnet50" else "conv1_bn/moving_mean",
    }
    expected = {
        f"{layer.name}/{variable.name}": variable.numpy()
        for layer in model.layers
        for variable in layer.weights
    }
    assert read.weights.keys() == expected.keys()
    for name, array in read.weights.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, expected[name]) == (name not in changed)
        np.testing.assert_array_equal(array, weights[name])


def test_names_of_keras_2_and_a_top_make_no_difference(layers, weights):
    renamed = {
        name.replace("conv1_", "conv1/", 1)
        if name.startswith("conv1_")
        else name: arrays
        for name, arrays in layers.items()
    }
    top = {"predictions": [np.ones((5, 7), "f"), np.ones(7, "f")]}
    again = imagenet.from_layers(renamed | top, "").weights
    assert again.keys() == weights.keys()
    for name, array in again.items():
        np.testing.assert_array_equal(array, weights[name])


def test_another_resnet_is_refused(tf):
    layers = {  # of ones, which take no memory
        name: [np.broadcast_to(np.float32(1), x) for x in shapes.values()]
        for name, shapes in imagenet.shapes_of("resnet50").items()
    }
    deeper = layers | {"conv4_block7_1_conv": layers["conv4_block6_1_conv"]}
    with pytest.raises(UserError, match="has conv4_block7_1_conv, which resne"):
        imagenet.from_layers(deeper, "--x=y")
    unbiased = layers | {"conv2_block1_1_conv": [np.ones((1, 1, 64, 64))]}
    with pytest.raises(UserError, match=r"\(1, 1, 64, 64\) instead of .*bias"):
        imagenet.from_layers(unbiased, "--x=y")
