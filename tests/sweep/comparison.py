"""What a reader sees of a file, and in what two of them differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.formats import FormatError, SpacingMissing, open_volume
from scans.geometry import Spacing

_GIVEN = Spacing(0.3, 0.2, 0.1)
_PLACE = 1e-4
"""Share of the smallest spacing by which places may differ: headers hold 32-bit floats and rounded decimals."""


@dataclass(frozen=True)
class Seen:
    """By one reader."""

    voxels: NDArray[Any]
    """(z, y, x), as stored or, where the file says how, rescaled."""
    affine: NDArray[np.float64] | None
    """(4, 4), voxel index x, y, z to RAS+ mm; None where the file states no voxel size."""
    placed: bool = True
    """Whether the file says where the volume lies; where it does not, the affine stands for the voxel size alone."""


def seen_by_ricefish(path: Path) -> Seen:
    """What Ricefish reads. Raises FormatError where it refuses the file."""
    try:
        with open_volume(path) as volume:
            return Seen(volume.read(), volume.frame.matrix)
    except SpacingMissing:
        with open_volume(path, spacing=_GIVEN) as volume:
            return Seen(volume.read(), None)


def differences(path: Path, theirs: Seen) -> list[str]:
    """In what Ricefish reads other than the other reader; empty where they agree."""
    try:
        ours = seen_by_ricefish(path)
    except FormatError as error:
        return [f"refused: {error}"]
    return [*_voxels(ours.voxels, theirs.voxels), *_place(ours.affine, theirs)]


def _voxels(ours: NDArray[Any], theirs: NDArray[Any]) -> list[str]:
    if ours.shape != theirs.shape:
        return [f"shape {ours.shape}, theirs {theirs.shape}"]
    if ours.dtype.kind == "f":
        same = np.isclose(ours, theirs.astype(np.float64), rtol=1e-5, atol=1e-5)
    else:
        same = ours == theirs
    wrong = int(same.size - np.count_nonzero(same))
    if not wrong:
        return []
    at = tuple(int(n) for n in np.argwhere(~same)[0])
    return [f"{wrong} of {same.size} voxels; at {at} {ours[at]!r}, theirs {theirs[at]!r}"]


def _place(ours: NDArray[np.float64] | None, theirs: Seen) -> list[str]:
    if ours is None or theirs.affine is None:
        return [] if ours is theirs.affine else [f"spacing: {_said(ours)}, theirs {_said(theirs.affine)}"]
    steps, their_steps = (np.linalg.norm(one[:3, :3], axis=0) for one in (ours, theirs.affine))
    if not np.allclose(steps, their_steps, rtol=_PLACE):
        return [f"spacing: {_said(ours)}, theirs {_said(theirs.affine)}"]
    if theirs.placed and not np.allclose(ours, theirs.affine, rtol=_PLACE, atol=_PLACE * their_steps.min()):
        return [f"place: {ours.round(6).tolist()}, theirs {theirs.affine.round(6).tolist()}"]
    return []


def _said(affine: NDArray[np.float64] | None) -> str:
    if affine is None:
        return "none"
    return " x ".join(f"{step:.7g}" for step in np.linalg.norm(affine[:3, :3], axis=0)[::-1]) + " mm"
