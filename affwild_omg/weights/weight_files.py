"""Weight files from elsewhere, recognised by content and not by name.

Nothing here runs code from a file: all are read as plain arrays, and formats
that need unpickling are refused. The decoders, libhdf5 and
SciPy's, are trusted: a file with a corrupt inner structure may crash them,
though one that ends too early does not.
"""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Sequence

import h5py
import numpy as np
import scipy.io

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.weights import caffe, imagenet, torch7, vgg_face
from affwild_omg.weights.foreign import Source

ACCEPTED = (
    "VGG-Face as Oxford's vgg_face.mat, VGG_FACE.caffemodel or VGG_FACE.t7, as "
    ".h5 of keras-vggface or deepface or as .npz of the caffemodel's blobs, or "
    "ResNet-50 or DenseNet-121 as .h5 of keras.applications"
)


def read(path: os.PathLike | str, *, flag: str = "--init_from") -> Source:
    """Reads a weight file.

    Args:
        path: file of any name; `ACCEPTED` says what may be in it.
        flag: that named it, for messages.

    Raises:
        UserError: it does not exist, is damaged, or is something else.
    """
    path = pathlib.Path(path)
    where = f"{flag}={path}"
    try:
        with path.open("rb") as file:
            head = file.read(128)
    except FileNotFoundError as error:
        raise UserError(
            f"{where} does not exist; give a model of this project, or "
            f"{ACCEPTED}"
        ) from error
    unknown = f"of an unknown kind (it begins with {head[:8]!r})"
    kind, reader = next(
        (x for magic, x in _KINDS.items() if head.startswith(magic)),
        (unknown if head else "empty", None),
    )
    if reader is None:
        raise _other(where, kind)
    try:
        source = reader(path, where)
    except UserError:
        raise
    # The libraries below raise all kinds of errors on broken files.
    except Exception as error:
        raise UserError(
            f"{where} begins as {kind} but cannot be read, so it is damaged or "
            f"incomplete ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:120]}); download it again"
        ) from error
    return dataclasses.replace(
        source, description=f"{path} ({source.description})"
    )


def _read_hdf5(path, where):
    with h5py.File(path, "r") as file:
        layers = _keras_layers(file)
        if not layers:
            kind = "HDF5 without named Keras layers; it holds "
            raise _other(where, kind + listed(list(file)))
        for room in (vgg_face, imagenet):
            if found := room.from_layers(layers, where):
                return found
        weighted = [name for name, arrays in layers.items() if arrays]
        raise _other(where, f"HDF5 with the layers {listed(weighted)}")


def _keras_layers(file):
    """Returns {layer: its arrays, unread} in the model's order.

    There are three layouts: weights alone, with `layer_names` at the top
    (Keras 1 and 2); the same below `model_weights`, in a whole model; and
    `layers` with numbered `vars` that name their layer (Keras 3).
    """
    group = file.get("model_weights", file)
    if "layer_names" in group.attrs:
        return {
            layer: [
                group[layer][weight]
                for weight in _texts(group[layer].attrs["weight_names"])
            ]
            for layer in _texts(group.attrs["layer_names"])
        }
    arrays = [
        layer.get("vars", {}) for layer in file.get("layers", {}).values()
    ]
    return {
        _texts([group.attrs["name"]])[0]: [
            group[str(index)] for index in range(len(group))
        ]
        for group in arrays
        if len(group) and "name" in group.attrs
    }


def _texts(values: Sequence) -> list[str]:
    """Decodes an attribute: bytes in older files, text in newer ones."""
    return [
        value.decode() if isinstance(value, bytes) else str(value)
        for value in values
    ]


def _read_matlab(path, where):
    with path.open("rb") as file:
        content = scipy.io.loadmat(file, simplify_cells=True)
    return vgg_face.from_mat(content, where)


def _read_zip(path, where):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        raise _other(where, "a PyTorch file, a pickle that may run code")
    if not any(name.endswith(".npy") for name in names):
        raise _other(where, f"a zip archive with {listed(names)}")
    with np.load(path, allow_pickle=False) as arrays:
        if found := vgg_face.from_arrays(arrays, where):
            return found
        raise _other(where, f"an .npz of the arrays {listed(arrays.files)}")


def _read_caffe(path, where):
    layers = caffe.read(_bytes_of(path))
    if found := vgg_face.from_caffe(layers, where):
        return found
    held = f"the layers {listed(list(layers))}" if layers else "no weights"
    raise _other(where, f"a caffemodel or protocol buffer with {held}")


def _read_torch(path, where):
    if found := vgg_face.from_torch(torch7.read(_bytes_of(path)), where):
        return found
    raise _other(where, "a Torch 7 file without VGG-Face's 13 convolutions")


def _bytes_of(path):
    """Maps a file of half a gigabyte, of which a tenth is read."""
    return memoryview(np.memmap(path, np.uint8, "r"))


# First bytes of files: what they are, and the reader of what can be used.
_KINDS = {
    b"\x89HDF\r\n\x1a\n": ("HDF5", _read_hdf5),
    b"MATLAB 5.0": ("a MATLAB 5 file", _read_matlab),
    b"PK\x03\x04": ("a zip archive", _read_zip),
    b"\x80": ("a Python pickle", None),
    b"\x93NUMPY": ("a single NumPy array", None),
    b"\x1f\x8b": ("a gzip archive, which may hold the file", None),
    b"MATLAB 7.3": (
        "a MATLAB 7.3 file, which save(..., '-v7') in MATLAB turns into "
        "version 5",
        None,
    ),
    b"<": ("a web page or XML, perhaps instead of a download", None),
    b"version https://git-lfs": ("a Git LFS pointer instead of the file", None),
    # A Torch 7 archive begins with the type of its first object.
    b"\x03\0\0\0": ("a Torch 7 file", _read_torch),
    b"\x04\0\0\0": ("a Torch 7 file", _read_torch),
    # A protocol buffer whose first field is a string: a caffemodel's name.
    b"\n": ("a caffemodel or another protocol buffer", _read_caffe),
}


def _other(where, kind):
    return UserError(
        f"{where} is {kind}; it is not a weight file that can be read here: "
        f"give a model of this project, or {ACCEPTED}"
    )
