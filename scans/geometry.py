"""Frozen values of geometry, in z, y, x order: Spacing, Box, and the Frame that places voxels in space."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]

LEAST_MM, MOST_MM = 1e-6, 1e5
"""Spacing of voxels that there are, in mm: from a nanometre to 100 metres. With what lies far beyond, the squares and
cubes of spacings, and the float32 of some formats, become 0 or infinite."""
FARTHEST_MM = 1e7
"""That a volume's first voxel may lie from the origin along an axis: 10 kilometres."""

MOST_SHEAR_DEGREES = 0.1
"""Of axes that are said to be at right angles: over 500 voxels it amounts to one."""

_ROUNDING = 1e-6
"""By which a spacing at the end of its range may miss it, as it went through float32."""

_LEAST_DETERMINANT = 1e-6
"""Of the axes' unit vectors: below it they lie in a plane, but for rounding."""

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Spacing:
    """Distance between voxel centres, in mm. Raises ValueError unless each is from LEAST_MM to MOST_MM."""

    z: float
    y: float
    x: float

    def __post_init__(self) -> None:
        for axis, value in zip("zyx", self, strict=True):
            if not LEAST_MM * (1 - _ROUNDING) <= value <= MOST_MM * (1 + _ROUNDING):
                raise ValueError(f"spacing along {axis} is {value} mm; it must be from {LEAST_MM:g} to {MOST_MM:g} mm")

    def __iter__(self) -> Iterator[float]:
        return iter((self.z, self.y, self.x))

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm3."""
        return self.z * self.y * self.x


@dataclass(frozen=True)
class Box:
    """Half-open box of voxel indices: `start` is inside, `stop` is not. Empty where stop <= start on any axis."""

    start: Triple
    stop: Triple

    @classmethod
    def of_shape(cls, shape: Triple) -> Box:
        """The box from (0, 0, 0) that holds a whole array of that shape."""
        return cls((0, 0, 0), shape)

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x; never negative."""
        z, y, x = (max(0, b - a) for a, b in zip(self.start, self.stop, strict=True))
        return (z, y, x)

    @property
    def voxels(self) -> int:
        """Number of voxels inside."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The index of this box in an array whose first voxel is (0, 0, 0)."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return (z, y, x)

    def __or__(self, other: Box) -> Box:
        """The smallest box that holds both; an empty box adds nothing."""
        if not self.voxels:
            return other
        if not other.voxels:
            return self
        return Box(_each(min, self.start, other.start), _each(max, self.stop, other.stop))

    def __and__(self, other: Box) -> Box:
        """What lies in both; empty where nothing does."""
        return Box(_each(max, self.start, other.start), _each(min, self.stop, other.stop))

    def shifted(self, offset: Triple) -> Box:
        """This box moved by `offset` voxels."""
        return Box(_each(int.__add__, self.start, offset), _each(int.__add__, self.stop, offset))

    def touches_border(self, shape: Triple) -> bool:
        """True where the box reaches an outer face of an array of that shape, so that what it holds may be cut off."""
        return any(a <= 0 or b >= n for a, b, n in zip(self.start, self.stop, shape, strict=True))


@dataclass(frozen=True)
class NiftiForms:
    """The two places that a NIfTI header states, with what programs choose between them by: lengths in its unit.

    They may differ, and each program has its own order of preference. So they are carried as they are.
    """

    unit: str
    """The symbol of its unit: mm, um or m. Some programs go by it, others do not."""
    qform_code: int
    """0: programs pass over the quaternion."""
    sform_code: int
    """0: programs pass over the rows."""
    pixdim: tuple[float, float, float, float]
    """1 or -1 (the handedness of the quaternion's axes), then the voxel's sides along x, y, z."""
    quaternion: tuple[float, float, float]
    """b, c, d; a is what makes its length 1."""
    offset: tuple[float, float, float]
    """Where the quaternion's first voxel lies, x, y, z, RAS+."""
    rows: tuple[tuple[float, ...], ...]
    """3 x 4: index x, y, z, 1 to RAS+, where `sform_code` is not 0."""

    @property
    def places(self) -> list[NDArray[np.float64]]:
        """The affines, 4 x 4, in its unit, of the forms whose code is not 0: sform, then qform."""
        places = [np.array([*self.rows, (0, 0, 0, 1)], dtype=np.float64)] if self.sform_code else []
        if self.qform_code:
            b, c, d = self.quaternion
            a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
            rotation = [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
            handedness, x, y, z = self.pixdim
            qform = np.eye(4)
            qform[:3, :3] = np.array(rotation) * (x, y, z * handedness)
            qform[:3, 3] = self.offset
            places.append(qform)
        return places


@dataclass(frozen=True)
class StatedUnits:
    """The units in which a scan's file has its lengths, for results that programs lay over it number by number."""

    symbols: tuple[str, str, str]
    """Of the world's x, y and z axes: "um"."""
    kept_in: str
    """The formats that programs show so: a result in one of them has the same units, in any other mm."""


@dataclass(frozen=True)
class Frame:
    """Where voxels lie in space: an affine from voxel index (x, y, z, 1) to NIfTI's world (RAS+, mm).

    The affine is kept as the file gave it, so that what is written has exactly the affine of what was read; spacing,
    origin and direction, in the LPS+ convention of ITK and DICOM, are derived from it.
    """

    affine: tuple[tuple[float, ...], ...]
    """4 x 4, rows; the order is x, y, z as in NIfTI, the world RAS+."""
    nifti: NiftiForms | None = field(default=None, compare=False)
    """Of a scan that came as NIfTI, what its header says; the affine is what nibabel makes of it."""
    units: StatedUnits | None = field(default=None, compare=False)
    """Those of the file that it comes from, where it is not in mm; the affine is in mm in any case."""
    placed: bool = field(default=True, compare=False)
    """False where nobody has said where the voxels lie and how the axes run, but only how far apart they are."""

    def __post_init__(self) -> None:
        matrix = self.matrix
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.array_equal(matrix[3], (0, 0, 0, 1)):
            raise ValueError(f"not an affine of 4 x 4 finite values with last row 0 0 0 1: {self.affine}")
        if (
            not (abs(matrix[:3, :3]) <= MOST_MM * (1 + _ROUNDING)).all()
            or not (abs(matrix[:3, 3]) <= FARTHEST_MM).all()
        ):
            raise ValueError(
                f"the affine {self.affine} has steps of more than {MOST_MM:g} mm or an origin beyond {FARTHEST_MM:g} mm"
            )
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        if not lengths.all() or abs(np.linalg.det(matrix[:3, :3] / lengths)) < _LEAST_DETERMINANT:
            raise ValueError(f"the affine {self.affine} is singular: one axis has no length or two are parallel")
        Spacing(*(float(length) for length in reversed(lengths)))

    @classmethod
    def from_affine(cls, matrix: NDArray[np.floating], *, units: StatedUnits | None = None) -> Frame:
        """From a 4 x 4 array, index (x, y, z, 1) to RAS+ mm. Raises ValueError if it is singular or not finite."""
        return cls(tuple(tuple(float(v) for v in row) for row in np.asarray(matrix)), units=units)

    @classmethod
    def from_lps(
        cls,
        spacing: Spacing,
        origin: tuple[float, float, float] | None = None,
        direction: NDArray[np.floating] | None = None,
        *,
        units: StatedUnits | None = None,
    ) -> Frame:
        """From ITK's terms: origin (x, y, z) in mm and direction (3 x 3, columns are the x, y, z axes), both LPS+.

        Without either, it is at 0 along the axes of LPS, and not `placed`.
        """
        matrix = np.eye(4)
        axes = np.eye(3) if direction is None else np.asarray(direction, dtype=float)
        matrix[:3, :3] = axes * np.array([spacing.x, spacing.y, spacing.z])
        matrix[:3, 3] = origin or 0.0
        frame = cls.from_affine(_LPS_FROM_RAS @ matrix, units=units)
        return replace(frame, placed=origin is not None or direction is not None)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as a float64 (4, 4) array."""
        return np.array(self.affine, dtype=np.float64)

    @property
    def spacing(self) -> Spacing:
        """Length of each axis' step in mm."""
        x, y, z = np.linalg.norm(self.matrix[:3, :3], axis=0)
        return Spacing(z=float(z), y=float(y), x=float(x))

    def units_in(self, formats: str) -> tuple[str, str, str]:
        """The units of x, y and z in which a result is written in these formats."""
        return self.units.symbols if self.units and self.units.kept_in == formats else ("mm", "mm", "mm")

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm3, also where the axes are not at right angles."""
        return float(abs(np.linalg.det(self.matrix[:3, :3])))

    @property
    def origin(self) -> tuple[float, float, float]:
        """Centre of voxel (0, 0, 0): x, y, z in mm, LPS+."""
        x, y, z = (_LPS_FROM_RAS @ self.matrix)[:3, 3]
        return (float(x), float(y), float(z))

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vectors of the x, y and z axes as the columns of a (3, 3) array, LPS+."""
        axes = (_LPS_FROM_RAS @ self.matrix)[:3, :3]
        unit: NDArray[np.float64] = axes / np.linalg.norm(axes, axis=0)
        return unit

    @property
    def shear_degrees(self) -> float:
        """By how much the angle between two axes differs from a right angle, for the two where it does most."""
        unit = self.direction
        cosines = (abs(float(unit[:, a] @ unit[:, b])) for a, b in ((0, 1), (0, 2), (1, 2)))
        return math.degrees(math.asin(min(1.0, max(cosines))))

    def world_mm(self, index: tuple[float, float, float]) -> tuple[float, float, float]:
        """World position (x, y, z in mm, RAS+) of a voxel index given as z, y, x; fractions are allowed."""
        z, y, x = index
        px, py, pz = (self.matrix @ np.array([x, y, z, 1.0]))[:3]
        return (float(px), float(py), float(pz))


def _each(operation: Callable[[int, int], int], a: Triple, b: Triple) -> Triple:
    z, y, x = (operation(i, j) for i, j in zip(a, b, strict=True))
    return (z, y, x)
