"""Labels on the grid of their image: turned the way its axes run, and put where they belong in it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.formats import SpacingMissing, open_segments, open_volume
from scans.formats.units import UNITS
from scans.geometry import MOST_SHEAR_DEGREES, Box, Frame, Spacing, Triple
from scans.grids import Orientation, apart_mm, at_right_angles, offset_in
from scans.mapped_array import mapped_array
from scans.organs import OrganMap
from scans.volume import Volume

FRAME_TOLERANCE_VOXELS = 0.1
"""Labels and image may lie this far apart at any corner, in steps of the smallest spacing."""

_SPACING_TOLERANCE = 0.01
_VIEWERS_SPACING = Spacing(1.0, 1.0, 1.0)
"""What viewers take for the spacing of a stack that states none."""
_SPOOL_SLICES = 16


class LabelsElsewhere(ValueError):
    """Labels that do not lie on the voxels of their image; the message completes "FILE ..."."""


@dataclass(frozen=True)
class Reading:
    """How labels are read by whoever has to be careful with them."""

    check: Callable[[Volume], None] = lambda labels: None
    """Is shown the labels as their file has them, before a voxel is read; may raise."""
    progress: Callable[[], None] = lambda: None
    """Is called now and then while all of them are gone through to be turned."""
    spool_dir: Path | None = None
    """Where they lie while they are turned; None: among the temporary files."""
    by_name: bool = False
    """Whether the name of a segment counts where its number is another organ's, which is else refused."""


@contextmanager
def open_labels(
    path: Path, image: Volume, organs: OrganMap, *, dataset: str | None, reading: Reading | None = None
) -> Iterator[Volume]:
    """The labels of an image, lazy, on its voxels.

    Labels in a file that states no spacing lie where the image lies. Raises FormatError for a file that cannot be read,
    LabelsElsewhere for one that does not lie on the image, and what the checks of `reading` raise.
    """
    reading = reading or Reading()
    with ExitStack() as stack:
        segments = stack.enter_context(open_segments(path, organs, by_name=reading.by_name))
        if segments is not None:
            reading.check(segments)
            yield _placed_on(image, segments, reading, partial=True)
            return
        try:
            labels = stack.enter_context(open_volume(path, dataset=dataset, labels=True))
        except SpacingMissing:
            unplaced = stack.enter_context(open_volume(path, spacing=image.spacing, dataset=dataset, labels=True))
            labels = replace(unplaced, frame=image.frame)
        reading.check(labels)
        yield _placed_on(image, labels, reading, partial=False)


def _placed_on(image: Volume, labels: Volume, reading: Reading, *, partial: bool) -> Volume:
    """The labels as a volume of the image's shape and frame, voxel for voxel.

    Their axes may run otherwise, as viewers save them, as long as the grids coincide; of an image in NIfTI whose qform
    and sform differ, either place will do, and so will one in the numbers of an image's own unit, as programs have it
    that read none. Labels of a file that states no more than their spacing lie on the image.
    `partial`: they may cover a part of the image, around which is background, or more, if that holds no label.
    Raises LabelsElsewhere.
    """
    if not labels.frame.placed and labels.shape == image.shape:
        return _laid_on(image, labels)
    problems = []
    for place in _places(image.frame):
        orientation = Orientation.nearest(labels.frame, place)
        frame = orientation.frame(labels.frame, labels.shape)
        shape = orientation.shape(labels.shape)
        box = Box.of_shape(shape).shifted(offset_in(frame, place) if partial else (0, 0, 0))
        problem = _mismatch(image, place, labels, frame, box, partial=partial)
        if not problem:
            voxels = _PlacedVoxels(labels, orientation, box, image.shape, reading)
            if beyond := voxels.beyond():
                raise LabelsElsewhere(
                    f"holds {beyond} labelled voxels beyond its image of {_sides(image.shape)} voxels"
                )
            return replace(labels, voxels=labels.voxels if voxels.unmoved else voxels, frame=image.frame)
        problems.append(problem)
    raise LabelsElsewhere(problems[0])


def _laid_on(image: Volume, labels: Volume) -> Volume:
    if any(abs(a - b) > _SPACING_TOLERANCE * b for a, b in zip(labels.spacing, image.spacing, strict=True)):
        stated, expected = (" x ".join(f"{mm:.6g}" for mm in spacing) for spacing in (labels.spacing, image.spacing))
        raise LabelsElsewhere(f"has voxels of {stated} mm (z, y, x); those of its image are {expected} mm")
    return replace(labels, frame=image.frame)


def _places(frame: Frame) -> list[Frame]:
    """Where programs see an image: in its frame, in what they make of it that know no shear, in what else the header of
    a NIfTI states; in each of these where they read no unit; and, where it states no place, along the axes of ITK or of
    NIfTI, also in voxels of 1 mm."""
    places = [frame]
    if frame.shear_degrees > MOST_SHEAR_DEGREES:
        places += at_right_angles(frame)
    units = frame.units.symbols if frame.units else ("mm",) * 3
    if frame.nifti is not None:
        units = (frame.nifti.unit,) * 3
        for form in frame.nifti.places:
            form[:3] *= UNITS[frame.nifti.unit].mm
            places += _frames(form)
        if not frame.nifti.places:
            places.append(Frame.from_lps(frame.spacing))  # as ITK has it
    if set(units) != {"mm"}:
        numbers = np.diag([*(1 / UNITS[unit].mm for unit in units), 1.0])
        places += [number for place in places for number in _frames(numbers @ place.matrix)]
    if not frame.placed:
        sides = (frame.spacing, _VIEWERS_SPACING)
        places += [Frame.from_affine(np.diag([sign * x, sign * y, z, 1])) for z, y, x in sides for sign in (-1, 1)]
    return places


def _frames(matrix: NDArray[np.float64]) -> list[Frame]:
    """The frame of an affine, if it can be one."""
    with contextlib.suppress(ValueError):
        return [Frame.from_affine(matrix)]
    return []


def _mismatch(image: Volume, place: Frame, labels: Volume, frame: Frame, box: Box, *, partial: bool) -> str:
    """Why labels that fill `box`, first voxel as `frame` has it, are not on the image's voxels; "" where they are."""
    if not partial and box.shape != image.shape:
        return f"has {_sides(labels.shape)} voxels (z x y x x); its image has {_sides(image.shape)}"
    apart = apart_mm(frame, place, box)
    if apart > FRAME_TOLERANCE_VOXELS * min(place.spacing):
        return (
            f"lies up to {apart:.3g} mm away from its image, whose smallest spacing is {min(image.spacing):.3g} mm; "
            f"the affine of the labels is {labels.frame.affine}, that of the image {image.frame.affine}"
        )
    return ""


def _sides(shape: Triple) -> str:
    return " x ".join(map(str, shape))


@dataclass(frozen=True)
class _PlacedVoxels:
    """Labels turned and put into an array of the image's shape; where the slices become others, by way of a file."""

    labels: Volume
    orientation: Orientation
    box: Box
    shape: Triple
    reading: Reading

    @property
    def unmoved(self) -> bool:
        """Whether they are already what is wanted."""
        same = self.orientation == Orientation((0, 1, 2), (False, False, False))
        return same and self.box == Box.of_shape(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.labels.dtype

    @property
    def plain(self) -> bool:
        return False

    def beyond(self) -> int:
        """Labelled voxels outside of the image; all are looked at, if the labels reach so far."""
        common = self.box & Box.of_shape(self.shape)
        if common == self.box:
            return 0
        labelled = 0
        for _, slab in self.labels.slabs(_SPOOL_SLICES):
            labelled += int(np.count_nonzero(slab))
            self.reading.progress()
        inside = sum(np.count_nonzero(self.read(z, z + 1)) for z in range(common.start[0], common.stop[0]))
        return labelled - int(inside)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        slab = np.zeros((stop - start, *self.shape[1:]), self.dtype)
        common = self.box & Box((start, 0, 0), (stop, *self.shape[1:]))
        if common.voxels:
            z, y, x = self.box.start
            depth, rows, columns = common.shifted((-z, -y, -x)).slices
            inside = self._inside(depth.start, depth.stop)
            slab[common.shifted((-start, 0, 0)).slices] = inside[:, rows, columns]
        return slab

    def _inside(self, start: int, stop: int) -> NDArray[Any]:
        if self.orientation.plain:
            return self.orientation.applied(self.labels.slab(start, stop))
        return self._turned[start:stop]

    @cached_property
    def _turned(self) -> NDArray[Any]:
        """All of them, the way the image's axes run, in a file without a name that goes with the array."""
        with tempfile.TemporaryFile(dir=self.reading.spool_dir) as file:
            turned = mapped_array(file, dtype=self.dtype, shape=self.box.shape)
        back = np.argsort(self.orientation.axes)
        steps = tuple(slice(None, None, -1 if backwards else 1) for backwards in self.orientation.backwards)
        as_stored = turned[steps].transpose(back)
        for box, slab in self.labels.slabs(_SPOOL_SLICES):
            as_stored[box.slices[0]] = slab
            self.reading.progress()
        return turned
