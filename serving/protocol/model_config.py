"""Model configuration: what a plain model's config.pbtxt says, held against its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.inference.runtime.plain import Node, PlainRuntime
from serving.parsing.malformed import shown as quoted
from serving.parsing.quantities import whole_number
from serving.protocol.config_text import Message
from serving.protocol.datatypes import LONGEST_SIDE, config_name, name_of
from serving.protocol.offered_model import TensorSpec, shown

ASSUMED_BATCH = 64
"""Largest batch that clients are told of where no configuration says one; larger ones are taken, too."""
_LARGEST_BATCH = 2**31 - 1
"""What Triton's configuration can hold."""
_PLATFORMS = frozenset({"onnxruntime_onnx", "onnxruntime", "onnx", ""})


class ConfigRefused(ValueError):
    """A configuration that does not fit the model; the message names the field."""


@dataclass(frozen=True)
class ModelConfig:
    """What is known of a plain model beside its weights."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    """0: the first dimension is no batch."""
    most_rows: int | None
    """Of one request; None: any number."""

    @property
    def merges(self) -> bool:
        """Whether requests may be computed together: where somebody has written that the first dimension is a batch."""
        return self.most_rows is not None and self.most_rows > 1

    @classmethod
    def of(cls, runtime: PlainRuntime, written: Message, *, name: str) -> ModelConfig:
        """From the graph, and what config.pbtxt or a client has `written`. Raises ConfigRefused."""
        _check_identity(written, name=name)
        stated = _max_batch_size(written)
        first_is_any = all(node.shape[:1] == (-1,) for node in (*runtime.inputs, *runtime.outputs))
        if stated and not first_is_any:
            raise ConfigRefused(f"max_batch_size is {stated}, but the graph has tensors whose first dimension is fixed")
        batch = stated if stated is not None else ASSUMED_BATCH if _is_batch(runtime) else 0
        return cls(
            inputs=tuple(_spec(node, written.get("input", []), batched=bool(stated)) for node in runtime.inputs),
            outputs=tuple(_spec(node, written.get("output", []), batched=bool(stated)) for node in runtime.outputs),
            max_batch_size=batch,
            most_rows=stated or None,
        )


def _is_batch(runtime: PlainRuntime) -> bool:
    """The first side of all tensors is any, and has the same name in the graph."""
    firsts = {node.symbols[:1] for node in (*runtime.inputs, *runtime.outputs)}
    return len(firsts) == 1 and firsts not in ({()}, {(None,)})


def _check_identity(written: Message, *, name: str) -> None:
    if (said := _last(written, "name")) not in (None, "", name):
        raise ConfigRefused(f"name is {quoted(said)}; the folder is '{name}'")
    for key in ("platform", "backend"):
        said = _last(written, key)
        if said is not None and (not isinstance(said, str) or said not in _PLATFORMS):
            raise ConfigRefused(f"{key} is {quoted(said)}; this server runs onnxruntime_onnx alone")


def _max_batch_size(written: Message) -> int | None:
    said = _last(written, "max_batch_size")
    if said is None:
        return None
    size = whole_number(said, name="max_batch_size", refused=ConfigRefused) if isinstance(said, str) else said
    if type(size) is not int or not 0 <= size <= _LARGEST_BATCH:
        raise ConfigRefused(f"max_batch_size is {quoted(said)}; it is a number from 0 to {_LARGEST_BATCH}")
    return size


def _spec(node: Node, written: Sequence[Any], *, batched: bool) -> TensorSpec:
    datatype = name_of(node.dtype)
    entry = next((one for one in written if isinstance(one, Mapping) and _last(one, "name") == node.name), None)
    if entry is None:
        if written:
            raise ConfigRefused(f"the graph's '{node.name}' is not configured")
        return TensorSpec(node.name, datatype, node.shape)
    if (said := _last(entry, "data_type")) not in (None, config_name(datatype)):
        raise ConfigRefused(f"'{node.name}': data_type is {quoted(said)}; the graph has {config_name(datatype)}")
    if "dims" not in entry:
        return TensorSpec(node.name, datatype, node.shape)
    if not all(type(side) is int and -1 <= side <= LONGEST_SIDE for side in entry["dims"]):
        raise ConfigRefused(
            f"'{node.name}': dims are {quoted(entry['dims'])}; they are numbers from 0 to {LONGEST_SIDE}, or -1 for any"
        )
    shape = ((-1,) if batched else ()) + tuple(entry["dims"])
    fits = len(shape) == len(node.shape)
    if not fits or any(-1 not in (a, b) and a != b for a, b in zip(shape, node.shape, strict=True)):
        raise ConfigRefused(
            f"'{node.name}': dims are {shown(entry['dims'])}, so its shape is {shown(shape)}; the graph has "
            f"{shown(node.shape)}"
        )
    return TensorSpec(node.name, datatype, shape)


def _last(message: Mapping[str, Any], name: str) -> Any:
    """As protocol buffers have it: the last one counts."""
    values = message.get(name) or [None]
    return values[-1]
