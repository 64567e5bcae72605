"""Components: the connected parts of each organ in a volume, and which of them are too small to be believed.

Where a Teacher is unsure it speckles: a few voxels of an organ far from where the organ is. How small a part may be,
measured by the largest one of its organ, is chosen per organ where the truth is known and the Teacher was not taught:
on the cross-fitted volumes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import generate_binary_structure, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scans.geometry import Box
from scans.organs import NOT_LABELLED, Organ, OrganMap
from scans.volume import Voxels
from training.stage_files import read_json, stage_file

COMPONENTS_FILE = "components.json"
SHARES = (0.0, 0.1, 0.3, 0.5, 1.0)
"""Of the largest component's voxels, what a component may need to stay; the first leaves all."""
_FACES = generate_binary_structure(3, 1)

ComponentRule = Mapping[str, float]
"""Organ -> the share of its largest component that a component needs to stay; organs without one keep all."""


@dataclass(frozen=True, eq=False)
class OrganComponents:
    """The components of a volume's organs: voxels of one organ that touch with a face. Arrays are int64 (components,).

    One slab of `slab_slices` slices is in memory, and a few numbers for each component.
    """

    labels: Voxels
    """uint8 (Z, Y, X) class indices."""
    slab_slices: int
    component_of: NDArray[np.int64]
    """(parts,): of each part, which is what a slab holds of a component, numbered upwards from the first slab."""
    organ: NDArray[np.int64]
    """Its class index."""
    voxels: NDArray[np.int64]
    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    """Voxels of the same organ, and of another class, in the truth; both zero where none was given."""

    @classmethod
    def of(cls, labels: Voxels, *, classes: int, slab_slices: int, truth: Voxels | None = None) -> OrganComponents:
        """Finds them, from the first slab to the last. Raises ValueError if the truth has another shape."""
        if truth is not None and truth.shape != labels.shape:
            raise ValueError(f"the truth has shape {truth.shape}, the labels {labels.shape}; they must be the same")
        found = _Found()
        for box, slab, parts in _slabs(labels, classes=classes, slab_slices=slab_slices):
            found.add(slab, parts, None if truth is None else truth.read(box.start[0], box.stop[0]))
        return found.together(labels, slab_slices)

    def kept(self, organs: OrganMap, rule: ComponentRule) -> NDArray[np.bool_]:
        """Bool (components,): those that have their share of the largest one of their organ."""
        largest = np.zeros(organs.classes, dtype=np.int64)
        np.maximum.at(largest, self.organ, self.voxels)
        share = np.array([0.0, *(rule.get(name, 0.0) for name in organs.names)])
        kept: NDArray[np.bool_] = self.voxels >= share[self.organ] * largest[self.organ]
        return kept

    def without(self, organs: OrganMap, rule: ComponentRule) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
        """The labels slab by slab, with background in the place of what the rule does not keep."""
        of_part = np.append(True, self.kept(organs, rule)[self.component_of])
        for box, slab, parts in _slabs(self.labels, classes=organs.classes, slab_slices=self.slab_slices):
            yield box, np.where(of_part[parts], slab, np.uint8(0))


def _slabs(
    labels: Voxels, *, classes: int, slab_slices: int
) -> Iterator[tuple[Box, NDArray[np.uint8], NDArray[np.int64]]]:
    """Each slab with the number of the part that each voxel is of, from 1; 0 is background."""
    depth, height, width = labels.shape
    first = 0
    for start in range(0, depth, slab_slices):
        stop = min(start + slab_slices, depth)
        slab = labels.read(start, stop)
        parts = np.zeros(slab.shape, dtype=np.int64)
        for organ in np.flatnonzero(np.bincount(slab.ravel(), minlength=classes)[1:classes]) + 1:
            own, count = label(slab == organ, structure=_FACES)
            np.add(own, first, out=parts, where=own > 0, casting="unsafe")
            first += count
        yield Box((start, 0, 0), (stop, height, width)), slab, parts


@dataclass(eq=False)
class _Found:
    """Parts, slab by slab, and which of them touch across a border of slabs."""

    organ: list[NDArray[np.int64]] = field(default_factory=list)
    voxels: list[NDArray[np.int64]] = field(default_factory=list)
    right: list[NDArray[np.int64]] = field(default_factory=list)
    wrong: list[NDArray[np.int64]] = field(default_factory=list)
    touching: list[NDArray[np.int64]] = field(default_factory=list)
    parts: int = 0
    last: tuple[NDArray[np.uint8], NDArray[np.int64]] | None = None
    """The last slice of the slab before, and its parts."""

    def add(self, slab: NDArray[np.uint8], parts: NDArray[np.int64], truth: NDArray[np.uint8] | None) -> None:
        inside = parts > 0
        own, of_voxel = parts[inside] - self.parts - 1, slab[inside]
        count = int(own.max(initial=-1)) + 1
        organ = np.zeros(count, dtype=np.int64)
        organ[own] = of_voxel
        self.organ.append(organ)
        self.voxels.append(np.bincount(own, minlength=count))
        true = np.full(len(own), NOT_LABELLED) if truth is None else truth[inside]
        self.right.append(np.bincount(own[true == of_voxel], minlength=count))
        self.wrong.append(np.bincount(own[(true != of_voxel) & (true != NOT_LABELLED)], minlength=count))
        if self.last is not None:
            before, parts_before = self.last
            both = (before == slab[0]) & (parts[0] > 0)
            self.touching.append(np.unique(np.stack([parts_before[both], parts[0][both]]) - 1, axis=1))
        self.last = slab[-1], parts[-1]
        self.parts += count

    def together(self, labels: Voxels, slab_slices: int) -> OrganComponents:
        pairs = np.concatenate([np.zeros((2, 0), dtype=np.int64), *self.touching], axis=1)
        graph = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(self.parts, self.parts))
        count, component_of = connected_components(graph, directed=False)
        organ = np.zeros(count, dtype=np.int64)
        organ[component_of] = np.concatenate(self.organ)
        voxels, right, wrong = (
            np.bincount(component_of, weights=np.concatenate(values), minlength=count).astype(np.int64)
            for values in (self.voxels, self.right, self.wrong)
        )
        return OrganComponents(labels, slab_slices, component_of.astype(np.int64), organ, voxels, right, wrong)


def chosen_rule(volumes: Sequence[tuple[OrganComponents, NDArray[np.integer]]], organs: OrganMap) -> dict[str, float]:
    """For each organ the one of SHARES that gives the greatest Dice, mean over volumes; of equal ones the least.

    `volumes` are the components of predictions, found beside the truth, and (classes,) voxels of each class in it.
    """
    return {organ.name: max(SHARES, key=lambda share: _mean_dice(volumes, organ, share)) for organ in organs.organs}


def _mean_dice(volumes: Sequence[tuple[OrganComponents, NDArray[np.integer]]], organ: Organ, share: float) -> float:
    """Over the volumes that hold the organ in prediction or truth; 0 where none does."""
    found = [_dice(components, int(truth[organ.index]), organ.index, share) for components, truth in volumes]
    there = [dice for dice in found if dice is not None]
    return sum(there) / len(there) if there else 0.0


def _dice(components: OrganComponents, truth: int, organ: int, share: float) -> float | None:
    own = components.organ == organ
    kept = own & (components.voxels >= share * components.voxels[own].max(initial=0))
    right, wrong = int(components.right[kept].sum()), int(components.wrong[kept].sum())
    return 2 * right / (right + wrong + truth) if right + wrong + truth else None


def write_rule(folder: Path, rule: ComponentRule) -> None:
    """Writes components.json."""
    (folder / COMPONENTS_FILE).write_text(json.dumps(dict(rule), indent=1) + "\n", encoding="utf-8")


def read_rule(folder: Path) -> dict[str, float]:
    """What `write_rule` wrote; an empty rule, which keeps all, where there is none. Raises StageFileError."""
    path = folder / COMPONENTS_FILE
    if not path.exists():
        return {}
    with stage_file(path):
        return {str(name): float(share) for name, share in read_json(path).items()}
