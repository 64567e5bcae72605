"""Which slices of the validation volumes the overlay figure shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.metrics import slice_iou
from training.figures import OverlayRow
from training.pseudo_labels import PseudoLabelReader
from training.volumes import Catalogue, SliceReader, VolumeRecord


def overlay_rows(
    catalogue: Catalogue, networks: Sequence[str], segmentations_dir: Path, *, prepared_dir: Path, count: int
) -> tuple[OverlayRow, ...]:
    """About `count` slices, spread over experiments, volumes and heights: truth and each network's segmentation.

    The segmentations are read from `segmentations_dir/NAME/ID.zarr`. Fewer rows where fewer slices hold an organ.
    """
    reader = SliceReader(prepared_dir, cache_megabytes=16)
    stores = {name: PseudoLabelReader(segmentations_dir / name) for name in networks}
    rows = []
    for record, index in chosen_slices(catalogue.split("validation"), count, reader=reader):
        truth = reader.labels(record.id, index)
        found = {name.capitalize(): store.labels(record.id, index) for name, store in stores.items()}
        ious = {name: slice_iou(labels, truth, classes=catalogue.organs.classes) for name, labels in found.items()}
        rows.append(
            OverlayRow(
                title="\n".join(filter(None, (record.id, record.experiment, f"slice {index}"))),
                slice=reader.image(record.id, index),
                window=record.window,
                segmentations={"truth": truth, **found},
                captions={name: f"IoU {iou:.2f}" for name, iou in ious.items() if iou is not None},
            )
        )
    return tuple(rows)


def chosen_slices(
    records: Sequence[VolumeRecord], count: int, *, reader: SliceReader
) -> tuple[tuple[VolumeRecord, int], ...]:
    """At most `count` slices that hold an organ: experiments in turn, then their volumes in turn.

    A volume that is chosen more than once is cut into as many parts of equal height, and each part gives the slice that
    holds most organs; among those, the one that holds most of them.
    """
    turns = _in_turn(records)
    counts = {record.id: len(range(number, count, len(turns))) for number, record in enumerate(turns)}
    return tuple(
        (record, index)
        for record in turns[:count]
        for index in _fullest(reader.slice_voxels(record.id), parts=counts[record.id])
    )


def _in_turn(records: Sequence[VolumeRecord]) -> tuple[VolumeRecord, ...]:
    of_experiment: Mapping[str, list[VolumeRecord]] = {record.experiment: [] for record in records}
    for record in records:
        of_experiment[record.experiment].append(record)
    longest = max((len(volumes) for volumes in of_experiment.values()), default=0)
    return tuple(volumes[i] for i in range(longest) for volumes in of_experiment.values() if i < len(volumes))


def _fullest(slice_voxels: NDArray[np.uint32], *, parts: int) -> tuple[int, ...]:
    organs = slice_voxels[:, 1:].astype(np.int64)
    holding = np.flatnonzero(organs.any(axis=1))
    pieces = (piece for piece in np.array_split(holding, parts) if piece.size)
    return tuple(int(max(piece, key=lambda z: ((organs[z] > 0).sum(), organs[z].sum()))) for piece in pieces)
