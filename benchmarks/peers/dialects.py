"""Dialects: how each server is sent a slice, and its answer read, over HTTP.

Two for each of the others: the densest encoding that can be had from it, and JSON numbers, which its own examples send.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.load import request

Slice = NDArray[np.uint16]
Encoded = tuple[bytes, dict[str, str]]


@dataclass(frozen=True)
class Dialect:
    """One way of asking."""

    about: str
    """As the results name it."""
    path: str
    _encode: Callable[[Slice], Encoded]
    """uint16 (Y, X) -> the body, and headers that belong to it."""
    _decode: Callable[[bytes], bytes]
    """The body of an answer -> the segmentation as it lies in memory, at its end."""
    numbers: bool = False
    """Pixels are numbers in JSON, both ways."""

    def request(self, url: str, piece: Slice) -> bytes:
        """One uint16 slice (Y, X), as a whole request."""
        content, headers = self._encode(piece)
        return request(url, self.path, content, headers)

    def segmentation(self, body: bytes, piece: Slice) -> NDArray[np.uint8]:
        """The answer to that slice, uint8 (Y, X)."""
        return np.frombuffer(self._decode(body)[-piece.size :], np.uint8).reshape(piece.shape)


def binary_tensors(model: str) -> Dialect:
    """The binary tensor extension of the Open Inference Protocol, both ways."""

    def encode(piece: Slice) -> Encoded:
        content = piece.tobytes()
        parameters = {"binary_data_size": len(content)}
        tensor = {"name": "slices", "shape": [1, *piece.shape], "datatype": "UINT16", "parameters": parameters}
        wanted = {"name": "segmentation", "parameters": {"binary_data": True}}
        header = json.dumps({"inputs": [tensor], "outputs": [wanted]}).encode()
        return header + content, {"Inference-Header-Content-Length": str(len(header))}

    return Dialect("V2 with binary tensors", f"/v2/models/{model}/infer", encode, lambda body: body)


def _raw(piece: Slice) -> Encoded:
    return piece.tobytes(), {"Content-Type": "application/octet-stream"}


def _json(content: object) -> Encoded:
    return json.dumps(content).encode(), {"Content-Type": "application/json"}


def _base64(piece: Slice) -> str:
    return base64.b64encode(piece.tobytes()).decode()


def _v2_base64(piece: Slice) -> Encoded:
    tensor = {"name": "slices", "shape": [1, 1], "datatype": "BYTES", "data": [_base64(piece)]}
    return _json({"inputs": [{**tensor, "parameters": {"content_type": "base64"}}]})


RAW = Dialect("raw bytes", "/infer", _raw, lambda body: body)
"""The body is the slice, the answer's the segmentation."""

V2_BASE64 = Dialect(
    "V2 JSON with base64",
    "/v2/models/slices/infer",
    _v2_base64,
    lambda body: base64.b64decode(json.loads(body)["outputs"][0]["data"][0]),
)

FRAME_BASE64 = Dialect(
    "JSON with a base64 column",
    "/invocations",
    lambda piece: _json({"dataframe_split": {"columns": ["slices"], "data": [[_base64(piece)]]}}),
    lambda body: base64.b64decode(json.loads(body)["predictions"][0]),
)


def _numbers(about: str, path: str, wrap: Callable[[list[Any]], object], unwrap: Callable[[Any], Any]) -> Dialect:
    """`wrap` and `unwrap`: nested lists (1, Y, X), or flat ones, in the JSON that is sent and that comes back."""
    return Dialect(
        about,
        path,
        lambda piece: _json(wrap(piece[np.newaxis].tolist())),
        lambda body: np.array(unwrap(json.loads(body)), np.uint8).tobytes(),
        numbers=True,
    )


def _v2_numbers(nested: list[Any]) -> object:
    (plane,) = nested
    data = [value for line in plane for value in line]
    return {"inputs": [{"name": "slices", "shape": [1, len(plane), len(plane[0])], "datatype": "UINT16", "data": data}]}


V2_NUMBERS = _numbers("V2 JSON", "/v2/models/slices/infer", _v2_numbers, lambda said: said["outputs"][0]["data"])

TENSOR_NUMBERS = _numbers(
    "JSON tensor", "/invocations", lambda nested: {"inputs": nested}, lambda said: said["predictions"]
)
"""MLflow's."""

ARRAY_NUMBERS = _numbers("JSON array", "/segment", lambda nested: {"slices": nested}, lambda said: said)
"""BentoML's."""

OBJECT_NUMBERS = _numbers(
    "JSON object", "/infer", lambda nested: {"slices": nested[0]}, lambda said: said["segmentation"]
)
"""LitServe's."""
