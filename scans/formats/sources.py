"""What a format's reader hands over, and the voxels that are made of it: checked, native, safe to read from threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scans.formats.errors import GREY_VALUES, ONE_VOLUME, WHOLE_FILE, FormatError, NoSpacing, SpacingMissing, guarded
from scans.geometry import Frame, Spacing, Triple

MOST_SLICES = 1 << 20
"""Of a volume; a damaged header often announces more, and a file that leaves out empty chunks has any number."""
LARGEST_SLICE = 1 << 30
"""Bytes of the largest slice that is read; a damaged header often announces a larger one."""

_CONTRADICTION = 0.01
"""Share by which a spacing that is given may differ from the file's."""


class VoxelSource(Protocol):
    """Voxels as a file holds them. Whatever its library raises is turned into FormatError by the caller."""

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what `read` returns, of either byte order."""
        ...

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Slices [start, stop), a (stop - start, Y, X) array."""
        ...


@dataclass(frozen=True)
class Opened:
    """A file whose header has been understood."""

    source: VoxelSource
    frame: Frame | None
    """None where the file states no spacing."""
    without_spacing: str = "the file states no voxel spacing"
    """Why there is no frame, for SpacingMissing."""
    notes: tuple[str, ...] = ()
    """What whoever brought the file should know of how it was read, a sentence each: files that were passed over."""
    labels: VoxelSource | None = None
    """The voxels as labels, where these are others than the grey values: a scan may be inverted, a class may not."""
    inverted: str = ""
    """Where the file says that its low values are bright, for which its grey values were inverted; empty: nowhere."""
    source_headers: Callable[[], bytes | None] | None = None
    """Gives what is to be kept of the file's headers beside a copy of its voxels; None: the format has nothing such."""
    unwritten: str = ""
    """What of the voxels was never written, which labels may leave out, and a scan may not; empty: nothing."""

    def voxels(self, path: Path, *, labels: bool) -> CheckedVoxels:
        """The grey values, or the labels. Raises FormatError as `CheckedVoxels.of`, and for what was never written."""
        voxels = CheckedVoxels.of(path, (self.labels or self.source) if labels else self.source)
        if self.unwritten and not labels:
            raise FormatError(path, self.unwritten, WHOLE_FILE)
        return voxels

    def said(self, *, labels: bool) -> tuple[str, ...]:
        """The notes of a scan or of labels, which may be others for polarity."""
        if not self.inverted or (labels and self.labels is not self.source):
            return self.notes
        where = f"low values are bright in the file ({self.inverted})"
        return (*self.notes, f"{where}; they were inverted, as high is bright for a model")

    @classmethod
    def placed(cls, source: VoxelSource, frame: Callable[[], Frame], notes: tuple[str, ...] = ()) -> Opened:
        """With the frame that `frame` makes of the header; without one, and the reason, where it raises NoSpacing."""
        try:
            return cls(source, frame(), notes=notes)
        except NoSpacing as none:
            return cls(source, None, str(none), notes)


def placed_frame(what: str, make: Callable[[], Frame]) -> Frame:
    """A frame of numbers that a file calls `what`. Raises NoSpacing where they are 0, negative or beyond all bounds."""
    try:
        return make()
    except ValueError as error:
        raise NoSpacing(f"{what} cannot be used: {error}") from error


@dataclass(frozen=True)
class CheckedVoxels:
    """Voxels of a source in native byte order; bool becomes uint8, every floating point type float32.

    Raises FormatError where a slab cannot be read, or holds a value that is NaN, infinite or beyond float32.
    """

    path: Path
    source: VoxelSource
    shape: Triple
    dtype: np.dtype[Any]
    plain: bool = False
    """Whether the file holds the voxels as they are, one after another: a slab is read from its place."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def of(cls, path: Path, source: VoxelSource) -> CheckedVoxels:
        """Raises FormatError for an axis without voxels and for types that hold no single real number."""
        shape = source.shape
        if min(shape) < 1:
            raise FormatError(
                path, f"empty: {_product(shape)} voxels (z, y, x)", f"{ONE_VOLUME}, none of them of size 0"
            )
        if shape[0] > MOST_SLICES:
            raise FormatError(path, f"damaged, or {shape[0]} slices", f"at most {MOST_SLICES} slices")
        dtype = native_dtype(path, source.dtype)
        if (size := shape[1] * shape[2] * max(dtype.itemsize, source.dtype.itemsize)) > LARGEST_SLICE:
            raise FormatError(path, f"damaged, or slices of {size} bytes ({_product(shape)} voxels)", "slices of 1 GiB")
        return cls(path, source, shape, dtype, getattr(source, "plain", False))

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Slices [start, stop) as a native (stop - start, Y, X) array."""
        if not 0 <= start <= stop <= self.shape[0]:
            raise IndexError(f"slices {start} to {stop} of a volume of {self.shape[0]}")
        expected = (stop - start, *self.shape[1:])
        if start == stop:
            return np.empty(expected, self.dtype)
        with self._lock, guarded(self.path, f"reading slices {start} to {stop - 1}"):
            stored = self.source.read(start, stop)
        if stored.shape != expected:
            raise FormatError(
                self.path,
                f"slices {start} to {stop - 1} are {_product(stored.shape)} voxels where the header says "
                f"{_product(expected)}",
                "slices of one size",
            )
        with np.errstate(over="ignore"):
            slab = stored.astype(self.dtype, copy=False)
        self._refuse_not_finite(slab, start)
        return slab

    def _refuse_not_finite(self, slab: NDArray[Any], start: int) -> None:
        if self.dtype.kind != "f":
            return
        for offset, plane in enumerate(slab):
            if not np.isfinite(plane).all():
                count = int(plane.size - np.isfinite(plane).sum())
                raise FormatError(
                    self.path,
                    f"slice {start + offset} holds {count} voxels that are NaN, infinite or beyond 3.4e38",
                    "finite grey values; replace the others before the scan is used",
                )


def native_dtype(path: Path, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What voxels of a stored type become. Raises FormatError for complex, colour, text and object types."""
    if dtype.fields is not None:
        raise FormatError(path, f"each voxel holds {len(dtype.fields)} values ({', '.join(dtype.fields)})", GREY_VALUES)
    if dtype.kind == "c":
        raise FormatError(path, f"the voxels are complex numbers ({dtype.name})", GREY_VALUES)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32)
    if dtype.kind in "iu":
        return dtype.newbyteorder("=")
    raise FormatError(path, f"the voxels are of type {dtype}", GREY_VALUES)


def frame_of(path: Path, opened: Opened, spacing: Spacing | None) -> Frame:
    """The file's frame; where it states none, one made of `spacing`.

    Raises SpacingMissing if there is neither, and FormatError if both are there and differ by more than 1 %.
    """
    if opened.frame is None:
        if spacing is None:
            raise SpacingMissing(path, opened.without_spacing)
        return Frame.from_lps(spacing)
    stated = opened.frame.spacing
    if spacing and any(abs(a - b) > _CONTRADICTION * b for a, b in zip(spacing, stated, strict=True)):
        raise FormatError(
            path,
            f"the file says {_millimetres(stated)}, the spacing given with it is {_millimetres(spacing)} (z, y, x)",
            "a spacing for files that state none, or the same as the file's to 1 %",
        )
    return opened.frame


def _millimetres(spacing: Spacing) -> str:
    return " x ".join(f"{value:.6g}" for value in spacing) + " mm"


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
