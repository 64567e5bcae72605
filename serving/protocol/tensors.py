"""Tensors of the Open Inference Protocol v2, as they arrive: JSON, and the binary extension (raw bytes after a JSON
header).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from serving.parsing.documents import DocumentLimits, parse_json
from serving.parsing.malformed import TooLarge, shown
from serving.parsing.texts import is_name
from serving.protocol.errors import InferenceRefused
from serving.protocol.shared_memory import Regions, TensorLocation
from serving.protocol.stated_tensor import StatedTensor, as_object, refuse_extensions

MOST_JSON_VALUES = 1 << 21
"""Numbers or strings in the JSON of a request, and of an answer: a slice of 1400 x 1400 pixels, say. Binary is for
more, and the parser keeps everything else waiting for less than half a second."""
_LIMITS = DocumentLimits(most_bytes=48 << 20, most_values=MOST_JSON_VALUES, most_containers=1 << 18, most_keys=100_000)
MOST_STRINGS = 1 << 20
"""In a request."""
_MOST_TENSORS = 1024
_LONGEST_ID = 10_000


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input as it arrived."""

    datatype: str
    array: NDArray[Any]


@dataclass(frozen=True, slots=True)
class StatedRequest:
    """What the JSON of a request says, before any data is read."""

    inputs: Mapping[str, StatedTensor]
    outputs: Mapping[str, bool]
    binary_outputs: bool
    places: Mapping[str, TensorLocation]
    id: str
    parameters: Mapping[str, Any]
    raw: memoryview
    """The binary part, of all inputs that are in it, one after another."""

    @classmethod
    def parse(cls, body: bytes | bytearray, *, header_length: int | None) -> StatedRequest:
        """From a request's body, of which `header_length` bytes are JSON; None: all.

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
        parameters = as_object(header.get("parameters"), of="the request's parameters")
        binary = bool(parameters.get("binary_data_output", False))
        outputs, places = _outputs(header.get("outputs"), binary=binary)
        return cls(
            inputs=_inputs(header["inputs"]),
            outputs=outputs,
            binary_outputs=binary,
            places=places,
            id=_id(header.get("id")),
            parameters=parameters,
            raw=memoryview(b"" if header_length is None else body)[header_length or 0 :],
        )

    @property
    def weight(self) -> int:
        """Bytes of memory that its arrays take beside the body."""
        return sum(tensor.weight for tensor in self.inputs.values())

    def check_sizes(self, *, model: str) -> None:
        """Raises InferenceRefused where the data cannot be what the shapes say, and TooLarge for too many strings."""
        if (strings := sum(tensor.strings for tensor in self.inputs.values())) > MOST_STRINGS:
            raise TooLarge(f"the request has {strings} strings; {MOST_STRINGS} are taken")
        for tensor in self.inputs.values():
            tensor.check_size(model=model)
        if (more := len(self.raw) - sum(tensor.bytes_in_body for tensor in self.inputs.values())) > 0:
            raise InferenceRefused(f"unexpected additional input data for model '{model}': {more} bytes")

    def read(self, regions: Regions, *, model: str) -> InferenceRequest:
        """The request with its data, some of which may be in regions. Raises InferenceRefused."""
        inputs, offset = {}, 0
        for name, tensor in self.inputs.items():
            begin, offset = offset, offset + tensor.bytes_in_body
            array = tensor.read(self.raw[begin:offset], regions, model=model)
            inputs[name] = Tensor(tensor.datatype, array)
        return InferenceRequest(inputs, self.outputs, self.binary_outputs, self.places, self.id, self.parameters)


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

    def is_binary(self, output: str) -> bool:
        """Whether an output is wanted in binary."""
        return self.outputs.get(output, self.binary_outputs)


def _inputs(listed: Sequence[Any]) -> dict[str, StatedTensor]:
    inputs: dict[str, StatedTensor] = {}
    _check_number(listed, of="inputs")
    for entry in listed:
        stated = StatedTensor.of(entry)
        if stated.name in inputs:
            raise InferenceRefused(f"input '{stated.name}' already exists in request")
        inputs[stated.name] = stated
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
        parameters = as_object(entry.get("parameters"), of=f"output '{entry['name']}': its parameters")
        refuse_extensions(parameters)
        outputs[entry["name"]] = bool(parameters.get("binary_data", binary))
        if (place := TensorLocation.of(parameters, tensor=f"output '{entry['name']}'")) is not None:
            places[entry["name"]] = place
    return outputs, places


def _check_number(listed: Sequence[Any], *, of: str) -> None:
    if len(listed) > _MOST_TENSORS:
        raise TooLarge(f"the request has {len(listed)} {of}; {_MOST_TENSORS} are taken")


def _id(stated: Any) -> str:
    if stated is None:
        return ""
    if not isinstance(stated, str | int) or len(str(stated)) > _LONGEST_ID:
        raise InferenceRefused(f"id is {shown(stated)}; it is a string of at most {_LONGEST_ID} characters")
    return str(stated)
