"""Tensors of the Open Inference Protocol v2: JSON, and the binary extension (raw bytes after a JSON header)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
}
"""The protocol's names of types."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


class InferenceRefused(ValueError):  # noqa: N818 - says what happened
    """An inference request that cannot be understood or answered; the message says what would be right."""


@dataclass(frozen=True)
class InferenceRequest:
    """What a client asks for."""

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, bool]
    """Names of the outputs that are wanted, each with whether it is wanted in binary; none named: all."""
    binary_outputs: bool = False
    """Whether outputs are wanted in binary of which nothing is said."""
    id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, body: bytes, *, header_length: int | None) -> InferenceRequest:
        """From a request's body, of which `header_length` bytes are JSON; None: all. Raises InferenceRefused."""
        if header_length is not None and not 0 <= header_length <= len(body):
            raise InferenceRefused(
                f"Inference-Header-Content-Length is {header_length}; the body has {len(body)} bytes"
            )
        try:
            header = json.loads(body if header_length is None else body[:header_length])
        except ValueError as error:
            raise InferenceRefused(f"the header of the request is not JSON: {error}") from None
        if not isinstance(header, dict) or not isinstance(header.get("inputs"), list):
            raise InferenceRefused("the request has no list of inputs")
        raw = memoryview(b"" if header_length is None else body)[header_length or 0 :]
        parameters = header.get("parameters") or {}
        return cls(
            inputs=_inputs(header["inputs"], raw),
            outputs=_outputs(header.get("outputs") or [], parameters),
            binary_outputs=bool(parameters.get("binary_data_output", False)),
            id=header.get("id"),
            parameters=parameters,
        )

    def is_binary(self, output: str) -> bool:
        """Whether an output is wanted in binary."""
        return self.outputs.get(output, self.binary_outputs)


def _inputs(listed: Sequence[Any], raw: memoryview) -> dict[str, NDArray[Any]]:
    inputs, offset = {}, 0
    for entry in listed:
        try:
            name, shape, datatype = str(entry["name"]), tuple(int(n) for n in entry["shape"]), entry["datatype"]
        except (KeyError, TypeError, ValueError):
            raise InferenceRefused("each input needs name, shape and datatype") from None
        if datatype not in DATATYPES:
            raise InferenceRefused(f"input {name}: datatype {datatype!r}; known are {', '.join(DATATYPES)}")
        dtype = DATATYPES[datatype]
        size = (entry.get("parameters") or {}).get("binary_data_size")
        if size is None:
            inputs[name] = _from_json(name, entry.get("data"), shape, dtype)
            continue
        expected = math.prod(shape) * dtype.itemsize
        if size != expected or min(shape, default=1) < 0 or offset + size > len(raw):
            raise InferenceRefused(
                f"input {name}: {size} bytes of which {len(raw) - offset} are there; "
                f"{datatype} of shape {list(shape)} has {expected}"
            )
        inputs[name] = np.frombuffer(raw[offset : offset + size], dtype).reshape(shape)
        offset += size
    if offset != len(raw):
        raise InferenceRefused(f"{len(raw) - offset} bytes follow after the last input")
    return inputs


def _from_json(name: str, data: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if data is None:
        raise InferenceRefused(f"input {name} has neither data nor binary_data_size")
    try:
        return np.array(data, dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise InferenceRefused(f"input {name}: {error}") from None


def _outputs(listed: Sequence[Any], parameters: Mapping[str, Any]) -> dict[str, bool]:
    default = bool(parameters.get("binary_data_output", False))
    try:
        return {
            str(entry["name"]): bool((entry.get("parameters") or {}).get("binary_data", default)) for entry in listed
        }
    except (KeyError, TypeError):
        raise InferenceRefused("each output needs a name") from None


def encode(
    header: Mapping[str, Any], outputs: Mapping[str, NDArray[Any]], request: InferenceRequest
) -> tuple[bytes, int | None]:
    """The body of an answer, and how many bytes of it are JSON; None where all of it is."""
    listed, raw = [], []
    for name, array in outputs.items():
        entry: dict[str, Any] = {
            "name": name,
            "shape": list(array.shape),
            "datatype": _NAMES[array.dtype.newbyteorder("<")],
        }
        if request.is_binary(name):
            content = np.ascontiguousarray(array).tobytes()
            entry["parameters"] = {"binary_data_size": len(content)}
            raw.append(content)
        else:
            entry["data"] = array.reshape(-1).tolist()
        listed.append(entry)
    said = json.dumps({**header, **({} if request.id is None else {"id": request.id}), "outputs": listed}).encode()
    return b"".join([said, *raw]), len(said) if raw else None
