"""Datatypes: the protocol's names of them, and what they are in NumPy."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.protocol.errors import InferenceRefused

DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
"""All but BF16, of which NumPy has none. BYTES are strings: an array of `str`."""
BF16 = "BF16"
"""Taken in binary, as the float32 that it is the upper half of; not answered."""
REAL = frozenset(DATATYPES) - {"BOOL", "BYTES"} | {BF16}
"""Those that are real numbers."""

LONGEST_SIDE = 1 << 40
"""Of a tensor."""
_PIECE_VALUES = 1 << 14
"""Converted at once: between pieces other threads get their turn."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_LENGTH = struct.Struct("<I")


def name_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a NumPy type of either byte order. Raises KeyError where there is none."""
    return _NAMES[dtype if dtype.hasobject else dtype.newbyteorder("<")]


def config_name(datatype: str) -> str:
    """The name that Triton's model configuration has for it: TYPE_FP32; for BYTES, TYPE_STRING."""
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def from_binary(raw: memoryview, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    """Bytes of the binary extension, little-endian and row-major, as an array; a view of them where that can be.

    Raises ValueError where they are not as many as shape and datatype say.
    """
    if datatype == "BYTES":
        strings = np.empty(math.prod(shape), object)
        found = _strings(raw, len(strings))
        if len(found) != len(strings):
            raise ValueError(f"{len(found)} strings are no tensor of shape {list(shape)}")
        strings[:] = found
        return strings.reshape(shape)
    if datatype == BF16:
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return np.frombuffer(raw, DATATYPES[datatype]).reshape(shape)


def to_binary(array: NDArray[Any]) -> bytes:
    """The other way round."""
    if array.dtype.hasobject:
        strings = [text.encode() for text in array.reshape(-1)]
        return b"".join(part for text in strings for part in (_LENGTH.pack(len(text)), text))
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()


def from_json(data: Any, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    """Numbers or strings, nested or flat. Raises ValueError, TypeError or OverflowError where they do not fit."""
    if datatype == BF16:
        raise InferenceRefused("BF16 is taken in binary alone")
    values = _flat(data)
    if len(values) != math.prod(shape):
        raise ValueError(f"{len(values)} values are no tensor of shape {list(shape)}")
    if datatype == "BYTES" and not all(isinstance(text, str) for text in values):
        raise TypeError("BYTES are strings")
    array = np.empty(len(values), DATATYPES[datatype])
    with np.errstate(over="ignore"):
        for first in range(0, len(values), _PIECE_VALUES):
            array[first : first + _PIECE_VALUES] = values[first : first + _PIECE_VALUES]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"a value is none of {datatype}, or not finite")
    return array.reshape(shape)


def _flat(data: Any) -> list[Any]:
    """The values of lists in lists, which are equally long. Raises ValueError."""
    values = data if isinstance(data, list) else [data]
    while values and isinstance(values[0], list):
        if any(not isinstance(part, list) or len(part) != len(values[0]) for part in values):
            raise ValueError("its lists are not equally long")
        values = [value for part in values for value in part]
    return values


def _strings(raw: memoryview, most: int) -> list[str]:
    strings: list[str] = []
    at = 0
    while at < len(raw):
        if len(strings) == most:
            raise ValueError(f"there are more than {most} strings")
        if at + 4 > len(raw):
            raise ValueError("a string's length is cut off")
        (length,) = _LENGTH.unpack_from(raw, at)
        at += 4 + length
        if at > len(raw):
            raise ValueError("a string is cut off")
        strings.append(bytes(raw[at - length : at]).decode())
    return strings
