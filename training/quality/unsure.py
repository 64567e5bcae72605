"""Unsure: organs in slices that those who labelled were not sure of, which then teach nothing.

Networks that look along other axes, or learnt in another order, are seldom of one wrong opinion: where they disagree,
the fused confidence is low. What is masked is an organ's pixels in one slice, not the slice.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from scans.organs import NOT_LABELLED
from training.data.prepared import SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import PseudoLabelReader, PseudoLabelWriter
from training.progress import track


def leave_unsure_out(
    records: Sequence[VolumeRecord],
    *,
    least: float,
    labels_dir: Path,
    pseudo_labels_dir: Path,
    output_dir: Path,
) -> str:
    """Writes the labels of `labels_dir` into `output_dir`, which may be the same, masked where confidence is low.

    An organ's pixels in a slice become NOT_LABELLED where the mean confidence of them, as the store of pseudo-labels
    has it, is below `least` (0..1). Returns the SHA-256 of all labels.
    """
    confidence, digest = PseudoLabelReader(pseudo_labels_dir), hashlib.sha256()
    output_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".unsure", dir=output_dir) as folder:
        labels = SliceReader(labels_dir, cache_megabytes=0)
        for record in track(records, description="Unsure organs", total=len(records), unit="volume"):
            unsure = confidence.organ_confidence(record.id) < least
            depth = shard_slices(record.shape, np.dtype(np.uint8))
            with PseudoLabelWriter(Path(folder), record.id, record.shape) as writer:
                for box, slab in labels.label_volume(record).slabs(depth):
                    shown = masked(slab, unsure[box.start[0] : box.stop[0]])
                    digest.update(shown.tobytes())
                    writer.write(box, shown)
        for record in records:
            shutil.rmtree(output_dir / f"{record.id}.zarr", ignore_errors=True)
            (Path(folder) / f"{record.id}.zarr").rename(output_dir / f"{record.id}.zarr")
    return digest.hexdigest()


def masked(labels: NDArray[np.uint8], unsure: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Class indices, uint8 (z, Y, X), NOT_LABELLED where the organ is `unsure`, bool (z, organs), in the slice."""
    lookup = np.tile(np.arange(256, dtype=np.uint8), (len(labels), 1))
    organs = slice(1, 1 + unsure.shape[1])
    lookup[:, organs] = np.where(unsure, np.uint8(NOT_LABELLED), lookup[:, organs])
    return np.stack([table[plane] for table, plane in zip(lookup, labels, strict=True)])
