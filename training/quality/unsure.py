"""Unsure: organs in slices that those who labelled were not sure of, or that a person calls bad; these teach nothing.

Networks that look along other axes, or learnt in another order, are seldom of one wrong opinion: where they disagree,
the fused confidence is low. What is masked is an organ's pixels in one slice, not the slice. Where a person calls an
organ bad, it may be cut short or missing as well as too large: what is background in that slice is not known then, and
is masked too; only the other organs' pixels are left.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from scans.organs import NOT_LABELLED, OrganMap
from training.data.prepared import SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import PseudoLabelReader, PseudoLabelWriter
from training.progress import track
from training.quality.standing import StandingVerdicts


@dataclass(frozen=True)
class OrganDoubt:
    """Which organs of which slices, and which slices' background, may be wrong."""

    least: float
    """Mean confidence that an organ's pixels in a slice need, 0..1; 0: none."""
    said: StandingVerdicts
    """What people say of them, which counts more."""
    organs: OrganMap

    def of_volume(self, record: VolumeRecord, store: PseudoLabelReader) -> NDArray[np.bool_]:
        """bool (z, classes), by what people say and the confidence in the store of pseudo-labels.

        Of background, class 0, it is so in the slices of which somebody calls an organ bad.
        """
        bad, good = self.said.of_organs(record, self.organs)
        unsure = bad
        if self.least:
            unsure = bad | ((store.organ_confidence(record.id) < self.least) & ~good)
        return np.concatenate([bad.any(axis=1, keepdims=True), unsure], axis=1)


def leave_unsure_out(
    records: Sequence[VolumeRecord],
    doubt: OrganDoubt,
    *,
    labels_dir: Path,
    pseudo_labels_dir: Path,
    output_dir: Path,
) -> str:
    """Writes the labels of `labels_dir` into `output_dir`, which may be the same, masked where they may be wrong.

    The pixels of an organ, or of background, in a slice become NOT_LABELLED where there is doubt. Returns the SHA-256
    of all labels.
    """
    store, digest = PseudoLabelReader(pseudo_labels_dir), hashlib.sha256()
    output_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".unsure", dir=output_dir) as folder:
        labels = SliceReader(labels_dir, cache_megabytes=0)
        for record in track(records, description="Unsure organs", total=len(records), unit="volume"):
            unsure = doubt.of_volume(record, store)
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
    """Class indices, uint8 (z, Y, X), NOT_LABELLED where the class is `unsure`, bool (z, classes), in the slice."""
    lookup = np.tile(np.arange(256, dtype=np.uint8), (len(labels), 1))
    classes = slice(0, unsure.shape[1])
    lookup[:, classes] = np.where(unsure, np.uint8(NOT_LABELLED), lookup[:, classes])
    return np.stack([table[plane] for table, plane in zip(lookup, labels, strict=True)])


def holding_any(labels: NDArray[np.uint8], unsure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool (z,): slices of which anything is left when they are `masked`."""
    return np.array(
        [
            not classes.any() or bool((plane != NOT_LABELLED).any())
            for classes, plane in zip(unsure, masked(labels, unsure), strict=True)
        ],
        dtype=np.bool_,
    )
