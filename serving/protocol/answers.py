"""Answers of the Open Inference Protocol v2: outputs as JSON, in binary after it, or in regions of shared memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.parsing.malformed import TooLarge
from serving.protocol.datatypes import name_of, to_binary
from serving.protocol.errors import InferenceRefused
from serving.protocol.shared_memory import Regions
from serving.protocol.tensors import MOST_JSON_VALUES, InferenceRequest

_PIECE_VALUES = 1 << 14
"""Written at once: between pieces other threads get their turn."""


def encode(
    header: Mapping[str, Any], outputs: Mapping[str, NDArray[Any]], request: InferenceRequest, *, regions: Regions
) -> tuple[bytes, int | None]:
    """The body of an answer, and how many bytes of it are JSON; None where all of it is.

    Writes outputs into regions where they are wanted there. Raises InferenceRefused where one does not fit there, or
    holds what JSON has no word for, and TooLarge where it is to be JSON of too many values.
    """
    listed, raw = [], []
    for name, array in outputs.items():
        entry: dict[str, Any] = {"name": name, "datatype": name_of(array.dtype), "shape": list(array.shape)}
        data: list[bytes] = []
        if (place := request.places.get(name)) is not None:
            entry["parameters"] = regions.write(place, to_binary(array), output=name)
        elif request.is_binary(name):
            content = to_binary(array)
            entry["parameters"] = {"binary_data_size": len(content)}
            raw.append(content)
        else:
            data = [b', "data": [', *_data(name, array), b"]"]
        listed.append(b"".join([json.dumps(entry).encode()[:-1], *data, b"}"]))
    about = json.dumps({**header, **({"id": request.id} if request.id else {}), "outputs": []}).encode()
    said = b"".join([about[: -len(b"]}")], b", ".join(listed), b"]}"])
    return b"".join([said, *raw]), len(said) if raw else None


def check_json_values(values: int, *, output: str) -> None:
    """Raises TooLarge where an output of so many values is too large for JSON."""
    if values > MOST_JSON_VALUES:
        raise TooLarge(
            f"output '{output}' has {values} values, and {MOST_JSON_VALUES} are answered in JSON; ask for it in binary "
            "(the parameter binary_data of the output)"
        )


def _data(name: str, array: NDArray[Any]) -> Iterator[bytes]:
    """The values of an output, row by row, with commas between them."""
    check_json_values(array.size, output=name)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InferenceRefused(
            f"output '{name}' holds values that are not finite, which JSON cannot say; ask for it in binary (the "
            "parameter binary_data of the output)"
        )
    flat = array.reshape(-1)
    for first in range(0, flat.size, _PIECE_VALUES):
        if first:
            yield b", "
        yield json.dumps(flat[first : first + _PIECE_VALUES].tolist())[1:-1].encode()
