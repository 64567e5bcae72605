"""Runs a model.onnx the way a server does, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scans.intensity import Window
from scans.verdicts import Verdicts


class OnnxModel:
    """A model.onnx, run on the CPU, where it gives the same numbers each time."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # half the processor time, for slices
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def segment(self, slices: NDArray[Any], window: Window) -> NDArray[np.uint8]:
        """Raw (N, Y, X) slices of a volume with that window -> uint8 (N, Y, X) class indices."""
        feed = {"slices": slices.astype(np.float32), "window": _windows(window, len(slices))}
        return np.asarray(self._run("segmentation", feed=feed)[0], dtype=np.uint8)

    def confidence(self, slices: NDArray[Any], window: Window) -> NDArray[np.float32]:
        """Raw (N, Y, X) slices of a volume with that window -> float32 (N, Y, X) winning probability."""
        feed = {"slices": slices.astype(np.float32), "window": _windows(window, len(slices))}
        return np.asarray(self._run("confidence", feed=feed)[0], dtype=np.float32)

    def segment_with_confidence(
        self, slices: NDArray[Any], window: Window
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Both, for the price of one."""
        feed = {"slices": slices.astype(np.float32), "window": _windows(window, len(slices))}
        segmentation, confidence = self._run("segmentation", "confidence", feed=feed)
        return np.asarray(segmentation, dtype=np.uint8), np.asarray(confidence, dtype=np.float32)

    def verdicts(self, slices: NDArray[Any], segmentation: NDArray[np.uint8], window: Window) -> Verdicts:
        """Raw (N, Y, X) slices and uint8 (N, Y, X) class indices -> what a Quality Classifier says of each."""
        feed = {"slices": slices.astype(np.float32), "window": _windows(window, len(slices))}
        good, *dice = self._run(*self.outputs, feed={**feed, "segmentation": segmentation})
        return Verdicts(np.asarray(good, dtype=np.float32), np.asarray(dice[0], dtype=np.float32) if dice else None)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all that it gives, in the order of the contract."""
        return tuple(output.name for output in self._session.get_outputs())

    def _run(self, *outputs: str, feed: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        answers: Sequence[NDArray[Any]] = self._session.run(list(outputs), feed)
        return answers


def _windows(window: Window, count: int) -> NDArray[np.float32]:
    return np.tile(np.array([window.lower, window.upper], dtype=np.float32), (count, 1))
