import functools
import struct

import h5py
import numpy as np
import pytest
import scipy.io
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from affwild_omg.cli.errors import UserError
from affwild_omg.nets.architectures import VGG_CONVS
from affwild_omg.weights import caffe, torch7, weight_files

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


@functools.cache
def caffe_messages():
    """Makes what is used here of caffe.proto; protobuf does the writing."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto")
    text = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    integer = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
    real = descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT
    double = descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE
    fields = {
        "BlobShape": {"dim": (1, integer, True)},
        "BlobProto": {
            "num": (1, integer, False),
            "channels": (2, integer, False),
            "height": (3, integer, False),
            "width": (4, integer, False),
            "data": (5, real, True),
            "shape": (7, "BlobShape", False),
            "double_data": (8, double, True),
        },
        "V1LayerParameter": {
            "bottom": (2, text, True),
            "name": (4, text, False),
            "type": (5, integer, False),
            "blobs": (6, "BlobProto", True),
            "blobs_lr": (7, real, True),
        },
        "LayerParameter": {
            "name": (1, text, False),
            "type": (2, text, False),
            "blobs": (7, "BlobProto", True),
        },
        "NetParameter": {
            "name": (1, text, False),
            "layers": (2, "V1LayerParameter", True),
            "layer": (100, "LayerParameter", True),
        },
    }
    for name, of_message in fields.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in of_message.items():
            one = message.field.add(name=field, number=number)
            one.label = 3 if repeated else 1
            if isinstance(kind, str):
                one.type, one.type_name = 11, f".{kind}"
            else:
                one.type = kind
                one.options.packed = repeated and kind != text
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {x: message_factory.GetMessageClass(find(x)) for x in fields}


def write_caffe(path, network, *, old=True, data="data", classes=2622):
    net = caffe_messages()["NetParameter"](name="VGG_FACE_16_layers")
    blobs = {k: [x.transpose(3, 2, 0, 1), y] for k, (x, y) in network.items()}
    top = np.ones((classes, 7), "f"), np.ones(classes, "f")
    for name, arrays in (blobs | {"relu1_1": [], "fc8": top}).items():
        layer = (net.layers if old else net.layer).add(name=name)
        if old:
            layer.bottom.append("below")
            layer.type = 4
            layer.blobs_lr.extend([1, 2])
        for array in arrays:
            blob = layer.blobs.add()
            getattr(blob, data).extend(array.ravel().tolist())
            if old:
                shape = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = shape
            else:
                blob.shape.dim.extend(array.shape)
    path.write_bytes(net.SerializeToString())


class TorchWriter:
    """Writes values as Torch 7 does in binary; arrays are tensors."""

    def __init__(self, tensor="Float"):
        self.out, self.count, self.seen, self.kind = b"", 0, {}, tensor

    def number(self):
        self.count += 1
        return struct.pack("<i", self.count)

    def text(self, text):
        self.out += struct.pack("<i", len(text)) + text.encode()

    def put(self, value):
        if value is None:
            self.out += struct.pack("<i", 0)
        elif isinstance(value, bool):
            self.out += struct.pack("<ii", 5, value)
        elif isinstance(value, int | float):
            self.out += struct.pack("<id", 1, value)
        elif isinstance(value, str):
            self.out += struct.pack("<i", 2)
            self.text(value)
        elif isinstance(value, np.ndarray):
            self.tensor(value)
        elif "class" in value:
            self.object(value["class"])
            self.put({k: v for k, v in value.items() if k != "class"})
        else:
            self.out += struct.pack("<i", 3) + self.number()
            self.out += struct.pack("<i", len(value))
            for key, content in value.items():
                self.put(key)
                self.put(content)

    def object(self, name):
        self.out += struct.pack("<i", 4) + self.number()
        self.text("V 1")
        self.text(name)

    def tensor(self, array):
        if id(array) in self.seen:  # by its number alone
            self.out += struct.pack("<i", 4) + self.seen[id(array)]
            return
        self.object(f"torch.{self.kind}Tensor")
        self.seen[id(array)] = struct.pack("<i", self.count)
        kind = {"Float": "<f4", "Double": "<f8"}[self.kind]
        steps = [x // array.itemsize for x in array.strides]
        whole = array if array.base is None else array.base
        numbers = [*array.shape, *steps, 1]
        self.out += struct.pack("<i", array.ndim)
        self.out += struct.pack(f"<{len(numbers)}q", *numbers)
        self.object(f"torch.{self.kind}Storage")
        self.out += struct.pack("<q", whole.size)
        self.out += whole.astype(kind).tobytes()


def write_torch(
    path, network, *, tensor="Float", matrix=False, nested=False, classes=2622
):
    modules = []
    for kernel, bias in network.values():
        weight = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)).copy()
        fields = {"class": "nn.SpatialConvolution", "kW": 3, "kH": 3}
        if matrix:
            fields["class"] += "MM"
            weight = weight.reshape(len(weight), -1).copy()
        fields |= {"weight": weight, "bias": bias, "train": False}
        fields["_again"] = bias  # named, not repeated
        modules += [fields, {"class": "nn.ReLU", "inplace": True, "none": None}]
    linear = {"weight": np.ones((classes, 7), "f"), "bias": np.ones(classes)}
    modules.append({"class": "nn.Linear", "name": "fc8"} | linear)
    if nested:
        first = {"class": "nn.Sequential", "modules": numbered(modules[:6])}
        modules = [first, *modules[6:]]
    writer = TorchWriter(tensor)
    writer.put({"class": "nn.Sequential", "modules": numbered(modules)})
    path.write_bytes(writer.out)


def numbered(values):
    return dict(enumerate(values, start=1))


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
    "caffemodel": (write_caffe, True),
    "newer caffemodel": (partial(write_caffe, old=False), True),
    "caffemodel of doubles": (partial(write_caffe, data="double_data"), True),
    "torch": (write_torch, True),
    "torch of matrices": (partial(write_torch, matrix=True), True),
    "torch of doubles": (partial(write_torch, tensor="Double"), True),
    "nested torch": (partial(write_torch, nested=True), True),
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


@pytest.mark.parametrize("write", [write_caffe, write_torch])
def test_imagenet_s_vgg16_in_their_formats_is_told(write, tmp_path):
    write(tmp_path / "x", make_network(), classes=1000)
    with pytest.raises(UserError, match="1000 classes apart: it is ImageNet's"):
        weight_files.read(tmp_path / "x")


def test_numbers_of_a_caffemodel_may_stand_one_by_one(tmp_path):
    # As a writer without "packed" does: field 5, four bytes, for each number.
    def field(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    numbers = struct.pack("<2f", 1.5, -2.5)
    blob = b"".join(b"\x2d" + numbers[i : i + 4] for i in (0, 4))
    blob += field(7, b"\x08\x02\x08\x01")  # 2x1, not packed, either
    layer = field(4, b"conv") + field(6, blob)
    found = caffe.read(memoryview(field(1, b"net") + field(2, layer)))
    assert list(found) == ["conv"]
    assert found["conv"][0].tolist() == [[1.5], [-2.5]]


def test_a_tensor_is_a_view_of_its_storage():
    writer = TorchWriter()
    whole = np.arange(6, dtype="f").reshape(2, 3)
    writer.put({"turned": whole.T, 3: "three", "flag": True})
    found = torch7.read(memoryview(writer.out))
    np.testing.assert_array_equal(found["turned"], whole.T)
    assert found[3] == "three" and found["flag"] is True
    # One more column than its storage has numbers for.
    three = struct.pack("<q", 3)
    bad = writer.out.replace(three, struct.pack("<q", 4), 1)
    with pytest.raises(ValueError, match="a tensor of the shape"):
        torch7.read(memoryview(bad))
