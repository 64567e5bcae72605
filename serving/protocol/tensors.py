"""Tensors of the Open Inference Protocol v2: JSON, and the binary extension (raw bytes after a JSON header)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from serving.protocol.datatypes import BF16, DATATYPES, from_binary, from_json, name_of, to_binary
from serving.protocol.errors import InferenceRefused, NotOffered
from serving.protocol.shared_memory import Regions, TensorLocation

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

        Raises InferenceRefused, and NotOffered for extensions that the server does not have.
        """
        if header_length is not None and not 0 <= header_length <= len(body):
            raise InferenceRefused(
                f"Inference-Header-Content-Length is {header_length}; the body has {len(body)} bytes"
            )
        try:
            header = json.loads(body if header_length is None else body[:header_length])
        except (ValueError, RecursionError) as error:
            raise InferenceRefused(f"failed to parse the request JSON buffer: {error}") from None
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
            id=str(header.get("id") or ""),
            parameters=parameters,
        )

    def is_binary(self, output: str) -> bool:
        """Whether an output is wanted in binary."""
        return self.outputs.get(output, self.binary_outputs)


def encode(
    header: Mapping[str, Any], outputs: Mapping[str, NDArray[Any]], request: InferenceRequest, *, regions: Regions
) -> tuple[bytes, int | None]:
    """The body of an answer, and how many bytes of it are JSON; None where all of it is.

    Writes outputs into regions where they are wanted there. Raises InferenceRefused where one does not fit.
    """
    listed, raw = [], []
    for name, array in outputs.items():
        entry: dict[str, Any] = {"name": name, "datatype": name_of(array.dtype), "shape": list(array.shape)}
        if (place := request.places.get(name)) is not None:
            entry["parameters"] = regions.write(place, to_binary(array), output=name)
        elif request.is_binary(name):
            content = to_binary(array)
            entry["parameters"] = {"binary_data_size": len(content)}
            raw.append(content)
        else:
            entry["data"] = array.reshape(-1).tolist()
        listed.append(entry)
    said = json.dumps({**header, **({"id": request.id} if request.id else {}), "outputs": listed}).encode()
    return b"".join([said, *raw]), len(said) if raw else None


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
        if not isinstance(name, str) or not all(type(side) is int and side >= 0 for side in shape):
            raise InferenceRefused(f"input {name!r}: a name is a string, and a shape a list of numbers from 0 on")
        if datatype not in _KNOWN:
            raise InferenceRefused(f"input '{name}': datatype {datatype!r}; known are {', '.join(_KNOWN)}")
        parameters = _object(entry.get("parameters"), of=f"input '{name}': its parameters")
        _refuse_extensions(parameters)
        size = parameters.get("binary_data_size")
        if size is not None and (type(size) is not int or size < 0):
            raise InferenceRefused(f"input '{name}': binary_data_size is {size!r}; it is a number of bytes")
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
    for entry in listed or []:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise InferenceRefused("Unable to parse 'outputs': each output needs a name")
        parameters = _object(entry.get("parameters"), of=f"output '{entry['name']}': its parameters")
        _refuse_extensions(parameters)
        outputs[entry["name"]] = bool(parameters.get("binary_data", binary))
        if (place := TensorLocation.of(parameters, tensor=f"output '{entry['name']}'")) is not None:
            places[entry["name"]] = place
    return outputs, places


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
