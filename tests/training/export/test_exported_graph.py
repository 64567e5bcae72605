"""The operations of the exported graph are those of scans."""

from __future__ import annotations

import numpy as np
import torch

from scans.intensity import Window
from training.export.graph import normalise


def test_the_window_inside_the_model_is_that_of_scans() -> None:
    """Window 10..20: 5, 10, 15, 20, 25 become 0, 0, 0.5, 1, 1; and on any grey values both give the same bits."""
    window = torch.tensor([[10.0, 20.0]])
    values = torch.tensor([[[5.0, 10.0, 15.0, 20.0, 25.0]]])
    assert normalise(values, window).tolist() == [[[0.0, 0.0, 0.5, 1.0, 1.0]]]
    grey = np.random.default_rng(0).normal(0, 1000, (1, 50, 50)).astype(np.float32)
    inside = normalise(torch.from_numpy(grey), torch.tensor([[-123.4, 777.7]])).numpy()
    np.testing.assert_array_equal(inside, Window(-123.4, 777.7).normalise(grey))
