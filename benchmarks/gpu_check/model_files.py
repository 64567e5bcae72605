"""A network with random weights, as a server takes it, in float32 and in float16."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.transformers.float16 import convert_float_to_float16

from benchmarks.models import WINDOW, Size, write_model
from scans.model.manifest import MODEL_FILE, ModelManifest, Variant, file_sha256
from serving.inference.runtime.segmentation import Runtime

_FLOAT16 = "variants/float16.onnx"


@dataclass(frozen=True)
class ModelFiles:
    """A model folder, and slices to ask it for."""

    folder: Path
    side: int

    @classmethod
    def write(cls, folder: Path, size: Size, *, side: int) -> ModelFiles:
        """Makes the model; its slices are `side` pixels wide and high."""
        write_model(folder, size)
        manifest = ModelManifest.read(folder)
        path = folder / _FLOAT16
        path.parent.mkdir()
        onnx.save(convert_float_to_float16(onnx.load(folder / MODEL_FILE), keep_io_types=True), path)
        golden = manifest.golden
        answer = Runtime.open(path, device="cpu").segment(golden.slice[np.newaxis], golden.window)[0]
        differing = float(np.mean(answer != golden.segmentation))
        variant = Variant(_FLOAT16, file_sha256(path), 1.0, 1.0, differing, answer)
        dataclasses.replace(manifest, variants={"float16": variant}).write(folder)
        return cls(folder, side)

    @property
    def float32(self) -> Path:
        """The model itself."""
        return self.folder / MODEL_FILE

    @property
    def float16(self) -> Path:
        """The variant for GPUs."""
        return self.folder / _FLOAT16

    def grey(self, slices: int) -> NDArray[np.uint16]:
        """Slices (N, Y, X) of smooth shapes and noise, as far as the window reaches."""
        y, x = np.mgrid[: self.side, : self.side] / self.side
        shapes = 1700 * (1 + np.sin(9 * y + np.arange(slices)[:, None, None]) * np.cos(7 * x))
        noise = np.random.default_rng(1).uniform(0, 400, shapes.shape)
        grey: NDArray[np.uint16] = (shapes + noise).clip(WINDOW.lower, WINDOW.upper).astype(np.uint16)
        return grey
