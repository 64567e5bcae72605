"""Contents: what is stored of a version of a model, from what export left behind."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.model.manifest import MANIFEST_FILE, QUALITY_FOLDER, ModelManifest
from training.registry.card import card
from training.tracking import model_files

_EXAMPLE_SIDE = 64
"""Pixels of the slice that is kept as an example of an input."""
_SLICES, _WINDOW = ("float32", (-1, -1, -1)), ("float32", (-1, 2))
_INPUTS: Mapping[str, model_files.Tensor] = {"slices": _SLICES, "window": _WINDOW}
_OUTPUTS: Mapping[str, model_files.Tensor] = {"segmentation": ("uint8", (-1, -1, -1)), "confidence": _SLICES}


def assemble(folder: Path, student: Path, quality: Path) -> Path:
    """The folder that is stored: both models, byte for byte, and what MLflow and its users want to know of them."""
    for source, target in ((student, folder), (quality, folder / QUALITY_FOLDER)):
        target.mkdir(parents=True)
        for name in (*ModelManifest.read(source).files, MANIFEST_FILE):
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, target / name)
    manifest = ModelManifest.read(student)
    golden = manifest.golden
    example = {
        "slices": _middle(golden.slice)[None].astype(np.float32),
        "window": np.array([[golden.window.lower, golden.window.upper]], dtype=np.float32),
    }
    model_files.describe(folder, inputs=_INPUTS, outputs=_OUTPUTS, example=example, card=card(manifest))
    return folder


def _middle(plane: NDArray[Any]) -> NDArray[Any]:
    """The middle of a slice, small enough to be read as text."""
    starts = [max(0, (side - _EXAMPLE_SIDE) // 2) for side in plane.shape]
    return plane[tuple(slice(start, start + _EXAMPLE_SIDE) for start in starts)]
