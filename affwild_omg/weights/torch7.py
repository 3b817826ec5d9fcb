"""Torch 7's archives (`.t7`, binary), read without Torch and without Lua.

An archive is one value, and each value begins with its type, an int32: nil 0,
a number 1 (float64), a string 2 (its length, its bytes), a table 3, an object
of Torch 4, a boolean 5 (int32). A table or an object has a number of its own,
by which it is named again instead of repeated. A table is its size and as many
pairs of values. An object is "V 1", the name of its class and what the class
writes: a tensor its dimensions, sizes, strides, the place of its first number
from 1 on, and its storage; a storage its size and its numbers; any other class
a table of its fields. Functions, which are Lua's code, are refused.
"""

import struct

import numpy as np

_KINDS = {
    "Float": "<f4",
    "Double": "<f8",
    "Cuda": "<f4",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "<i1",
    "Byte": "<u1",
}


def read(data: memoryview) -> object:
    """Reads an archive.

    Args:
        data: the file.

    Returns:
        Numbers, text, booleans, None, arrays for tensors, a dict for a table,
        and for any other object its table with its class under "torch_class".
        Arrays are views of the data.

    Raises:
        ValueError, struct.error: the data ends too early, or is something else.
    """
    return _Archive(data).value()


class _Archive:
    """An archive and the place in it that is read next."""

    def __init__(self, data):
        self.data, self.at = data, 0
        self.known = {}  # number of a table or an object: what it is

    def value(self):
        kind = self.unpack("<i")
        if kind == 0:
            return None
        if kind == 1:
            return self.unpack("<d")
        if kind == 2:
            return self.text()
        if kind == 5:
            return self.unpack("<i") != 0
        if kind not in (3, 4):
            raise ValueError(f"a value of type {kind}")
        number = self.unpack("<i")
        if number not in self.known:
            read = self.table if kind == 3 else self.object
            read(number)
        return self.known[number]

    def table(self, number):
        content = self.known[number] = {}  # which may hold itself
        for _ in range(self.unpack("<i")):
            key = self.value()
            content[key] = self.value()

    def object(self, number):
        name = self.text()
        if name.startswith("V "):  # the version, which old archives lack
            name = self.text()
        room, _, short = name.partition(".")
        for form in ("Tensor", "Storage"):
            kind = _KINDS.get(short.removesuffix(form))
            if room == "torch" and short.endswith(form) and kind:
                read = self.tensor if form == "Tensor" else self.storage
                self.known[number] = read(np.dtype(kind))
                return
        found = self.known[number] = {"torch_class": name}
        fields = self.value()
        if not isinstance(fields, dict):
            raise ValueError(f"{name} is not a table")
        found.update(fields)

    def tensor(self, kind):
        count = self.unpack("<i")
        shape = [self.unpack("<q") for _ in range(count)]
        steps = [self.unpack("<q") for _ in range(count)]
        first = self.unpack("<q") - 1
        storage = self.value()
        if not count or storage is None:
            return np.zeros(0, kind)
        last = first + sum(
            step * (size - 1) for step, size in zip(steps, shape, strict=True)
        )
        if min(*shape, *steps, first + 1) < 1 or last >= len(storage):
            raise ValueError(f"a tensor of the shape {shape} in {len(storage)}")
        return np.lib.stride_tricks.as_strided(
            storage[first:], shape, [step * kind.itemsize for step in steps]
        )

    def storage(self, kind):
        count = self.unpack("<q")
        return np.frombuffer(self.take(count * kind.itemsize), kind)

    def text(self):
        return bytes(self.take(self.unpack("<i"))).decode("latin-1")

    def unpack(self, form):
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return value

    def take(self, size):
        taken = self.data[self.at : self.at + size]
        if size < 0 or len(taken) < size:
            raise ValueError(f"{len(taken)} bytes where {size} should be")
        self.at += size
        return taken
