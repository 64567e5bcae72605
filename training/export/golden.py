"""The golden slice: one that holds many organs, with the answer that a server must give to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scans.model.manifest import Golden
from scans.organs import BACKGROUND, NOT_LABELLED
from training.data.prepared import Catalogue, SliceReader
from training.export.onnx_session import OnnxModel

GREATEST_SIDE = 256
"""Of the golden slice, in pixels: a manifest is read over the network."""


def golden_slice(catalogue: Catalogue, reader: SliceReader, segmenter: OnnxModel) -> Golden:
    """The validation slice with most organs, and among those with most organ voxels; cut to 256 x 256 around them.

    Where no volume was held out, a training slice. The expected answer is the exported model's own.
    """
    records = catalogue.split("validation") or catalogue.split("train")
    richest = max(((_richness(reader.slice_voxels(record.id)), record) for record in records), key=lambda r: r[0][:2])
    (_, _, slice_index), record = richest
    image = reader.image(record.id, slice_index)
    rows, columns = _around(_organs(reader.labels(record.id, slice_index)))
    cut = np.ascontiguousarray(image[rows, columns], dtype=np.float32)
    return Golden(cut, record.window, segmenter.segment(cut[None], record.window)[0])


def _organs(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = (labels != BACKGROUND) & (labels != NOT_LABELLED)
    return mask


def _richness(slice_voxels: NDArray[np.uint32]) -> tuple[int, int, int]:
    """Organs, organ voxels and index of the richest slice; `slice_voxels` is (Z, classes)."""
    organs = slice_voxels[:, 1:]
    present, voxels = (organs > 0).sum(axis=1), organs.sum(axis=1, dtype=np.int64)
    best = int(np.lexsort((voxels, present))[-1])
    return int(present[best]), int(voxels[best]), best


def _around(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns, at most 256 of each, with the middle of the mask in their middle as far as the slice goes."""
    rows, columns = np.any(mask, axis=1), np.any(mask, axis=0)
    return _span(np.asarray(rows)), _span(np.asarray(columns))


def _span(occupied: NDArray[np.bool_]) -> slice:
    side = min(GREATEST_SIDE, len(occupied))
    where = np.flatnonzero(occupied)
    middle = int(where[0] + where[-1] + 1) // 2 if where.size else len(occupied) // 2
    start = min(max(0, middle - side // 2), len(occupied) - side)
    return slice(start, start + side)
