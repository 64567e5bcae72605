"""What a segmentation model says outside of any server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scans.intensity import Window
from scans.model.manifest import MODEL_FILE


def run_offline(folder: Path, slices: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """What ONNX Runtime alone says of raw slices, (Z, Y, X) of any type, one at a time: uint8 (Z, Y, X)."""
    session = onnxruntime.InferenceSession(folder / MODEL_FILE, providers=["CPUExecutionProvider"])
    ends = np.array([[window.lower, window.upper]], dtype=np.float32)
    return np.concatenate(
        [session.run(["segmentation"], {"slices": s[np.newaxis].astype(np.float32), "window": ends})[0] for s in slices]
    )
