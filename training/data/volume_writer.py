"""Writes one volume into the prepared data set, slab by slab, and finds out on the way what is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from scans.geometry import Box, Frame, Triple
from scans.organs import OrganMap
from scans.raw.class_indices import NAMED_VALUES, class_indices
from scans.volume import Volume
from training.data.prepared import create_array, shard_slices


@dataclass(frozen=True)
class StoredVolume:
    """What was written, and what is wrong with it."""

    shape: Triple
    frame: Frame
    image_sha256: str
    """Hash of shape and grey values; the same for the same numbers in another type or another file format."""
    sha256: str
    """Hash of shape, grey values and labels."""
    organs: frozenset[int]
    """Class indices of the organs that occur; none where there are no labels."""
    foreign_labels: tuple[float, ...]
    """Label values that are no class of the organ map: the volume cannot be used as it is."""
    labelled_slices: int = 0
    """Slices in which at least one voxel is labelled, be it as background; none where there are no labels."""
    labelled_voxels: int = 0
    """Voxels that are labelled: all but those that are NOT_LABELLED."""


def store_volume(
    folder: Path, *, volume_id: str, image: Volume, labels: Volume | None, organs: OrganMap
) -> StoredVolume:
    """Writes `folder/ID.zarr`: `image` in its own type (float64 as float32), and where there are labels of the same
    shape, `labels` (uint8) and `slice_voxels` (uint32 (Z, classes)).

    Memory is bounded by one shard of slices. Raises FormatError where a file turns out to be damaged.
    """
    group = zarr.create_group(folder / f"{volume_id}.zarr", overwrite=True)
    dtype = np.dtype(np.float32) if image.dtype == np.float64 else image.dtype
    grey = hashlib.sha256(repr(image.shape).encode())
    for slab in _copied(group, "image", image.slabs(shard_slices(image.shape, dtype)), shape=image.shape, dtype=dtype):
        for plane in slab:
            grey.update(plane.astype("<f4").data)
    if labels is None:
        digest = grey.hexdigest()
        return StoredVolume(image.shape, image.frame, digest, digest, frozenset(), ())
    both, foreign = grey.copy(), set[float]()
    slabs = _class_indices(labels, organs, foreign=foreign)
    planes: list[NDArray[np.intp]] = []
    for slab in _copied(group, "labels", slabs, shape=labels.shape, dtype=np.dtype(np.uint8)):
        both.update(slab.data)
        planes += [np.bincount(plane.ravel(), minlength=organs.classes)[: organs.classes] for plane in slab]
    counts = np.array(planes, dtype=np.uint32)
    group.create_array("slice_voxels", data=counts)
    return StoredVolume(
        shape=image.shape,
        frame=image.frame,
        image_sha256=grey.hexdigest(),
        sha256=both.hexdigest(),
        organs=frozenset(int(index) for index in np.flatnonzero(counts.any(axis=0)) if index > 0),
        foreign_labels=tuple(sorted(foreign)),
        labelled_slices=int(counts.any(axis=1).sum()),
        labelled_voxels=int(counts.sum(dtype=np.int64)),
    )


Slabs = Iterable[tuple[Box, NDArray[Any]]]


def _copied(
    group: zarr.Group, name: str, slabs: Slabs, *, shape: Triple, dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """Writes the slabs into a new array of the group and hands out each as it was written."""
    array = create_array(group, name, shape=shape, dtype=dtype)
    for box, slab in slabs:
        written = np.ascontiguousarray(slab, dtype=dtype)
        array[box.slices[0]] = written
        yield written


def _class_indices(labels: Volume, organs: OrganMap, *, foreign: set[float]) -> Slabs:
    """The slabs with values that organs.yaml does not name set to 0, after adding them to `foreign`."""
    for box, slab in labels.slabs(shard_slices(labels.shape, np.dtype(np.uint8))):
        indices, wrong = class_indices(slab, classes=organs.classes, not_labelled=organs.not_labelled)
        if len(foreign) < NAMED_VALUES:
            foreign.update(wrong)
        yield box, indices
