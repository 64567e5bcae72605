"""A Quality Classifier on its device: slices and their segmentation in, what it says of each out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scans.verdicts import Verdicts
from serving.inference.runtime.memory import out_of_memory_told
from serving.inference.runtime.session import QUALITY, Device, cuda_devices, open_session

_THREADS = 1
"""On the CPU: the others are the segmentation's, which it runs beside."""


@dataclass(frozen=True)
class QualitySession:
    """Safe to call from several threads."""

    session: onnxruntime.InferenceSession
    provider: str
    """The execution provider that it runs on."""
    outputs: tuple[str, ...]
    """What it says: `good`, and `dice` where it was taught to."""

    @classmethod
    def open(cls, path: Path, *, device: Device = "auto") -> QualitySession:
        """Loads a classifier, onto the first GPU where there is one. Raises RuntimeRefused."""
        gpus = cuda_devices(device)
        session = open_session(path, device=device, threads=_THREADS, gpu=gpus[0] if gpus else None, signature=QUALITY)
        outputs = tuple(output.name for output in session.get_outputs())
        return cls(session, session.get_providers()[0], outputs)

    def verdicts(self, slices: NDArray[Any], windows: NDArray[np.float32], segmentation: NDArray[np.uint8]) -> Verdicts:
        """Grey values (N, Y, X), a window for each, float32 (N, 2), class indices, uint8 (N, Y, X) -> verdicts of N.

        Raises OutOfDeviceMemory.
        """
        feed = {
            "slices": np.ascontiguousarray(slices, np.float32),
            "window": windows,
            "segmentation": np.ascontiguousarray(segmentation),
        }
        with out_of_memory_told(slices.shape, self.provider):
            said = dict(zip(self.outputs, self.session.run(self.outputs, feed), strict=True))
        return Verdicts(said["good"], said.get("dice"))
