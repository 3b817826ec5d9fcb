"""Weight files from elsewhere, recognised by content and not by name.

Nothing here runs code from a file: HDF5, MATLAB 5 and .npz are read as plain
arrays, and formats that need unpickling are refused. The decoders, libhdf5 and
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
from affwild_omg.weights import imagenet, vgg_face

ACCEPTED = (
    "VGG-Face as Oxford's vgg_face.mat, as .h5 of keras-vggface or deepface or "
    "as .npz of the caffemodel's blobs, or ResNet-50 or DenseNet-121 as .h5 "
    "of keras.applications"
)
# First bytes of files that are mistaken for weight files.
_OTHERS = {
    b"\x80": "a Python pickle",
    b"\x93NUMPY": "a single NumPy array",
    b"\x1f\x8b": "a gzip archive, which may hold the file",
    b"MATLAB 7.3": (
        "a MATLAB 7.3 file, which save(..., '-v7') in MATLAB turns into "
        "version 5"
    ),
    b"<": "a web page or XML, perhaps instead of a download",
    b"version https://git-lfs": "a Git LFS pointer instead of the file",
    # A Torch 7 archive begins with the type of its first object.
    b"\x03\0\0\0": "a Torch 7 file",
    b"\x04\0\0\0": "a Torch 7 file",
    # A protocol buffer whose first field is a string: a caffemodel's name.
    b"\n": "a caffemodel or another protocol buffer",
}


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """What a weight file contains.

    Attributes:
        description: one line that says what was read, and how.
        backbone: a key of `architectures.BACKBONES`.
        weights: {"<layer>/<variable>": float32 array} by the names of the
            backbone's layers, for frames as (x - 128) / 128 in RGB.
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
        UserError: it does not exist, cannot be read, is damaged, or is
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
        raise UserError(f"{where} cannot be read: {error.strerror}") from error
    kind, reader = _begins(head, _READERS) or (None, None)
    if reader is None:
        kind = _begins(head, _OTHERS) if head else "empty"
        raise _other(
            where, kind or f"of an unknown kind (it begins with {head[:8]!r})"
        )
    try:
        weight_file = WeightFile(*reader(path, where))
    except UserError:
        raise
    # The libraries below raise all kinds of errors on broken files.
    except Exception as error:
        raise UserError(
            f"{where} begins as {kind} but cannot be read, so it is damaged or "
            f"incomplete ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:120]}); download it again"
        ) from error
    for name, array in weight_file.weights.items():
        if not np.isfinite(array).all():
            raise UserError(
                f"{where}: {name} has values that are not finite; the file is "
                "damaged or its training failed, use another"
            )
    return weight_file


def _read_hdf5(path, where):
    with h5py.File(path, "r") as file:
        layers = _keras_layers(file)
        if not layers:
            kind = "HDF5 without named Keras layers; it holds "
            raise _other(where, kind + listed(list(file)))
        found = vgg_face.from_layers(layers, where)
        if found := found or imagenet.from_layers(layers, where):
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


_READERS = {
    b"\x89HDF\r\n\x1a\n": ("HDF5", _read_hdf5),
    b"MATLAB 5.0": ("a MATLAB 5 file", _read_matlab),
    b"PK\x03\x04": ("a zip archive", _read_zip),
}


def _begins(head, kinds):
    """Returns the kind that a file's first bytes tell, or None."""
    return next(
        (kind for magic, kind in kinds.items() if head.startswith(magic)), None
    )


def _other(where, kind):
    return UserError(
        f"{where} is {kind}; it is not a weight file that can be read here: "
        f"give a model of this project, or {ACCEPTED}"
    )
