import pickle
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io

from affwild_omg.cli.errors import UserError
from affwild_omg.weights import weight_files
from tests.weights.test_vgg_face import (
    TorchWriter,
    make_network,
    numbered,
    write_caffe,
    write_h5,
    write_keras_vggface,
    write_mat,
    write_npz,
    write_torch,
)

NETWORK = make_network()


def refusal(path, message):
    """Checks that the file is refused, in one line that begins so."""
    with pytest.raises(UserError, match=message) as caught:
        weight_files.read(path, flag="--weights")
    assert str(caught.value).startswith(f"--weights={path} ")
    assert "\n" not in str(caught.value)


WRITERS = [write_keras_vggface, write_mat, write_npz, write_caffe, write_torch]


@pytest.mark.parametrize("write", WRITERS)
def test_a_truncated_file(write, tmp_path):
    path = tmp_path / "x"
    write(path, NETWORK)
    content = path.read_bytes()
    for share in (0.999, 0.5, 0.1):
        path.write_bytes(content[: int(share * len(content))])
        refusal(path, "damaged or incomplete|lacks conv")


def test_nothing_there(tmp_path):
    refusal(
        tmp_path / "x", "does not exist; give a model of this project, or VGG"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; it is not a weight file .* or VGG-Face as Oxford's"),
        (pickle.dumps({"conv1_1": [1.0]}), "is a Python pickle"),
        (
            b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1",
            "begins as a Torch 7 file but cannot be read",
        ),
        (b"\n\x12VGG_FACE_16_layers", "is a caffemodel .* with no weights"),
        (b"\nplain text", "begins as a caffemodel or another protocol buffer"),
        (b"\x1f\x8b\x08\0", "is a gzip archive, which may hold the file"),
        (b"\x93NUMPY\x01\0", "is a single NumPy array"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "MATLAB 7.3 .*'-v7'"),
        (b"RIFF1234", r"of an unknown kind \(it begins with b'RIFF1234'\)"),
    ],
)
def test_another_kind_of_file(content, message, tmp_path):
    (tmp_path / "x.h5").write_bytes(content)
    refusal(tmp_path / "x.h5", message)


def test_hdf5_of_something_else(tmp_path):
    path = tmp_path / "x"
    with h5py.File(path, "w") as file:
        file["images"] = np.ones(3)
    refusal(path, "is HDF5 without named Keras layers; it holds images;")
    dense = {f"dense_{i}": {"kernel:0": np.ones((2, 2))} for i in range(7)}
    write_h5(path, {"input_1": {}} | dense, below="model_weights")
    refusal(
        path,
        "is HDF5 with the layers dense_0, dense_1, dense_2, dense_3 and 3 more",
    )


def test_matlab_of_something_else(tmp_path):
    path = tmp_path / "x"
    for content in (
        {"alpha": 1.0, "beta": "text"},
        {"net": {"params": 1.0}},
        {"net": 3.0},
        {"layers": "text"},
    ):
        with path.open("wb") as file:
            scipy.io.savemat(file, content)
        refusal(path, f"is a MATLAB file without .*, this has {min(content)}")


def test_zip_of_something_else(tmp_path):
    path = tmp_path / "x"
    for name, message in (
        ("archive/data.pkl", "is a PyTorch file"),
        ("model.weights.h5", "is a zip archive with model.weights.h5"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"")
        refusal(path, message)
    with path.open("wb") as file:
        np.savez(file, mean=np.ones(3), fc6_W=np.ones((2, 2)))
    refusal(path, "is an .npz of the arrays mean, fc6_W;")


def test_torch_of_something_else(tmp_path):
    path = tmp_path / "x"
    linear = {"class": "nn.Linear", "weight": np.ones((2, 3), "f")}
    for value in (
        {"weight": np.ones(3)},
        {"class": "nn.Sequential", "modules": numbered([linear])},
    ):
        writer = TorchWriter()
        writer.put(value)
        path.write_bytes(writer.out)
        refusal(path, "is a Torch 7 file without VGG-Face's 13 convolutions")
    # A function of Lua, which could run.
    path.write_bytes(b"\x03\0\0\0\x01\0\0\0\x01\0\0\0\x08\0\0\0")
    refusal(path, r"cannot be read.*a value of type 8")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_is_unpickled(tmp_path):
    trap = np.array([Trap(tmp_path / "sprung")], object)
    with (tmp_path / "x").open("wb") as file:
        np.savez(file, conv1_1_W=trap, conv1_1_b=np.ones(1))
    refusal(tmp_path / "x", "damaged or incomplete .*allow_pickle=False")
    (tmp_path / "x").write_bytes(pickle.dumps(trap))
    refusal(tmp_path / "x", "is a Python pickle")
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(trap))  # the trap would work
    assert (tmp_path / "sprung").exists()
