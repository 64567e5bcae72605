"""Surfaces of the organs of a finished scan, as files; made from so much of the stored pyramid as fits.

Memory and time are bounded whatever the scan is. At most 16 Mi voxels of an organ's box are read: all of them, or every
second, fourth, eighth along each axis, until it is so. Where what is left has a surface of more than half a million
sides of voxels, every second of those is taken.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Box
from scans.measures.statistics import OrganStatistics
from scans.organs import Organ, OrganMap
from scans.shape.mesh_files import glb, neuroglancer_fragment, stl
from scans.shape.surfaces import OrganNotThere, Surface, organ_surface
from serving.inference.memory_budget import MemoryBudget
from serving.queue.scan import Scan
from serving.segmentation.stored_segmentation import StoredSegmentation

SurfaceFormat = Literal["glb", "stl", "neuroglancer"]

_MOST_VOXELS = 1 << 24
"""Of an organ's box that are read and meshed at once."""
_MOST_FACES = 1 << 19
"""Sides of voxels between an organ and what it is not; about twice as many triangles are made of them. All organs of
one file share them."""
_FEWEST_FACES = 1 << 14
"""That an organ may have, however many organs share a file."""
_VOXEL_BYTES = 24
_FACE_BYTES = 512
"""That making a surface takes for each of them, and a file of it."""
_MOST_BYTES = 1 << 30
"""That the surfaces which are made at once may take."""
_KEPT_BYTES = 64 << 20
"""Of surfaces that were made, kept for the next who asks: a page asks for all organs, and then for each."""


class SurfaceNotFound(LookupError):
    """There is no such organ, or the scan has none of it."""


@dataclass(frozen=True)
class SegmentedOrgans:
    """A finished scan, as far as surfaces are made of it."""

    scan: Scan
    statistics: OrganStatistics
    voxels: StoredSegmentation
    version: int = 0
    """Of the segmentation; 0 is the model's answer."""

    @property
    def found(self) -> list[Organ]:
        """The organs of which it has a voxel, in the order of their indices."""
        return [organ for organ in self.scan.organs.organs if self.box(organ) is not None]

    def organ(self, name: str) -> Organ:
        """The organ of that name, or of that class index. Raises SurfaceNotFound that lists the names."""
        return organ_named(self.scan.organs, name)

    def box(self, organ: Organ) -> Box | None:
        """The smallest that holds an organ; None where it was not found."""
        return organ_box(self.statistics, self.scan, organ)


def organ_named(organs: OrganMap, name: str) -> Organ:
    """The organ of that name, or of that class index. Raises SurfaceNotFound that lists the names."""
    for organ in organs.organs:
        if name in (organ.name, str(organ.index)):
            return organ
    raise SurfaceNotFound(f"there is no organ {name!r}; this scan's model has {', '.join(organs.names)}")


def organ_box(statistics: OrganStatistics, scan: Scan, organ: Organ) -> Box | None:
    """The smallest that holds an organ of a scan; None where it was not found."""
    return statistics.table(scan.organs, scan.frame, scan.shape)[organ.index - 1].box


class OrganSurfaces:
    """The surfaces of one server's scans. Safe to use from any thread."""

    def __init__(self) -> None:
        self._budget = MemoryBudget()
        self._kept = KeptSurfaces()

    def file(self, segmented: SegmentedOrgans, name: str, kind: SurfaceFormat) -> bytes:
        """The surface of one organ, by name or class index. Raises SurfaceNotFound, and ResultDamaged."""
        organ = segmented.organ(name)
        with self._budget.taken(_share(_MOST_FACES)):
            surface = self._surface(segmented, organ, most_faces=_MOST_FACES)
            if kind == "glb":
                return glb([(organ, surface)])
            return stl(organ, surface) if kind == "stl" else neuroglancer_fragment(surface, segmented.scan.frame)

    def all(self, segmented: SegmentedOrgans) -> bytes:
        """All organs that a scan has, as GLB. Raises SurfaceNotFound where it has none, and ResultDamaged."""
        if not (found := segmented.found):
            raise SurfaceNotFound(f"no organ was found in scan {segmented.scan.id}, so that there is no surface")
        most_faces = max(_MOST_FACES // len(found), _FEWEST_FACES)
        with self._budget.taken(_share(most_faces * len(found))):
            return glb([(organ, self._surface(segmented, organ, most_faces=most_faces)) for organ in found])

    def _surface(self, segmented: SegmentedOrgans, organ: Organ, *, most_faces: int) -> Surface:
        scan = segmented.scan
        key = (scan.id, segmented.version, organ.index, most_faces)
        if (known := self._kept.get(key)) is not None:
            return known
        if (box := segmented.box(organ)) is None:
            raise SurfaceNotFound(f"{organ.name} was not found in scan {scan.id}, so that it has no surface")
        step = _step(box)
        mask = segmented.voxels.strided(box, step) == organ.index
        z, y, x = (-(-start // step) * step for start in box.start)
        while _faces(mask) > most_faces:
            mask, step = mask[::2, ::2, ::2], step * 2
        try:
            surface = organ_surface(mask.view(np.uint8), 1, scan.frame, start=(z, y, x), step=step)
        except OrganNotThere:
            raise SurfaceNotFound(
                f"{organ.name} is so thin and so far spread in scan {scan.id} that none of it is among every "
                f"{step} voxels along each axis, of which its surface would be made; make it of the whole segmentation"
            ) from None
        self._kept.put(key, surface)
        return surface


_Key = tuple[str, int, int, int]
"""Scan, version of its segmentation, class index, most faces."""


class KeptSurfaces:
    """Surfaces that were made, the last used of them, within a bound. Those of a scan never change."""

    def __init__(self, most_bytes: int = _KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._surfaces: OrderedDict[_Key, Surface] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: _Key) -> Surface | None:
        """One that is kept; None where it is not."""
        with self._lock:
            if key in self._surfaces:
                self._surfaces.move_to_end(key)
            return self._surfaces.get(key)

    def put(self, key: _Key, surface: Surface) -> None:
        """Keeps it, and lets go of others as room is needed; one that is larger than all room is not kept."""
        size = _bytes(surface)
        with self._lock:
            if size > self._most_bytes or key in self._surfaces:
                return
            self._surfaces[key] = surface
            self._bytes += size
            while self._bytes > self._most_bytes:
                self._bytes -= _bytes(self._surfaces.popitem(last=False)[1])


def _step(box: Box) -> int:
    step = 1
    while np.prod([-(-size // step) for size in box.shape], dtype=np.int64) > _MOST_VOXELS:
        step *= 2
    return step


def _faces(mask: NDArray[np.bool_]) -> int:
    """Sides of voxels between what is in the mask and what is not, the outer faces of the array included."""
    inside = (mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1], mask[:, :, 1:] != mask[:, :, :-1])
    outer = (mask[:1], mask[-1:], mask[:, :1], mask[:, -1:], mask[:, :, :1], mask[:, :, -1:])
    return sum(int(np.count_nonzero(sides)) for sides in (*inside, *outer))


def _share(faces: int) -> float:
    return (_VOXEL_BYTES * _MOST_VOXELS + _FACE_BYTES * faces) / _MOST_BYTES


def _bytes(surface: Surface) -> int:
    return surface.vertices_mm.nbytes + surface.faces.nbytes
