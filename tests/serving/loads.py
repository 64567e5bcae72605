"""The load that servers of tiny models are put under."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.load import CheckedLoad
from tests.serving.models import GOLDEN_WINDOW


def load(url: str, models: Mapping[str, Path]) -> CheckedLoad:
    """Two clients that ask for single slices of 64 x 64, and two that post 12 of them; each answer to the pixel."""
    grey = np.random.default_rng(3).uniform(0, 100, (12, 64, 64)).astype(np.float32)
    grey[:, 0, 0], grey[:, 0, 1] = GOLDEN_WINDOW.lower, GOLDEN_WINDOW.upper
    return CheckedLoad(url, models, grey, GOLDEN_WINDOW, scan_clients=2, pause_seconds=0.02)
