"""Tensors of the Open Inference Protocol v2, as they arrive: JSON, and the binary extension (raw bytes after a JSON
header).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from serving.parsing.documents import DocumentLimits, parse_json
from serving.parsing.malformed import TooLarge, shown
from serving.parsing.quantities import LARGEST
from serving.parsing.texts import is_name
from serving.protocol.datatypes import BF16, DATATYPES, from_binary, from_json
from serving.protocol.errors import InferenceRefused, NotOffered
from serving.protocol.shared_memory import Regions, TensorLocation

MOST_JSON_VALUES = 1 << 21
"""Numbers or strings in the JSON of a request, and of an answer: a slice of 1400 x 1400 pixels, say. Binary is for
more, and the parser keeps everything else waiting for less than half a second."""
_LIMITS = DocumentLimits(most_bytes=48 << 20, most_values=MOST_JSON_VALUES, most_containers=1 << 18)
_MOST_TENSORS = 1024
_MOST_SIDES, _LONGEST_SIDE = 32, 1 << 40
_LONGEST_ID = 10_000

_KNOWN = (*DATATYPES, BF16)
_NOT_OFFERED = {
    "classification": "the classification extension is not offered; ask for the tensor itself",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input as it arrived."""

    datatype: str
    array: NDArray[Any]


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a client asks for."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, bool]
    """Names of the outputs that are wanted, each with whether it is wanted in binary; none named: all."""
    binary_outputs: bool = False
    """Whether outputs are wanted in binary of which nothing is said."""
    places: Mapping[str, TensorLocation] = field(default_factory=dict)
    """Where in shared memory outputs are wanted."""
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, body: bytes, *, header_length: int | None, model: str, regions: Regions) -> InferenceRequest:
        """From a request's body for that model, of which `header_length` bytes are JSON; None: all. Inputs may be in
        regions.

        Raises InferenceRefused, TooLarge, and NotOffered for extensions that the server does not have.
        """
        if header_length is not None and not 0 <= header_length <= len(body):
            raise InferenceRefused(
                f"Inference-Header-Content-Length is {header_length}; the body has {len(body)} bytes"
            )
        document = body if header_length is None else body[:header_length]
        header = parse_json(document, name="the request", limits=_LIMITS, refused=InferenceRefused)
        if not isinstance(header, dict) or not isinstance(header.get("inputs"), list):
            raise InferenceRefused("Unable to parse 'inputs': the request has no list of inputs")
        raw = memoryview(b"" if header_length is None else body)[header_length or 0 :]
        parameters = _object(header.get("parameters"), of="the request's parameters")
        binary = bool(parameters.get("binary_data_output", False))
        outputs, places = _outputs(header.get("outputs"), binary=binary)
        return cls(
            inputs=_inputs(header["inputs"], raw, model, regions),
            outputs=outputs,
            places=places,
            binary_outputs=binary,
            id=_id(header.get("id")),
            parameters=parameters,
        )

    def is_binary(self, output: str) -> bool:
        """Whether an output is wanted in binary."""
        return self.outputs.get(output, self.binary_outputs)


@dataclass(frozen=True, slots=True)
class _Stated:
    """What a request says of an input."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    size: int | None
    """Bytes in the binary part; None: the data is in the JSON, or in a region."""
    place: TensorLocation | None

    @classmethod
    def of(cls, entry: Any) -> _Stated:
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
        parameters = _object(entry.get("parameters"), of=f"input '{name}': its parameters")
        _refuse_extensions(parameters)
        size = parameters.get("binary_data_size")
        if size is not None and (type(size) is not int or not 0 <= size <= LARGEST):
            raise InferenceRefused(f"input '{name}': binary_data_size is {shown(size)}; it is a number of bytes")
        return cls(name, shape, datatype, size, TensorLocation.of(parameters, tensor=f"input '{name}'"))

    def from_json(self, data: Any) -> NDArray[Any]:
        if data is None:
            raise InferenceRefused(f"input '{self.name}' has neither data nor binary_data_size")
        try:
            return from_json(data, self.datatype, self.shape)
        except (ValueError, TypeError, OverflowError) as error:
            raise InferenceRefused(f"input '{self.name}': {error}") from None

    def from_binary(self, raw: memoryview, *, model: str) -> NDArray[Any]:
        expected = self.size if self.place is None else self.place.size
        if self.datatype != "BYTES":
            expected = math.prod(self.shape) * (2 if self.datatype == BF16 else DATATYPES[self.datatype].itemsize)
        stated = self.size if self.place is None else self.place.size
        if stated != expected or len(raw) != expected:
            got = stated if stated != expected else len(raw)
            raise InferenceRefused(
                f"input byte size mismatch for input '{self.name}' for model '{model}'. Expected {expected}, got {got}"
            )
        try:
            return from_binary(raw, self.datatype, self.shape)
        except ValueError as error:
            raise InferenceRefused(f"input '{self.name}': {error}") from None


def _inputs(listed: Sequence[Any], raw: memoryview, model: str, regions: Regions) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = {}
    offset = 0
    _check_number(listed, of="inputs")
    for entry in listed:
        stated = _Stated.of(entry)
        if stated.name in inputs:
            raise InferenceRefused(f"input '{stated.name}' already exists in request")
        if stated.place is not None:
            array = stated.from_binary(memoryview(regions.read(stated.place)), model=model)
        elif stated.size is None:
            array = stated.from_json(entry.get("data"))
        else:
            array = stated.from_binary(raw[offset : offset + stated.size], model=model)
            offset += stated.size
        inputs[stated.name] = Tensor(stated.datatype, array)
    if offset != len(raw):
        raise InferenceRefused(f"unexpected additional input data for model '{model}': {len(raw) - offset} bytes")
    return inputs


def _outputs(listed: Any, *, binary: bool) -> tuple[dict[str, bool], dict[str, TensorLocation]]:
    """Those that are named, each with whether it is wanted in binary, and those that are wanted in regions."""
    outputs: dict[str, bool] = {}
    places: dict[str, TensorLocation] = {}
    if not isinstance(listed or [], list):
        raise InferenceRefused("Unable to parse 'outputs': it is no list")
    _check_number(listed or [], of="outputs")
    for entry in listed or []:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not is_name(entry["name"]):
            raise InferenceRefused("Unable to parse 'outputs': each output needs a name")
        parameters = _object(entry.get("parameters"), of=f"output '{entry['name']}': its parameters")
        _refuse_extensions(parameters)
        outputs[entry["name"]] = bool(parameters.get("binary_data", binary))
        if (place := TensorLocation.of(parameters, tensor=f"output '{entry['name']}'")) is not None:
            places[entry["name"]] = place
    return outputs, places


def _check_number(listed: Sequence[Any], *, of: str) -> None:
    if len(listed) > _MOST_TENSORS:
        raise TooLarge(f"the request has {len(listed)} {of}; {_MOST_TENSORS} are taken")


def _is_shape(sides: Sequence[Any]) -> bool:
    return len(sides) <= _MOST_SIDES and all(type(side) is int and 0 <= side <= _LONGEST_SIDE for side in sides)


def _id(stated: Any) -> str:
    if stated is None:
        return ""
    if not isinstance(stated, str | int) or len(str(stated)) > _LONGEST_ID:
        raise InferenceRefused(f"id is {shown(stated)}; it is a string of at most {_LONGEST_ID} characters")
    return str(stated)


def _object(value: Any, *, of: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InferenceRefused(f"{of} are no JSON object")
    return value


def _refuse_extensions(parameters: Mapping[str, Any]) -> None:
    for name, reason in _NOT_OFFERED.items():
        if parameters.get(name):
            raise NotOffered(reason)
