"""Which slices are learnt from: pools of them, from people or from a Teacher, and how much each pool gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scans.organs import OrganMap
from training.command import StageError
from training.data.patches import PatchReader
from training.data.planes import Axis
from training.data.prepared import VolumeRecord, shard_slices
from training.data.pseudo_labels import KeptSlice


@dataclass(frozen=True)
class Pool:
    """Slices that have labels, from people or from the Teacher. A few bytes for each slice are in memory, no voxels."""

    volumes: tuple[VolumeRecord, ...]
    volume_of: NDArray[np.int32]
    """(slices,): position in `volumes`."""
    slice_index: NDArray[np.int32]
    """(slices,): position in the volume."""
    holding: tuple[NDArray[np.int32], ...]
    """For each organ (class 1 first) the slices, as positions in the two arrays above, that hold any of it."""
    images: PatchReader
    labels: PatchReader
    by_people: bool
    """Labels from people; what a Teacher made may be wrong, and is not to be seen in the grey values."""
    axis: Axis = 0
    """The slices are planes across this axis of the scans."""

    def __len__(self) -> int:
        return len(self.slice_index)

    @cached_property
    def pixels(self) -> tuple[tuple[float, float], ...]:
        """Distance of rows and of columns in mm, of each volume."""
        return tuple((volume.spacing.y, volume.spacing.x) for volume in self.volumes)


def labelled_pool(
    volumes: tuple[VolumeRecord, ...],
    organs: OrganMap,
    *,
    reader: PatchReader,
    fewest_pixels: int = 0,
    axis: Axis = 0,
) -> Pool:
    """Every slice of labelled volumes of which at least a pixel is labelled, be it as background.

    An organ is held by the slices that have `fewest_pixels` of it. What `reader` reads are planes across that axis.

    Raises StageError where there are no volumes.
    """
    if not volumes:
        raise StageError("there is no labelled volume to learn from; the prepared data set needs one for training")
    voxels_in = [reader.slices.slice_voxels(volume.id) for volume in volumes]
    labelled = [np.flatnonzero(slices.any(axis=1)).astype(np.int32) for slices in voxels_in]
    voxels = np.concatenate([slices[i] for slices, i in zip(voxels_in, labelled, strict=True)])
    return Pool(
        volumes=volumes,
        volume_of=np.repeat(np.arange(len(volumes), dtype=np.int32), [len(indices) for indices in labelled]),
        slice_index=np.concatenate(labelled),
        holding=_holding(voxels, organs, fewest_pixels),
        images=reader,
        labels=reader,
        by_people=True,
        axis=axis,
    )


def refined_pool(
    volumes: tuple[VolumeRecord, ...],
    kept: tuple[KeptSlice, ...],
    organs: OrganMap,
    *,
    images: PatchReader,
    labels: PatchReader,
    fewest_pixels: int = 0,
) -> Pool:
    """The pseudo-labelled slices that were kept; each volume's labels are read once, to see which organs are where.

    An organ is held by the slices that have `fewest_pixels` of it.

    `images` reads the prepared volumes, `labels` the store of pseudo-labels, which has the same layout. Raises
    ValueError where a kept slice is of none of the volumes.
    """
    position = {volume.id: number for number, volume in enumerate(volumes)}
    strangers = sorted({slice_.volume_id for slice_ in kept} - set(position))
    if strangers:
        raise StageError(f"refined pseudo-labels name volume {strangers[0]}, which is not among the unlabelled ones")
    ordered = sorted(kept, key=lambda slice_: (position[slice_.volume_id], slice_.slice_index))
    slice_index = np.array([slice_.slice_index for slice_ in ordered], dtype=np.int32)
    volume_of = np.array([position[slice_.volume_id] for slice_ in ordered], dtype=np.int32)
    voxels = [
        _voxels_in(labels, volume, slice_index[volume_of == number], organs) for number, volume in enumerate(volumes)
    ]
    holding = _holding(np.concatenate(voxels), organs, fewest_pixels)
    return Pool(volumes, volume_of, slice_index, holding, images, labels, by_people=False)


def _holding(voxels: NDArray[np.integer], organs: OrganMap, fewest_pixels: int) -> tuple[NDArray[np.int32], ...]:
    held = voxels >= max(fewest_pixels, 1)
    return tuple(np.flatnonzero(held[:, organ.index]).astype(np.int32) for organ in organs.organs)


def _voxels_in(
    reader: PatchReader, volume: VolumeRecord, slices: NDArray[np.int32], organs: OrganMap
) -> NDArray[np.int64]:
    """int64 (slices, classes): voxels of each class in each of the slices of one volume; read shard by shard."""
    voxels = np.zeros((len(slices), organs.classes), dtype=np.int64)
    depth = shard_slices(volume.shape, np.dtype(np.uint8))
    for shard in np.unique(slices // depth):
        slab = reader.slices.label_volume(volume).slab(shard * depth, (shard + 1) * depth)
        for row in np.flatnonzero(slices // depth == shard):
            counts = np.bincount(slab[slices[row] % depth].ravel(), minlength=organs.classes)
            voxels[row] = counts[: organs.classes]
    return voxels


def shares_of(pools: Sequence[Pool], *, labelled_share: float) -> tuple[float, ...]:
    """Shares of the patches: the first pool's, which is that of labelled slices, and the others', each as much.

    `labelled_share` is ignored where there is no other pool. 0: the first has its part of all the slices.
    """
    labelled, *others = (len(pool) for pool in pools)
    if not others:
        return (1.0,)
    first = labelled_share or labelled / (labelled + sum(others))
    return (first, *((1 - first) / len(others) for _ in others))
