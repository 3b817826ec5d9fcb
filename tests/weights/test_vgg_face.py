import functools

import h5py
import numpy as np
import pytest
import scipy.io

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import VGG_CONVS
from affwild_omg.weights import weight_files

CHANNELS = (4, 4, 8, 8, *[16] * 3, *[32] * 6)  # of the 13 convolutions
# As Oxford's demo and keras-vggface give it.
MEAN_RGB = np.array([129.1863, 104.7624, 93.5940])


def make_network():
    """Makes {name: (kernel, bias)} in HWIO, as trained somewhere."""
    random = np.random.default_rng(0)
    network, inputs = {}, 3
    for name, outputs in zip(VGG_CONVS, CHANNELS, strict=True):
        network[name] = (
            random.normal(size=(3, 3, inputs, outputs)).astype("f"),
            random.normal(size=outputs).astype("f"),
        )
        inputs = outputs
    return network


def write_mat(
    path, network, *, struct=True, fields="weights", average=MEAN_RGB
):
    """Writes MatConvNet's layout."""
    layers = []
    for name, (kernel, bias) in network.items():
        layer = {"name": name, "type": "conv", "stride": 1.0, "pad": 1.0}
        if fields == "weights":
            cell = np.empty((1, 2), object)
            cell[0, 0], cell[0, 1] = kernel, bias[:, None]
            layer["weights"] = cell
        else:
            layer["filters"], layer["biases"] = kernel, bias[None]
        layers += [layer, {"name": f"relu{name[4:]}", "type": "relu"}]
    fc6 = {"name": "fc6", "type": "conv", "filters": np.ones((7, 7, 7, 9), "f")}
    fc6["biases"] = np.ones((1, 9), "f")
    layers.append(fc6)
    cell = np.empty((1, len(layers)), object)
    cell[0] = layers
    normalization = {"imageSize": [224.0, 224.0, 3.0]}
    if average is not None:
        normalization["averageImage"] = average.astype("f")
    normalization = {"normalization": normalization}
    if struct:
        content = {"net": {"layers": cell} | normalization}
    else:
        content = {"layers": cell, "meta": normalization}
    with path.open("wb") as file:  # given a path, it would add ".mat"
        scipy.io.savemat(file, content)


def write_h5(path, layers, below="/"):
    """Writes Keras' legacy layout: {layer: {weight: array}}, in this order."""
    with h5py.File(path, "w") as file:
        group = file.require_group(below)
        # As Keras did: arrays of bytes of one length, floats where empty.
        group.attrs["layer_names"] = np.array([n.encode() for n in layers])
        group.attrs["backend"] = b"tensorflow"
        group.attrs["keras_version"] = b"2.0.8"
        for name, weights in layers.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = np.array(
                [weight.encode() for weight in weights]
            )
            for weight, array in weights.items():
                layer[weight] = array


def write_keras_vggface(path, network, top=()):
    layers = {"input_1": {}}
    for name, (kernel, bias) in network.items():
        layers[name] = {f"{name}/kernel:0": kernel, f"{name}/bias:0": bias}
        if name == "conv1_2":
            layers["pool1"] = {}
    for name in top:
        layers[name] = {
            f"{name}/kernel:0": np.ones((7, 7), "f"),
            f"{name}/bias:0": np.ones(7, "f"),
        }
    write_h5(path, layers)


def write_deepface(path, network, kind="conv2d", below="/"):
    layers, count = {}, 0
    shapes = {"fc6": (7, 7, 7, 9), "fc7": (1, 1, 9, 9), "fc8": (1, 1, 9, 11)}
    convolutions = list(network.values()) + [
        (np.ones(shape, "f"), np.ones(shape[-1], "f"))
        for shape in shapes.values()
    ]
    for kernel, bias in convolutions:
        count += 1
        name = f"{kind}_{count}"
        if kernel.shape[0] == 3:
            layers[f"zero_padding2d_{count}"] = {}
        layers[name] = {f"{name}/kernel:0": kernel, f"{name}/bias:0": bias}
    layers["flatten_1"] = layers["activation_1"] = {}
    write_h5(path, layers, below)


def write_npz(path, network, names="{}_W {}_b", order=(3, 2, 0, 1)):
    """Writes blobs, Caffe's way (OIHW) unless another order is given."""
    arrays = {"fc6_W": np.ones((9, 7), "f"), "fc6_b": np.ones(9, "f")}
    for name, (k, b) in network.items():
        kernel, bias = names.replace("{}", name).split()
        arrays |= {kernel: k.transpose(order), bias: b}
    with path.open("wb") as file:
        np.savez(file, **arrays)


def write_old_npz(path, network):
    """Writes biases of four axes, as old versions of Caffe did."""
    for name, (kernel, bias) in network.items():
        network = network | {name: (kernel, bias[None, None, None])}
    write_npz(path, network)


partial = functools.partial
WRITERS = {  # how each file is written, and whether its colours are BGR
    "oxford mat": (write_mat, False),
    "matconvnet mat": (
        partial(write_mat, struct=False, average=MEAN_RGB[None, None]),
        False,
    ),
    "old mat": (partial(write_mat, fields="filters", average=None), False),
    "keras-vggface": (
        partial(write_keras_vggface, top=("fc6", "fc7", "fc8")),
        True,
    ),
    "keras-vggface notop": (write_keras_vggface, True),
    "deepface": (write_deepface, True),
    "deepface model": (
        partial(write_deepface, kind="convolution2d", below="model_weights"),
        True,
    ),
    "npz": (write_npz, True),
    "npz of dots": (partial(write_npz, names="x.{}.weight x.{}.bias"), True),
    "npz of numbers": (partial(write_npz, names="{}_0 {}_1"), True),
    "npz of an old Caffe": (write_old_npz, True),
    "npz in HWIO": (partial(write_npz, order=(0, 1, 2, 3)), True),
}


def convolve(padded, kernel):
    """Convolves without padding, tap by tap."""
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    return sum(
        padded[y : y + height, x : x + width] @ kernel[y, x].astype(float)
        for y in range(3)
        for x in range(3)
    )


def pad(image, value=0.0):
    return np.pad(image, [(1, 1), (1, 1), (0, 0)], constant_values=value)


def trained(image, network, bgr):
    """conv1_1 as the file's own framework computes it, before the ReLU."""
    kernel, bias = network["conv1_1"]
    x = image.astype(float)
    x = x - MEAN_RGB
    if bgr:
        x = x[:, :, ::-1]
    return convolve(pad(x), kernel) + bias


def folded(image, weights):
    """conv1_1 as this project's networks compute it."""
    x = (image.astype(float) - 128) / 128
    kernel = weights["conv1_1/kernel"]
    return convolve(pad(x), kernel) + weights["conv1_1/bias"]


def close(a, b):
    return np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


@pytest.fixture(scope="module")
def image():
    random = np.random.default_rng(1)
    return random.integers(0, 256, (12, 17, 3), np.uint8)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_file_gives_the_trained_output(kind, tmp_path, image):
    write, bgr = WRITERS[kind]
    network = make_network()
    path = tmp_path / "weights"
    write(path, network)
    read = weight_files.read(path)
    assert read.architecture.backbone == "vgg_face"
    assert read.description.startswith(f"{path} (VGG-Face, ")
    assert ("BGR" in read.description) == bgr
    assert list(read.weights) == [
        f"{name}/{variable}"
        for name in VGG_CONVS
        for variable in ("kernel", "bias")
    ]
    assert all(array.dtype == np.float32 for array in read.weights.values())

    expected = trained(image, network, bgr)
    result = folded(image, read.weights)
    assert close(result[1:-1, 1:-1], expected[1:-1, 1:-1])
    # At the edge it differs exactly as the module says, and noticeably: zero
    # padding is mid-grey there instead of the mean colour.
    grey = 128 - (MEAN_RGB[::-1] if bgr else MEAN_RGB)
    outside = pad(np.zeros((*image.shape[:2], 1)), 1.0) * grey
    difference = convolve(outside, network["conv1_1"][0])
    assert close(result - difference, expected)
    assert not difference[1:-1, 1:-1].any()
    ring = np.ones(image.shape[:2], bool)
    ring[1:-1, 1:-1] = False
    assert (np.abs(difference[ring]).max(axis=-1) > 1).all()

    for name in VGG_CONVS[1:]:
        kernel, bias = network[name]
        np.testing.assert_array_equal(read.weights[f"{name}/kernel"], kernel)
        np.testing.assert_array_equal(read.weights[f"{name}/bias"], bias)


def test_the_mat_s_own_average_counts(tmp_path, image):
    random = np.random.default_rng(2)
    average = random.uniform(80, 140, (9, 8, 3))
    network = make_network()
    write_mat(tmp_path / "x", network, average=average)
    weights = weight_files.read(tmp_path / "x").weights
    kernel, bias = network["conv1_1"]
    colour = [average[..., channel].mean() for channel in range(3)]
    expected = convolve(image - np.array(colour), kernel) + bias
    assert close(folded(image, weights)[1:-1, 1:-1], expected)


GOOD = make_network()
BAD_NETWORKS = {
    "lacks conv5_3, which vgg_face has": dict(list(GOOD.items())[:-1]),
    "has conv3_4, which vgg_face does not have": GOOD
    | {"conv3_4": GOOD["conv3_3"]},
    r"conv2_1 has the shapes \(3, 3, 3, 5\), \(5,\) instead of .* 4, 8\)": GOOD
    | {"conv2_1": (np.ones((3, 3, 3, 5), "f"), np.ones(5, "f"))},
    r"conv1_1 has the shapes \(3, 3, 3, 4\), \(5,\)": GOOD
    | {"conv1_1": (np.ones((3, 3, 3, 4), "f"), np.ones(5, "f"))},
    "conv4_2/bias has values that are not finite": GOOD
    | {"conv4_2": (GOOD["conv4_2"][0], np.full(32, np.nan, "f"))},
}


@pytest.mark.parametrize("message", BAD_NETWORKS)
def test_a_broken_network_is_refused(message, tmp_path):
    path = tmp_path / "weights"
    write_keras_vggface(path, BAD_NETWORKS[message])
    with pytest.raises(UserError, match=f"^--weights={path}.*{message}"):
        weight_files.read(path, flag="--weights")


def test_imagenet_s_vgg16_is_not_taken_for_deepface_s(tmp_path):
    layers = {
        f"block{name[4]}_conv{name[6]}": {"kernel": kernel, "bias": bias}
        for name, (kernel, bias) in make_network().items()
    }
    for name in ("fc1", "fc2", "predictions"):
        layers[name] = {"kernel": np.ones((7, 7)), "bias": np.ones(7)}
    write_h5(tmp_path / "x", layers)
    with pytest.raises(UserError, match="HDF5 with the layers block1_conv1"):
        weight_files.read(tmp_path / "x")
