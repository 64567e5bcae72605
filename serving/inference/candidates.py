"""Candidates: the ways in which a model can be computed here, and what each of them did when they were compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.inference.runtime.segmentation_runtime import Engine, SegmentationRuntime, Served


@dataclass(frozen=True)
class EngineCandidate:
    """A precision that export has found to be as good, by a library that is installed."""

    precision: Served
    engine: Engine
    open: Callable[[int, int], SegmentationRuntime]
    """Threads of a batch and batches at once -> the loaded model. Raises RuntimeRefused."""
    open_alone: Callable[[int], SegmentationRuntime]
    """Threads -> the model once more, for a batch of single slices that nothing runs beside. Raises RuntimeRefused."""
    check: Callable[[SegmentationRuntime], None]
    """Raises RuntimeRefused where a loaded model does not answer its golden slice as it should."""

    @property
    def name(self) -> str:
        """As people are told of it."""
        return f"{self.precision} by {self.engine}"


@dataclass(frozen=True)
class ComparedCandidate:
    """What became of a candidate when all were compared."""

    precision: Served
    engine: Engine
    slices_per_second: float | None
    """Of the golden slice's shape; None where it was refused."""
    refused: str | None = None
    """Why: it could not be loaded, or answered the golden slice otherwise than it should."""

    @classmethod
    def of(cls, candidate: EngineCandidate, rate: float | None, refused: Exception | None = None) -> ComparedCandidate:
        """One that has a rate, or was refused."""
        return cls(candidate.precision, candidate.engine, rate, None if refused is None else str(refused))

    def __str__(self) -> str:
        """Such as `int8 by openvino: 69.4/s`."""
        said = f"{self.slices_per_second:.4g}/s" if self.slices_per_second is not None else f"refused: {self.refused}"
        return f"{self.precision} by {self.engine}: {said}"


def usual(candidates: Sequence[EngineCandidate]) -> EngineCandidate:
    """The one that is taken where nothing is measured: by ONNX Runtime if it may, in the fewest bits."""
    return [one for one in candidates if one.engine == "onnxruntime" or candidates[0].engine != "onnxruntime"][-1]
