"""Patches are turned here, a whole batch at once, on the device that trains."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_EDGE = 1e-3
"""Pixels beyond the middle of an outermost pixel that still count as on it: positions are float32."""


class Poses(NamedTuple):
    """Which pixels of its crop each square patch shows: patch position p shows centre + linear (p - middle).

    `middle` is that of the patch, (side - 1) / 2 along both axes, so that a pose turns a patch around its own middle.
    Rows and columns stand in y, x order; a crop is a piece of a slice.
    """

    linear: Tensor
    """float32 (N, 2, 2): rotation, scale and reflection."""
    centre: Tensor
    """float32 (N, 2): position in the crop, from the middle of its first pixel."""
    shape: Tensor
    """float32 (N, 2): rows and columns of the crop that are of the slice, from its first; the rest is padding."""

    @property
    def reflected(self) -> Tensor:
        """bool (N,), True where the patch is a mirror image; two reflections make a rotation, and no mirror image."""
        (yy, yx), (xy, xx) = (row.unbind(1) for row in self.linear.unbind(1))
        return yy * xx - yx * xy < 0

    def places(self, side: int) -> Places:
        """Where in the crops patches of that side have their pixels."""
        offset = torch.arange(side, dtype=torch.float32, device=self.linear.device) - (side - 1) / 2
        along = self.linear[..., None] * offset  # (N, 2, 2, side)
        positions = self.centre[..., None, None] + along[:, :, 0, :, None] + along[:, :, 1, None, :]
        last = self.shape[..., None, None] - 1
        inside = ((positions >= -_EDGE) & (positions <= last + _EDGE)).all(dim=1)
        rows, columns = torch.minimum(positions.clamp_min(0.0), last.clamp_min(0.0)).unbind(1)
        return Places(rows, columns, inside)


class Places(NamedTuple):
    """Positions in crops, of each pixel of each patch."""

    rows: Tensor
    """float32 (N, side, side), within the piece of the slice."""
    columns: Tensor
    """float32 (N, side, side), within the piece of the slice."""
    inside: Tensor
    """bool (N, side, side): False outside the slice, that is beyond the middles of its outermost pixels."""

    def grey_values(self, crops: Tensor) -> Tensor:
        """(N, C, H, W) -> float32 (N, C, side, side), interpolated linearly; what is not `inside` means nothing."""
        height, width = crops.shape[-2:]
        scaled = [
            position * (2 / max(length - 1, 1)) - 1 for position, length in ((self.columns, width), (self.rows, height))
        ]
        grid = torch.stack(scaled, dim=-1)
        return functional.grid_sample(
            crops.to(torch.float32), grid, mode="bilinear", padding_mode="border", align_corners=True
        )

    def labels(self, crops: Tensor) -> Tensor:
        """uint8 (N, H, W) -> uint8 (N, side, side), each the nearest pixel's, background where not `inside`."""
        count, _, width = crops.shape
        nearest = (self.rows + 0.5).floor().long() * width + (self.columns + 0.5).floor().long()
        shown = crops.reshape(count, -1).gather(1, nearest.flatten(1)).view(nearest.shape)
        return shown * self.inside
