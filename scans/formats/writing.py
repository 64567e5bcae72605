"""Writing a volume slab by slab, beside its final name, and renaming it when it is complete."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Frame, Triple
from scans.organs import OrganMap


class SlabWriter(Protocol):
    """Takes a volume from the first slice to the last."""

    def write(self, slab: NDArray[Any]) -> None:
        """The next slices, (any number, Y, X). Raises ValueError for another size, type, or too many."""
        ...


class FormatWriter(SlabWriter, Protocol):
    """A format's writer. What ends the file comes from `finish`, so that a volume that is given up has no end."""

    def finish(self) -> None:
        """What follows the last slice; called once, after it, and never for a volume that is not complete."""
        ...


@dataclass(frozen=True)
class Target:
    """What is to be written."""

    path: Path
    """Where the writer writes; not the final name. For a stream, only its suffix counts."""
    shape: Triple
    dtype: np.dtype[Any]
    """Integer or floating point, little-endian."""
    frame: Frame
    organs: OrganMap | None
    """Names and colours of the classes, where the volume is a segmentation."""
    stream: BinaryIO | None = None
    """Where to write instead of a file. Only its `write` is called, with bytes that it must have taken on return."""

    def output(self, stack: ExitStack) -> BinaryIO:
        """The stream, or the file opened for writing; for formats that are written from front to back."""
        return stack.enter_context(self.path.open("wb")) if self.stream is None else self.stream


@dataclass
class CheckedWriter:
    """Counts slices and refuses what does not fit, before a format's writer sees it."""

    target: Target
    inner: FormatWriter
    written: int = 0

    def write(self, slab: NDArray[Any]) -> None:
        """The next slices, (any number, Y, X). Raises ValueError for another size, type, or too many."""
        depth, height, width = self.target.shape
        if slab.ndim != 3 or slab.shape[1:] != (height, width):
            raise ValueError(f"a slab of shape {slab.shape}; the volume takes (any number, {height}, {width})")
        if not np.can_cast(slab.dtype, self.target.dtype, "safe"):
            raise ValueError(f"a slab of {slab.dtype}; the volume holds {self.target.dtype.name}")
        if self.written + len(slab) > depth:
            raise ValueError(f"{self.written + len(slab)} slices for a volume of {depth}")
        if len(slab):
            self.inner.write(np.ascontiguousarray(slab, self.target.dtype))
        self.written += len(slab)

    def finish(self) -> None:
        """Ends the volume. Raises ValueError unless every slice has been written."""
        if self.written != self.target.shape[0]:
            raise ValueError(f"{self.written} slices were written of {self.target.shape[0]}")
        self.inner.finish()


def writable_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that is stored: little-endian; bool as uint8. Raises ValueError for what is not a real number."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind not in "iu" and dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"voxels of {dtype} cannot be written; integers, float32 and float64 can")
    return dtype.newbyteorder("<")
