"""Weight files from elsewhere: told by what is in them, not by their names.

Nothing here runs code from a file: HDF5, MATLAB 5 and .npz are read as plain
arrays, and formats that need unpickling are refused. The decoders themselves,
libhdf5 and scipy's, are trusted: a file with spoilt inner structure, other
than one that ends too early, may still crash them.
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
from affwild_omg.weights import imagenet, vgg_face

ACCEPTED = (
    "VGG-Face as Oxford's vgg_face.mat, as .h5 of keras-vggface or deepface or "
    "as .npz of the caffemodel's blobs, or ResNet-50 or DenseNet-121 as .h5 "
    "of keras.applications"
)
_IMAGENET = {
    "resnet50": "ImageNet ResNet-50, keras.applications .h5 (BGR, folded)",
    "densenet121": (
        "ImageNet DenseNet-121, keras.applications .h5 (RGB, folded)"
    ),
}
# How files begin that are taken for weight files, or sent along with them.
_OTHERS = {
    b"\x80": "a Python pickle",
    b"\x93NUMPY": "a single NumPy array",
    b"\x1f\x8b": "a gzip archive, which may hold the file",
    b"MATLAB 7.3": (
        "a MATLAB 7.3 file, which MATLAB turns into version 5 by save(..., "
        "'-v7')"
    ),
    b"<": "a web page or XML, perhaps in place of a download",
    b"version https://git-lfs": "a Git LFS pointer in place of the file",
    # A Torch 7 archive begins with the type of its first object.
    b"\x03\0\0\0": "a Torch 7 file",
    b"\x04\0\0\0": "a Torch 7 file",
    # A protocol buffer whose first field is a string: a caffemodel's name.
    b"\n": "a caffemodel or another protocol buffer",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightFile:
    """What a weight file gives to a network.

    Attributes:
        description: one line that says what was read, and how.
        backbone: a key of `architectures.BACKBONES`.
        weights: {"<layer>/<variable>": float32 array}, in the names of the
            backbone's layers; made for frames as (x - 128) / 128 in RGB.
    """

    description: str
    backbone: str
    weights: dict[str, np.ndarray]


def read(path: os.PathLike | str, *, flag: str = "--init_from") -> WeightFile:
    """Reads a weight file.

    Args:
        path: file of any name; `ACCEPTED` says what may be in it.
        flag: that named it, for messages.

    Raises:
        UserError: it does not exist, can't be read, is damaged, or is
            something else.
    """
    path = pathlib.Path(path)
    where = f"{flag}={path}"
    if path.is_dir():
        raise UserError(f"{where} is a folder; give a weight file: {ACCEPTED}")
    try:
        with path.open("rb") as file:
            head = file.read(128)
    except FileNotFoundError as error:
        raise UserError(
            f"{where} does not exist; give a model of this project, or "
            f"{ACCEPTED}"
        ) from error
    except OSError as error:
        raise UserError(f"{where} can't be read: {error.strerror}") from error
    kind, reader = _begins(head, _READERS) or (None, None)
    if reader is None:
        kind = _begins(head, _OTHERS) if head else "empty"
        raise _other(
            where, kind or f"of an unknown kind (it begins with {head[:8]!r})"
        )
    try:
        weight_file = reader(path, where)
    except UserError:
        raise
    # Broken files fail in whatever way the libraries below run into.
    except Exception as error:
        raise UserError(
            f"{where} begins as {kind} but can't be read, so it is damaged or "
            f"incomplete ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:120]}); fetch it again"
        ) from error
    for name, array in weight_file.weights.items():
        if not np.isfinite(array).all():
            raise UserError(
                f"{where}: {name} has values that are no numbers; the file is "
                "damaged or of a training that failed, use another"
            )
    return weight_file


def _read_hdf5(path, where):
    with h5py.File(path, "r") as file:
        layers = _keras_layers(file)
        if found := vgg_face.from_layers(layers, where):
            description, weights = found
            return WeightFile(
                description=description, backbone="vgg_face", weights=weights
            )
        if found := imagenet.from_layers(layers, where):
            backbone, weights = found
            return WeightFile(
                description=_IMAGENET[backbone],
                backbone=backbone,
                weights=weights,
            )
        if not layers:
            raise _other(
                where,
                "HDF5 without Keras layers by name; it holds "
                + listed(list(file)),
            )
        weighted = [name for name, arrays in layers.items() if arrays]
        raise _other(where, f"HDF5 with the layers {listed(weighted)}")


def _keras_layers(file):
    """Lists the arrays of each layer, in the model's order, unread.

    Three layouts: weights alone, with `layer_names` at the top (Keras 1 and
    2); the same below `model_weights`, in a whole model; and `layers` with
    numbered `vars` that name their layer (Keras 3).
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
    description, weights = vgg_face.from_mat(content, where)
    return WeightFile(
        description=description, backbone="vgg_face", weights=weights
    )


def _read_zip(path, where):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        raise _other(where, "a PyTorch file, a pickle that may run code")
    if not any(name.endswith(".npy") for name in names):
        raise _other(where, f"a zip archive with {listed(names)}")
    with np.load(path, allow_pickle=False) as arrays:
        found = vgg_face.from_arrays(arrays, where)
        if not found:
            raise _other(where, f"an .npz of the arrays {listed(arrays.files)}")
    description, weights = found
    return WeightFile(
        description=description, backbone="vgg_face", weights=weights
    )


_READERS = {
    b"\x89HDF\r\n\x1a\n": ("HDF5", _read_hdf5),
    b"MATLAB 5.0": ("a MATLAB 5 file", _read_matlab),
    b"PK\x03\x04": ("a zip archive", _read_zip),
}


def _begins(head, kinds):
    """Returns what the beginning of a file says that it is, or None."""
    return next(
        (kind for magic, kind in kinds.items() if head.startswith(magic)), None
    )


def _other(where, kind):
    return UserError(
        f"{where} is {kind}; this is no weight file that can be read here: "
        f"give a model of this project, or {ACCEPTED}"
    )
