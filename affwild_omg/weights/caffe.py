"""Caffe's weight files, read from the wire format of protocol buffers.

A `.caffemodel` is a NetParameter. Of its fields (caffe.proto) these are read,
by number: layers 2, of old files, with name 4 and blobs 6; layer 100,
of newer ones, with name 1 and blobs 7. A blob has its shape in 7, or in old
files in 1 to 4, and its numbers in data 5, or in double_data 8.
"""

import math
from collections.abc import Iterator

import numpy as np

_LAYERS = {2: (4, 6), 100: (1, 7)}  # field: those of its name and blobs
_NUMBERS = {5: "<f4", 8: "<f8"}
_FIXED = {1: 8, 5: 4}  # wire type: bytes of a value


def read(data: memoryview) -> dict[str, list[np.ndarray]]:
    """Reads the blobs of a network's layers.

    Args:
        data: the file.

    Returns:
        {layer: its blobs} of the layers that have any, in the file's order.
        Arrays are views of the data.

    Raises:
        ValueError, IndexError: the data ends too early, or is something else.
    """
    layers = {}
    for field, value in _fields(data):
        if field in _LAYERS:
            name, blobs = _layer(value, *_LAYERS[field])
            if blobs:
                layers[name] = blobs
    return layers


def _layer(data, name_field, blobs_field):
    name, blobs = "", []
    for field, value in _fields(data):
        if field == name_field:
            name = bytes(value).decode()
        elif field == blobs_field:
            blobs.append(_blob(value))
    return name, blobs


def _blob(data):
    old, shape, pieces, kind = {}, None, [], "<f4"
    for field, value in _fields(data):
        if field in (1, 2, 3, 4):
            old[field] = value
        elif field == 7:
            shape = _shape(value)
        elif field in _NUMBERS:  # all in one piece, or each in its own
            kind = _NUMBERS[field]
            pieces.append(value)
    if shape is None:
        shape = [old.get(field, 1) for field in (1, 2, 3, 4)]
    whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(whole) != math.prod(shape) * int(kind[-1]):
        raise ValueError(f"{len(whole)} bytes of a blob of the shape {shape}")
    return np.frombuffer(whole, kind).reshape(shape)


def _shape(data):
    sizes = []
    for field, value in _fields(data):
        if field == 1 and isinstance(value, int):
            sizes.append(value)
        elif field == 1:
            at = 0
            while at < len(value):
                size, at = _integer(value, at)
                sizes.append(size)
    return sizes


def _fields(data) -> Iterator[tuple[int, int | memoryview]]:
    """Yields the number and the value of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _integer(data, at)
        field, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _integer(data, at)
        elif kind == 2 or kind in _FIXED:
            size = _FIXED.get(kind)
            if size is None:
                size, at = _integer(data, at)
            value, at = data[at : at + size], at + size
            if at > len(data):
                raise ValueError(f"field {field} ends {at - len(data)} later")
        else:
            raise ValueError(f"wire type {kind} of field {field}")
        yield field, value


def _integer(data, at):
    """Returns a number of seven bits a byte, and where the next one is."""
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1
