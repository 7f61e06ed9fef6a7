"""Reads the variables of a TensorFlow checkpoint (`.index` and `.data-00000-of-00001`).

The index is a sorted string table as in LevelDB: blocks of keys that share prefixes, and a footer
that points to a block of blocks. Each value is a `BundleEntryProto`: type, shape, offset and size
of the variable in the data file. Source: tensorflow/core/util/tensor_bundle and
tensorflow/core/protobuf/tensor_bundle.proto.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from riffusion.errors import InputError

Variables = dict[str, npt.NDArray[np.float32]]
_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_FLOAT32 = 1
_DTYPE, _SHAPE, _OFFSET, _SIZE = 1, 2, 4, 5
"""Field numbers of `BundleEntryProto`."""
_DIMENSION, _LENGTH = 2, 1
"""Field numbers of `TensorShapeProto` and of its dimensions."""


def read_variables(index: Path, data: Path) -> Variables:
    """All float32 variables but those of the optimiser, by name.

    Raises:
        InputError: a file is damaged, or no such checkpoint.
    """
    try:
        table, values = index.read_bytes(), data.read_bytes()
        return dict(_float_variables(table, values))
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise InputError(
            f"{index.parent} has no readable TensorFlow checkpoint ({error}); "
            "install its distribution again"
        ) from error


def _float_variables(table: bytes, values: bytes) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    for name, entry in _entries(table):
        numbers = {field: value for field, value in _fields(entry) if isinstance(value, int)}
        if not name or "Adam" in name or numbers.get(_DTYPE) != _FLOAT32:
            continue
        shape = [
            next((n for f, n in _fields(dimension) if f == _LENGTH and isinstance(n, int)), 0)
            for field, value in _fields(entry)
            if field == _SHAPE and isinstance(value, bytes)
            for number, dimension in _fields(value)
            if number == _DIMENSION and isinstance(dimension, bytes)
        ]
        offset = numbers.get(_OFFSET, 0)
        if 4 * math.prod(shape) != numbers[_SIZE] or offset + numbers[_SIZE] > len(values):
            raise ValueError(f"{name} doesn't fit its data file")
        array = np.frombuffer(values, "<f4", math.prod(shape), offset)
        yield name, array.reshape(shape)


def _entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    """Keys and values of the whole table."""
    footer = table[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("wrong magic number")
    _, position = _varint(footer, 0)
    _, position = _varint(footer, position)
    for _, handle in _block_entries(table, footer, position):
        for key, value in _block_entries(table, handle, 0):
            yield key.decode(), value


def _block_entries(table: bytes, handle: bytes, position: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the block that a handle (offset and size) points to."""
    offset, position = _varint(handle, position)
    size, _ = _varint(handle, position)
    block = table[offset : offset + size]
    if table[offset + size] != 0:
        raise ValueError("compressed blocks aren't supported")
    (num_restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (num_restarts + 1)
    key, position = b"", 0
    while position < end:
        shared, position = _varint(block, position)
        added, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + added]
        position += added
        yield key, block[position : position + length]
        position += length


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a Protocol Buffers message."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        value: int | bytes
        match tag & 7:
            case 0:
                value, position = _varint(message, position)
            case 2:
                length, position = _varint(message, position)
                value = message[position : position + length]
                position += length
            case 5:
                value = message[position : position + 4]
                position += 4
            case other:
                raise ValueError(f"unknown wire type {other}")
        yield tag >> 3, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits per byte, lowest first, and the position behind it."""
    number = shift = 0
    while True:
        byte = data[position]
        number |= (byte & 127) << shift
        position += 1
        shift += 7
        if byte < 128:
            return number, position
