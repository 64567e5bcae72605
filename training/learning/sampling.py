"""Which patches are learnt from: batches that stage, seed and step alone decide.

The batch of a step is the same whatever the number of worker processes, and the patches of a step are the same
whatever the number of training processes that share them; so training can go on from any step. Raw crops are cut where
batches are made; how they are turned and changed is drawn with them, and done on the device that trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from scans.organs import OrganMap
from training.command import StageError
from training.data.patches import Rectangle
from training.data.prepared import VolumeRecord
from training.learning.augmentation import GreyChange, along, draw_grey_change, draw_linear, greatest_extent
from training.learning.grey_values import GreyChanges, change_grey_values
from training.learning.pools import Pool
from training.learning.posing import Poses
from training.learning.randomness import patch_generator
from training.recipe import Augmentation, Sampling

_SENT = [np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "float32")]
"""Types of grey values that crops are sent to the device in; others as float32, which all become there."""


class CropBatch(NamedTuple):
    """What patches are made of, and how."""

    crops: Tensor
    """(N, H, W), in the grey values and the type of the scan: of each slice what its patch shows, from the first row
    and column; the rest is 0."""
    labels: Tensor
    """uint8 (N, H, W), class indices, or NOT_LABELLED."""
    windows: Tensor
    """float32 (N, 2): the grey values that become 0 and 1."""
    poses: Poses
    changes: GreyChanges
    seed: Tensor
    """int64 (1,): for what else is drawn in this step by this process."""


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


class _Cut(NamedTuple):
    """A raw crop, and how its patch is made of it; the fields of CropBatch for one patch."""

    crop: NDArray[Any]
    labels: NDArray[np.uint8]
    window: tuple[float, float]
    linear: NDArray[np.float64]
    centre: tuple[float, float]
    change: GreyChange


@dataclass(frozen=True)
class PatchBatches(Dataset[CropBatch]):
    """The batch of each step, by its number: `shown(batches[step])`. Any step, in any order, in any process, is the
    same."""

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

    @cached_property
    def crop_shape(self) -> tuple[int, int]:
        """Rows and columns of a raw crop: what the greatest patch shows, and no more than the largest slice has."""
        extents = [
            greatest_extent(self.augmentation, side=self.sampling.crop, pixel=pixel)
            for pixel in {pixel for pool in self.pools for pixel in pool.pixels}
        ]
        slices = [volume.shape[1:] for pool in self.pools for volume in pool.volumes]
        rows, columns = (
            min(max(shape[axis] for shape in extents), max(shape[axis] for shape in slices)) for axis in (0, 1)
        )
        return rows, columns

    def __getitem__(self, step: int) -> CropBatch:
        patches, after = range(self.rank, self.batch_size, self.world_size), self.batch_size + self.rank
        pools, shares = self.pools, self.shares
        if self.labelled_only_from is not None and step >= self.labelled_only_from:
            pools, shares = pools[:1], (1.0,)
        generators = (patch_generator(self.stage, self.seed, step=step, patch=patch) for patch in patches)
        cuts = [self._cut(pools[rng.choice(len(pools), p=shares)], rng) for rng in generators]
        return CropBatch(
            torch.from_numpy(_padded([cut.crop for cut in cuts], self.crop_shape)),
            torch.from_numpy(_padded([cut.labels for cut in cuts], self.crop_shape)),
            torch.tensor([cut.window for cut in cuts], dtype=torch.float32),
            Poses(
                torch.from_numpy(np.stack([cut.linear for cut in cuts]).astype(np.float32)),
                torch.tensor([cut.centre for cut in cuts], dtype=torch.float32),
                torch.tensor([cut.crop.shape for cut in cuts], dtype=torch.float32),
            ),
            GreyChanges.of([cut.change for cut in cuts], self.augmentation),
            torch.tensor([patch_generator(self.stage, self.seed, step=step, patch=after).integers(2**62)]),
        )

    def shown(self, raw: CropBatch) -> Batch:
        """The patches of a batch, made on the device that it is on."""
        places = raw.poses.places(self.sampling.crop)
        lower, upper = raw.windows.view(-1, 2, 1, 1, 1).unbind(1)
        grey = places.grey_values(raw.crops.unsqueeze(1)).clamp(lower, upper)
        images = torch.where(places.inside.unsqueeze(1), (grey - lower) / (upper - lower), 0.0)
        labels = places.labels(raw.labels)
        traded = self._mirrored.to(labels.device)[labels.long()]
        labels = torch.where(raw.poses.reflected.view(-1, 1, 1), traded, labels)
        changed = change_grey_values(images, labels, raw.changes)
        return Batch(changed, labels, images if self.unchanged_too else torch.empty(0), raw.seed)

    @cached_property
    def _mirrored(self) -> Tensor:
        """uint8 (256,): the class index that each class has in a mirror image; NOT_LABELLED keeps its own."""
        lookup = torch.arange(256, dtype=torch.uint8)
        lookup[: self.organs.classes] = torch.from_numpy(self.organs.mirrored)
        return lookup

    def _cut(self, pool: Pool, rng: np.random.Generator) -> _Cut:
        organ = self._organ(pool, rng)
        row = int(rng.integers(len(pool)) if organ is None else rng.choice(pool.holding[organ - 1]))
        number, slice_index = pool.volume_of[row], int(pool.slice_index[row])
        volume = pool.volumes[number]
        start = self._anywhere(volume, rng) if organ is None else self._around(pool, volume, slice_index, organ, rng)
        linear = draw_linear(along(self.augmentation, pool.axis), rng, pixel=pool.pixels[number])
        centre = np.array(start) + (self.sampling.crop - 1) / 2
        seen = self._seen(centre, linear, shape=volume.shape)
        # where one slice in ten is labelled, the others' planes would have stripes of labels to be seen
        by_class, classes = pool.by_people and pool.axis == 0, self.organs.classes
        return _Cut(
            crop=pool.images.window(volume.id, "image", slice_index, seen),
            labels=pool.labels.window(volume.id, "labels", slice_index, seen),
            window=(volume.window.lower, volume.window.upper),
            linear=linear,
            centre=(centre[0] - seen.top, centre[1] - seen.left),
            change=draw_grey_change(
                self.augmentation, rng, side=self.sampling.crop, classes=classes, by_class=by_class
            ),
        )

    def _seen(
        self, centre: NDArray[np.float64], linear: NDArray[np.float64], *, shape: tuple[int, int, int]
    ) -> Rectangle:
        """The part of a slice that a patch shows, and the pixels between which its outermost ones lie."""
        reach = np.abs(linear).sum(axis=1) * (self.sampling.crop - 1) / 2
        first = np.floor(centre - reach).clip(0, shape[1:]).astype(int)
        stop = (np.ceil(centre + reach) + 1).clip(first, shape[1:]).astype(int)
        return Rectangle(int(first[0]), int(first[1]), int(stop[0]), int(stop[1]))

    def _organ(self, pool: Pool, rng: np.random.Generator) -> int | None:
        """An organ, drawn evenly among those that the pool holds; None where the patch may fall anywhere."""
        present = [organ.index for organ in self.organs.organs if len(pool.holding[organ.index - 1])]
        if not present or rng.random() >= self.sampling.organ_share:
            return None
        return int(rng.choice(present))

    def _anywhere(self, volume: VolumeRecord, rng: np.random.Generator) -> tuple[int, int]:
        y, x = (int(rng.integers(low, high + 1)) for low, high in self._bounds(volume))
        return (y, x)

    def _around(
        self, pool: Pool, volume: VolumeRecord, slice_index: int, organ: int, rng: np.random.Generator
    ) -> tuple[int, int]:
        """The start of a patch that shows a random pixel of the organ, up to a quarter of its side off its middle."""
        mask = pool.labels.whole(volume.id, "labels", slice_index) == organ
        pixel = np.unravel_index(rng.choice(np.flatnonzero(mask)), mask.shape)
        jitter = rng.integers(-(self.sampling.crop // 4), self.sampling.crop // 4 + 1, size=2)
        wanted = np.array(pixel) + jitter - self.sampling.crop // 2
        y, x = (
            int(min(max(value, low), high)) for value, (low, high) in zip(wanted, self._bounds(volume), strict=True)
        )
        return (y, x)

    def _bounds(self, volume: VolumeRecord) -> Iterator[tuple[int, int]]:
        """First and last start along y and x that keep the patch inside the slice, or the slice inside the patch."""
        for length in volume.shape[1:]:
            room = length - self.sampling.crop
            yield min(0, room), max(0, room)


def _padded(crops: Sequence[NDArray[Any]], shape: tuple[int, int]) -> NDArray[Any]:
    """(N, H, W), each from the first row and column, in their type; in float32 where there are several, or torch cannot
    reckon with it."""
    types = {crop.dtype for crop in crops}
    dtype = types.pop().newbyteorder("=") if len(types) == 1 else np.dtype(np.float32)
    padded = np.zeros((len(crops), *shape), dtype if dtype in _SENT else np.float32)
    for place, crop in zip(padded, crops, strict=True):
        rows, columns = crop.shape
        place[:rows, :columns] = crop
    return padded
