"""Which patches are learnt from: batches that stage, seed and step alone decide, cut from slices read one by one.

The batch of a step is the same whatever the number of worker processes, and the patches of a step are the same
whatever the number of training processes that share them; so training can go on from any step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from scans.organs import OrganMap
from training.command import StageError
from training.data.planes import Axis
from training.data.prepared import SliceReader, VolumeRecord, shard_slices
from training.data.pseudo_labels import KeptSlice
from training.learning.augmentation import Pose, along, change_grey_values, draw_linear
from training.learning.randomness import patch_generator
from training.recipe import Augmentation, Sampling


class Batch(NamedTuple):
    """Patches and their labels."""

    images: Tensor
    """float32 (N, 1, S, S), normalised."""
    labels: Tensor
    """uint8 (N, S, S), class indices, or NOT_LABELLED."""
    unchanged: Tensor
    """float32 (N, 1, S, S): the patches before their grey values were changed; (0,) where nobody asked for them."""
    seed: Tensor
    """int64 (1,): for what else is drawn in this step by this process."""


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
    images: SliceReader
    labels: SliceReader
    by_people: bool
    """Labels from people; what a Teacher made may be wrong, and is not to be seen in the grey values."""
    axis: Axis = 0
    """The slices are planes across this axis of the scans."""

    def __len__(self) -> int:
        return len(self.slice_index)


def labelled_pool(
    volumes: tuple[VolumeRecord, ...],
    organs: OrganMap,
    *,
    reader: SliceReader,
    fewest_pixels: int = 0,
    axis: Axis = 0,
) -> Pool:
    """Every slice of labelled volumes of which at least a pixel is labelled, be it as background.

    An organ is held by the slices that have `fewest_pixels` of it. What `reader` reads are planes across that axis.

    Raises StageError where there are no volumes.
    """
    if not volumes:
        raise StageError("there is no labelled volume to learn from; the prepared data set needs one for training")
    voxels_in = [reader.slice_voxels(volume.id) for volume in volumes]
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
    images: SliceReader,
    labels: SliceReader,
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
    reader: SliceReader, volume: VolumeRecord, slices: NDArray[np.int32], organs: OrganMap
) -> NDArray[np.int64]:
    """int64 (slices, classes): voxels of each class in each of the slices of one volume; read shard by shard."""
    voxels = np.zeros((len(slices), organs.classes), dtype=np.int64)
    depth = shard_slices(volume.shape, np.dtype(np.uint8))
    for shard in np.unique(slices // depth):
        slab = reader.label_volume(volume).slab(shard * depth, (shard + 1) * depth)
        for row in np.flatnonzero(slices // depth == shard):
            counts = np.bincount(slab[slices[row] % depth].ravel(), minlength=organs.classes)
            voxels[row] = counts[: organs.classes]
    return voxels


@dataclass(frozen=True)
class PatchBatches(Dataset[Batch]):
    """The batch of each step, by its number: `batches[step]`. Any step, in any order, in any process, is the same."""

    pools: tuple[Pool, ...]
    shares: tuple[float, ...]
    """Share of the patches that come from each pool; their sum is 1."""
    organs: OrganMap
    sampling: Sampling
    augmentation: Augmentation
    batch_size: int
    """Patches in a step, over all processes."""
    stage: str
    """Name of the training: another one with the same seed draws other patches."""
    seed: int
    unchanged_too: bool = False
    """Patches come as they are, too, before their grey values were changed."""
    labelled_only_from: int | None = None
    """From this step on all patches come from the first pool, which is that of labelled slices; None: never."""
    rank: int = 0
    world_size: int = 1
    """This process takes every `world_size`-th patch of a step, from patch `rank`."""

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise StageError(f"batch_size {self.batch_size} cannot be shared evenly by {self.world_size} processes")

    @property
    def slices(self) -> int:
        """Slices to learn from: what an epoch goes through where it has no number of steps of its own."""
        return sum(len(pool) for pool, share in zip(self.pools, self.shares, strict=True) if share > 0)

    def __getitem__(self, step: int) -> Batch:
        patches, after = range(self.rank, self.batch_size, self.world_size), self.batch_size + self.rank
        pools, shares = self.pools, self.shares
        if self.labelled_only_from is not None and step >= self.labelled_only_from:
            pools, shares = pools[:1], (1.0,)
        generators = (patch_generator(self.stage, self.seed, step=step, patch=patch) for patch in patches)
        drawn = [self._patch(pools[rng.choice(len(pools), p=shares)], rng) for rng in generators]
        images, labels, unchanged = zip(*drawn, strict=True)
        return Batch(
            torch.from_numpy(np.stack(images)).unsqueeze(1),
            torch.from_numpy(np.stack(labels)),
            torch.from_numpy(np.stack(unchanged)).unsqueeze(1) if self.unchanged_too else torch.empty(0),
            torch.tensor([patch_generator(self.stage, self.seed, step=step, patch=after).integers(2**62)]),
        )

    def _patch(
        self, pool: Pool, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
        """Grey values, labels, and the grey values before they were changed."""
        organ = self._organ(pool, rng)
        row = int(rng.integers(len(pool)) if organ is None else rng.choice(pool.holding[organ - 1]))
        volume, slice_index = pool.volumes[pool.volume_of[row]], int(pool.slice_index[row])
        slice_, labels = pool.images.image(volume.id, slice_index), pool.labels.labels(volume.id, slice_index)
        start = self._anywhere(slice_.shape, rng) if organ is None else self._around(labels == organ, rng)
        _, *pixel = volume.spacing
        linear = draw_linear(along(self.augmentation, pool.axis), rng, pixel=(pixel[0], pixel[1]))
        pose = Pose(self.sampling.crop, start, linear)
        image = volume.window.normalise(pose.image(slice_, fill=volume.window.lower))
        shown = pose.labels(labels, mirrored=self.organs.mirrored)
        # where one slice in ten is labelled, the others' planes would have stripes of labels to be seen
        seen = shown if pool.by_people and pool.axis == 0 else None
        return change_grey_values(image, seen, self.augmentation, rng), shown, image

    def _organ(self, pool: Pool, rng: np.random.Generator) -> int | None:
        """An organ, drawn evenly among those that the pool holds; None where the patch may fall anywhere."""
        present = [organ.index for organ in self.organs.organs if len(pool.holding[organ.index - 1])]
        if not present or rng.random() >= self.sampling.organ_share:
            return None
        return int(rng.choice(present))

    def _anywhere(self, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
        y, x = (int(rng.integers(low, high + 1)) for low, high in self._bounds(shape))
        return (y, x)

    def _around(self, mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int]:
        """The start of a patch that shows a random pixel of the mask, up to a quarter of its side off its middle."""
        pixels = np.flatnonzero(mask)
        pixel = np.unravel_index(rng.choice(pixels), mask.shape)
        jitter = rng.integers(-(self.sampling.crop // 4), self.sampling.crop // 4 + 1, size=2)
        wanted = np.array(pixel) + jitter - self.sampling.crop // 2
        y, x = (
            int(np.clip(value, low, high)) for value, (low, high) in zip(wanted, self._bounds(mask.shape), strict=True)
        )
        return (y, x)

    def _bounds(self, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        """First and last start along y and x that keep the patch inside the slice, or the slice inside the patch."""
        for length in shape:
            room = length - self.sampling.crop
            yield min(0, room), max(0, room)


def shares_of(pools: Sequence[Pool], *, labelled_share: float) -> tuple[float, ...]:
    """Shares of the patches: the first pool's, which is that of labelled slices, and the others', each as much.

    `labelled_share` is ignored where there is no other pool. 0: the first has its part of all the slices.
    """
    labelled, *others = (len(pool) for pool in pools)
    if not others:
        return (1.0,)
    first = labelled_share or labelled / (labelled + sum(others))
    return (first, *((1 - first) / len(others) for _ in others))
