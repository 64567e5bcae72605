"""The picture of a segmented scan: slices in columns; the scan, its truth and what the server answered in rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from demo.held_out import HeldOutFish
from scans.overlay import overlay

COLUMNS = 6
INCHES = 1.9
"""Side of one slice in the figure."""


def draw(path: Path, fish: HeldOutFish, served: NDArray[np.uint8]) -> None:
    """Writes a PNG of COLUMNS slices of a fish and its served segmentation, uint8 (Z, Y, X), with a legend."""
    image, truth, organs = fish.image, fish.truth, fish.organs
    chosen = telling_slices(truth, columns=COLUMNS)
    depth, height, width = image.shape
    aspect = fish.record.frame.spacing.y / fish.record.frame.spacing.x
    row_inches = INCHES * aspect * height / width
    figure = Figure(figsize=(INCHES * len(chosen), 3 * row_inches + 1.0), facecolor="white", layout="constrained")
    axes = figure.subplots(3, len(chosen), squeeze=False)
    rows = (("scan", np.zeros_like(truth)), ("truth", truth), ("served", served))
    for (label, segmentation), line in zip(rows, axes, strict=True):
        for z, axis in zip(chosen, line, strict=True):
            picture = overlay(image[z], segmentation[z], window=fish.record.window, palette=organs.palette)
            axis.imshow(picture, aspect=aspect)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(label, fontsize=11)
    for z, axis in zip(chosen, axes[0], strict=True):
        axis.set_title(f"slice {z} of {depth}", fontsize=9)
    patches = [Patch(color="#{:02x}{:02x}{:02x}".format(*organ.colour), label=organ.name) for organ in organs.organs]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(organs), 5), frameon=False, fontsize=9)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)


def telling_slices(truth: NDArray[np.uint8], *, columns: int) -> list[int]:
    """Indices of `columns` slices, upwards, spread so that each organ counts alike however large it is.

    `truth` is uint8 (Z, Y, X). Gives fewer where the volume has fewer slices.
    """
    depth = truth.shape[0]
    weight = np.full(depth, 1e-6)
    for index in np.unique(truth[truth > 0]):
        per_slice = np.count_nonzero(truth == index, axis=(1, 2))
        weight += per_slice / per_slice.sum()
    reached = np.cumsum(weight) / weight.sum()
    wanted = (np.arange(columns) + 0.5) / columns
    return sorted({int(np.searchsorted(reached, share)) for share in wanted})
