"""Stated tensors: what a request says of an input, known and checked before any of its data is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from serving.parsing.malformed import shown
from serving.parsing.quantities import LARGEST
from serving.parsing.texts import is_name
from serving.protocol.datatypes import BF16, DATATYPES, LONGEST_SIDE, from_binary, from_json
from serving.protocol.errors import InferenceRefused, NotOffered
from serving.protocol.shared_memory import Regions, TensorLocation

_MOST_SIDES = 32
_KNOWN = (*DATATYPES, BF16)
_STRING_BYTES = 64
"""That a string takes beside its text: sixteen times the four bytes that an empty one is sent in."""
_NOT_OFFERED = {
    "classification": "the classification extension is not offered; ask for the tensor itself",
}


@dataclass(frozen=True, slots=True)
class StatedTensor:
    """An input as its request describes it."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    size: int | None
    """Bytes in the binary part, or in a region; None: the data is in the JSON."""
    place: TensorLocation | None
    """In shared memory."""
    data: Any
    """From the JSON."""

    @classmethod
    def of(cls, entry: Any) -> StatedTensor:
        """From an entry of the request's JSON. Raises InferenceRefused, NotOffered."""
        try:
            name, sides, datatype = entry["name"], entry["shape"], entry["datatype"]
            shape = tuple(sides)
        except (KeyError, TypeError):
            raise InferenceRefused("Unable to parse 'inputs': each needs name, shape and datatype") from None
        if not isinstance(name, str) or not is_name(name) or not _is_shape(shape):
            raise InferenceRefused(
                f"input {shown(name)}: a name is a string of at most 1000 characters, and a shape a list of at most "
                f"{_MOST_SIDES} numbers from 0 on"
            )
        if datatype not in _KNOWN:
            raise InferenceRefused(f"input '{name}': datatype {shown(datatype)}; known are {', '.join(_KNOWN)}")
        parameters = as_object(entry.get("parameters"), of=f"input '{name}': its parameters")
        refuse_extensions(parameters)
        size = parameters.get("binary_data_size")
        if size is not None and (type(size) is not int or not 0 <= size <= LARGEST):
            raise InferenceRefused(f"input '{name}': binary_data_size is {shown(size)}; it is a number of bytes")
        place = TensorLocation.of(parameters, tensor=f"input '{name}'")
        return cls(name, shape, datatype, size if place is None else place.size, place, entry.get("data"))

    @property
    def values(self) -> int:
        """By the shape."""
        return math.prod(self.shape)

    @property
    def strings(self) -> int:
        """Of those, values that are strings."""
        return self.values if self.datatype == "BYTES" else 0

    @property
    def bytes_in_body(self) -> int:
        """Of the binary part."""
        return 0 if self.place is not None or self.size is None else self.size

    @property
    def weight(self) -> int:
        """Bytes of memory that it takes beside the body, of which most arrays are views; JSON has its own limits."""
        sent = self.size or 0
        read = sent if self.place is not None else 0
        if self.datatype == "BYTES":
            return read + sent + self.strings * _STRING_BYTES
        return read + (2 * sent if self.datatype == BF16 else 0)

    def check_size(self, *, model: str) -> None:
        """Raises InferenceRefused where the data, as stated, cannot be what the shape says."""
        if self.size is None:
            if self.data is None:
                raise InferenceRefused(f"input '{self.name}' has neither data nor binary_data_size")
            return
        if self.datatype != "BYTES":
            expected = self.values * (2 if self.datatype == BF16 else DATATYPES[self.datatype].itemsize)
            self._check_bytes(self.size, expected, model)
        elif self.strings * 4 > self.size:
            raise InferenceRefused(
                f"input '{self.name}': {self.strings} strings are not in {self.size} bytes; each has four of length"
            )

    def read(self, raw: memoryview, regions: Regions, *, model: str) -> NDArray[Any]:
        """The array, of its bytes in the binary part, from the JSON, or from a region. Raises InferenceRefused."""
        try:
            if self.size is None:
                return from_json(self.data, self.datatype, self.shape)
            content = raw if self.place is None else memoryview(regions.read(self.place))
            self._check_bytes(len(content), self.size, model)
            return from_binary(content, self.datatype, self.shape)
        except InferenceRefused:
            raise
        except (ValueError, TypeError, OverflowError) as error:
            raise InferenceRefused(f"input '{self.name}': {error}") from None

    def _check_bytes(self, got: int, expected: int, model: str) -> None:
        if got != expected:
            raise InferenceRefused(
                f"input byte size mismatch for input '{self.name}' for model '{model}'. Expected {expected}, got {got}"
            )


def as_object(value: Any, *, of: str) -> Mapping[str, Any]:
    """The parameters of something; none are an empty object. Raises InferenceRefused."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InferenceRefused(f"{of} are no JSON object")
    return value


def refuse_extensions(parameters: Mapping[str, Any]) -> None:
    """Raises NotOffered where a tensor's parameters ask for what the server does not have."""
    for name, reason in _NOT_OFFERED.items():
        if parameters.get(name):
            raise NotOffered(reason)


def _is_shape(sides: Sequence[Any]) -> bool:
    return len(sides) <= _MOST_SIDES and all(type(side) is int and 0 <= side <= LONGEST_SIDE for side in sides)
