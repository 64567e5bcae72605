"""Golden slices, with the answer that a server must give, and the variants of a model that have one of their own."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from scans.intensity import Window
from scans.precision import Precision


@dataclass(frozen=True)
class Golden:
    """A slice with its expected answer: a server must reproduce it before it serves the model.

    Raises ValueError unless both arrays are of the same shape, (Y, X), and of their types.
    """

    slice: NDArray[np.float32]
    """float32 (Y, X): raw grey values."""
    window: Window
    """The window of the volume that the slice is from."""
    segmentation: NDArray[np.uint8]
    """uint8 (Y, X): a segmentation model's answer; a quality model's input."""
    good: float | None = None
    """A quality model's answer, 0..1; None for a segmentation model."""

    def __post_init__(self) -> None:
        for name, array, dtype in (("slice", self.slice, np.float32), ("segmentation", self.segmentation, np.uint8)):
            if array.dtype != dtype or array.ndim != 2 or array.shape != self.slice.shape:
                found = f"{array.dtype} {array.shape}"
                raise ValueError(f"{name} is {found}; expected {np.dtype(dtype)} (Y, X), the shape of the slice")


@dataclass(frozen=True)
class Variant:
    """The same model in fewer bits, found to segment as well as float32 does."""

    file: str
    """Relative to the model's folder."""
    sha256: str
    mean_dice: float
    """On labelled validation slices."""
    float32_mean_dice: float
    """Of the float32 model on the same slices."""
    disagreement: float
    """Share of their pixels, 0..1, that are of another class than in float32."""
    segmentation: NDArray[np.uint8]
    """uint8 (Y, X): what it answers to the golden slice."""


def golden_content(golden: Golden) -> dict[str, Any]:
    """In types that JSON can hold."""
    return {
        "slice": _pack(golden.slice),
        "window": asdict(golden.window),
        "segmentation": _pack(golden.segmentation),
        "good": golden.good,
    }


def variants_content(variants: Mapping[Precision, Variant]) -> dict[str, Any]:
    """In types that JSON can hold."""
    return {
        precision: {**asdict(variant), "segmentation": _pack(variant.segmentation)}
        for precision, variant in variants.items()
    }


def golden_from(content: Mapping[str, Any]) -> Golden:
    """What `golden_content` gave. Raises KeyError, TypeError, ValueError or zlib.error for what it did not give."""
    return Golden(
        slice=_unpack(content["slice"]),
        window=window_from(content["window"]),
        segmentation=_unpack(content["segmentation"]),
        good=None if content["good"] is None else float(content["good"]),
    )


def variants_from(content: Any) -> dict[Precision, Variant]:
    """What `variants_content` gave. Raises as `golden_from`, and ValueError for a file outside of the folder."""
    variants: dict[Precision, Variant] = {}
    for name, entry in dict(content).items():
        if name not in get_args(Precision):
            raise ValueError(f"precision {name!r}; expected {' or '.join(get_args(Precision))}")
        path = PurePosixPath(entry["file"])
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{name}: file {entry['file']!r} leads out of the model's folder")
        variants[name] = Variant(**{**entry, "segmentation": _unpack(entry["segmentation"])})
    return variants


def window_from(content: Mapping[str, float]) -> Window:
    """From its fields."""
    return Window(lower=float(content["lower"]), upper=float(content["upper"]))


def _pack(array: NDArray[Any]) -> dict[str, Any]:
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode("ascii")
    return {"dtype": array.dtype.str, "shape": list(array.shape), "zlib_base64": data}


def _unpack(packed: Mapping[str, Any]) -> NDArray[Any]:
    raw = zlib.decompress(base64.b64decode(packed["zlib_base64"]))
    return np.frombuffer(raw, dtype=np.dtype(packed["dtype"])).reshape(packed["shape"]).copy()
