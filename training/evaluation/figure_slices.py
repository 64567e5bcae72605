"""Which slices of the validation volumes the overlay figure shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.measures.metrics import slice_iou
from scans.organs import BACKGROUND, NOT_LABELLED
from training.data.prepared import Catalogue, SliceReader, VolumeRecord
from training.data.pseudo_labels import PseudoLabelReader
from training.evaluation.figures import OverlayRow


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
                aspect=record.frame.spacing.y / record.frame.spacing.x,
                window=record.window,
                segmentations={"truth": np.where(truth == NOT_LABELLED, np.uint8(BACKGROUND), truth), **found},
                captions={name: f"IoU {iou:.2f}" for name, iou in ious.items() if iou is not None},
            )
        )
    return tuple(rows)


def chosen_slices(
    records: Sequence[VolumeRecord], count: int, *, reader: SliceReader
) -> tuple[tuple[VolumeRecord, int], ...]:
    """At most `count` slices that hold an organ: experiments in turn, their volumes in turn, no slice twice.

    Of a volume the slice is taken that shows most of those organs that the slices before it showed least: an organ
    counts by the share that this slice has of what the organ's largest slice has, and a quarter as much each time that
    it was shown. So that all organs are seen where `count` allows it.
    """
    chosen: list[tuple[VolumeRecord, int]] = []
    shown: NDArray[np.float64] | float = 0.0
    for record in islice(cycle(_in_turn(records)), count):
        organs = reader.slice_voxels(record.id)[:, 1:].astype(np.float64)
        shares = organs / np.maximum(organs.max(axis=0), 1)
        value = (shares * 0.25**shown).sum(axis=1)
        value[[index for other, index in chosen if other.id == record.id]] = 0
        if value.max() > 0:
            best = int(value.argmax())
            chosen.append((record, best))
            shown = shown + shares[best]
    return tuple(chosen)


def _in_turn(records: Sequence[VolumeRecord]) -> tuple[VolumeRecord, ...]:
    of_experiment: Mapping[str, list[VolumeRecord]] = {record.experiment: [] for record in records}
    for record in records:
        of_experiment[record.experiment].append(record)
    longest = max((len(volumes) for volumes in of_experiment.values()), default=0)
    return tuple(volumes[i] for i in range(longest) for volumes in of_experiment.values() if i < len(volumes))
