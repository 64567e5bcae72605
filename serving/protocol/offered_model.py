"""Offered: a version of a model as the protocol sees it, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from serving.protocol.errors import InferenceRefused
from serving.protocol.stated_tensor import StatedTensor
from serving.protocol.statistics import ModelStatistics, Timing
from serving.protocol.tensors import InferenceRequest, StatedRequest


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or an output."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """Of the whole tensor, the batch included; -1: any."""
    accepts: frozenset[str] = frozenset()
    """Datatypes that are taken beside the declared one."""
    optional: bool = False

    def check(self, tensor: StatedTensor, *, model: str) -> None:
        """Raises InferenceRefused where a tensor is of another type or shape."""
        if tensor.datatype != self.datatype and tensor.datatype not in self.accepts:
            raise InferenceRefused(
                f"inference input '{self.name}' data-type is '{tensor.datatype}', but model '{model}' expects "
                f"'{self.datatype}'"
            )
        shape = tensor.shape
        fits = len(shape) == len(self.shape)
        if not fits or any(a not in (-1, b) for a, b in zip(self.shape, shape, strict=True)):
            raise InferenceRefused(
                f"unexpected shape for input '{self.name}' for model '{model}'. "
                f"Expected {shown(self.shape)}, got {shown(shape)}"
            )


class Offered(Protocol):
    """One version of one model. All of it but `infer` is cheap."""

    @property
    def name(self) -> str: ...  # noqa: D102 - says it

    @property
    def version(self) -> str: ...  # noqa: D102 - says it

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...  # noqa: D102 - says it

    @property
    def outputs(self) -> Sequence[TensorSpec]: ...  # noqa: D102 - says it

    @property
    def max_batch_size(self) -> int:
        """As Triton's configuration has it: 0 where the first dimension is no batch."""
        ...

    @property
    def merges(self) -> bool:
        """True where requests that wait are computed together."""
        ...

    @property
    def on_gpu(self) -> bool: ...  # noqa: D102 - says it

    @property
    def statistics(self) -> ModelStatistics: ...  # noqa: D102 - says it

    def check_room(self) -> None:
        """Raises QueueFull where not even one more request may wait."""
        ...

    async def infer(self, request: InferenceRequest, timing: Timing) -> Mapping[str, NDArray[Any]]:
        """The outputs that are wanted, in the order in which they are; notes its parts. Raises InferenceRefused."""
        ...


def check(offered: Offered, request: StatedRequest) -> None:
    """Raises InferenceRefused where the request, of which no data was read, does not fit the model."""
    known = {spec.name: spec for spec in offered.inputs}
    for name in request.inputs:
        if name not in known:
            raise InferenceRefused(f"unexpected inference input '{name}' for model '{offered.name}'")
    if missing := [name for name, spec in known.items() if name not in request.inputs and not spec.optional]:
        raise InferenceRefused(
            f"expected {len(known)} inputs but got {len(request.inputs)} inputs for model '{offered.name}'. "
            f"Got input(s) {list(request.inputs)}, but missing required input(s) {missing}. "
            "Please provide all required input(s)."
        )
    for name, tensor in request.inputs.items():
        known[name].check(tensor, model=offered.name)
    offers = {spec.name for spec in offered.outputs}
    for name in request.outputs:
        if name not in offers:
            raise InferenceRefused(
                f"unexpected inference output '{name}' for model '{offered.name}'; there is {', '.join(sorted(offers))}"
            )


def shown(shape: Sequence[int]) -> str:
    """As Triton writes it."""
    return f"[{','.join(map(str, shape))}]"
