"""A second Teacher looks along all three axes of a volume; what it sees is fused with what the Teacher sees.

It is trained as the Teacher is, on as many patches, but of planes across z, y and x in equal parts. Along z its
probabilities and the Teacher's are averaged; along y and x it is alone. The Student is taught by the fused labels and
looks along one axis, as what serves does (after Zhou et al. 2019, Semi-Supervised 3D Abdominal Multi-Organ Segmentation
via Deep Multi-Planar Co-Training; not in the paper).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from scans.geometry import Triple
from scans.intensity import Window
from scans.organs import OrganMap
from training.data.planes import ACROSS, Axis, Planes, order_of, write_turned
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader
from training.learning.ensemble import Ensemble
from training.learning.fusion import Opinion
from training.learning.loop import Epoch
from training.learning.networks import Architecture
from training.learning.prediction import opinions_of
from training.learning.processes import Processes
from training.learning.supervised import Teaching
from training.params import Mirror, PseudoLabel


@dataclass(frozen=True)
class SecondTeacher:
    """All that its weights depend on."""

    section: PseudoLabel
    catalogue: Catalogue
    architecture: Architecture
    """The Teacher's."""
    seed: int
    prepared_dir: Path = PREPARED_DIR

    def trained(self, ranks: Processes, report: Callable[[Epoch], None]) -> nn.Module:
        """A network that has seen the labelled training volumes along all three axes.

        Meanwhile turned copies of these lie beside the prepared data set. `report` is called with each epoch when it is
        over.
        """
        reader = SliceReader(self.prepared_dir, cache_megabytes=0)
        with tempfile.TemporaryDirectory(prefix=".turned", dir=self.prepared_dir.parent) as folder:
            turned: dict[Axis, Path] = {axis: Path(folder) / f"axis_{axis}" for axis in ACROSS}
            for axis, of_axis in turned.items():
                of_axis.mkdir()
                for volume in self.catalogue.split("train"):
                    write_turned(of_axis, volume, axis, reader=reader, organs=self.catalogue.organs)
            teaching = self._teaching(turned)
            network = teaching.new_network()
            for epoch in teaching.epochs(network, ranks):
                report(epoch)
        return network

    def forget(self, ranks: Processes) -> None:
        """Removes the resume file, once what the network is for has been written."""
        self._teaching({}).resume(ranks).remove()

    def _teaching(self, turned: Mapping[Axis, Path]) -> Teaching:
        return Teaching(
            name="pseudo_label_second_teacher",
            volumes=self.catalogue.split("train"),
            organs=self.catalogue.organs,
            architecture=self.architecture,
            recipe=self.section,
            seed=self.seed,
            epoch_slices=self.catalogue.slices("train", "reserve"),
            prepared_dir=self.prepared_dir,
            turned_dirs=turned,
        )


@dataclass(frozen=True)
class Look:
    """A network, and the axis of the volumes that it looks along."""

    axis: Axis
    network: nn.Module

    def opinion(self, planes: NDArray[Any], window: Window, *, pixels: int) -> Opinion:
        """Of raw grey values (planes, rows, columns) across the axis; its arrays are of that shape.

        At most `pixels` go through the network together, or one plane that has more.
        """
        forward, together = opinions_of(self.network, window=window), _planes_of(pixels, planes.shape)
        parts = [forward(planes[first : first + together]) for first in range(0, len(planes), together)]
        classes, certainty = zip(*parts, strict=True)
        return Opinion(np.concatenate(classes), np.concatenate(certainty))

    def opinions(self, array: Any, window: Window, *, pixels: int) -> Iterator[tuple[int, Opinion]]:
        """Of the (Z, Y, X) array of a volume, as many planes at a time: the number of the first, and what is seen."""
        planes = Planes(array, self.axis)
        together = _planes_of(pixels, planes.shape)
        for first in range(0, planes.shape[0], together):
            yield first, self.opinion(planes[first : first + together], window, pixels=pixels)


def _planes_of(pixels: int, shape: tuple[int, ...]) -> int:
    """How many planes of (planes, rows, columns) have no more pixels than that; one at least."""
    return max(1, pixels // (shape[1] * shape[2]))


def looks_of(teacher: nn.Module, second: nn.Module | None, organs: OrganMap, *, mirror: Mirror) -> tuple[Look, ...]:
    """The Teacher's along z; with a second one both along z, and that one's along y and x.

    Each sees a plane and its mirror image along `mirror` too, where that axis lies in the plane.
    """
    if second is None:
        return (Look(0, Ensemble([teacher], organs, mirror=mirror)),)
    along_z = Look(0, Ensemble([teacher, second], organs, mirror=mirror))
    return (along_z, *(Look(axis, Ensemble([second], organs, mirror=_in_planes(mirror, axis))) for axis in ACROSS))


def _in_planes(mirror: Mirror, axis: Axis) -> Mirror:
    """The axis of volumes as that of their planes: `y` where it runs along the rows' numbers, `x` the columns'."""
    _, rows, columns = order_of(axis)
    if mirror == "none":
        return mirror
    mirrored = {"y": 1, "x": 2}[mirror]
    if mirrored == rows:
        return "y"
    return "x" if mirrored == columns else "none"


class StoredOpinion:
    """An opinion on a whole volume, on disk while it is made and until it is fused: three bytes a voxel."""

    def __init__(self, folder: Path, shape: Triple) -> None:
        folder.mkdir()
        self._classes = np.memmap(folder / "classes", dtype=np.uint8, mode="w+", shape=shape)
        self._certainty = np.memmap(folder / "certainty", dtype=np.float16, mode="w+", shape=shape)

    def write(self, axis: Axis, first: int, opinion: Opinion) -> None:
        """Puts planes across an axis, from number `first`, where they belong."""
        place = [slice(None)] * 3
        place[axis] = slice(first, first + len(opinion.classes))
        self._classes[tuple(place)] = np.moveaxis(opinion.classes, 0, axis)
        self._certainty[tuple(place)] = np.moveaxis(opinion.certainty, 0, axis)

    def slab(self, start: int, stop: int) -> Opinion:
        """Slices [start, stop)."""
        return Opinion(np.asarray(self._classes[start:stop]), self._certainty[start:stop].astype(np.float32))
