"""What is known of one fish of an atlas and of each of its organs: rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scans.organs import Colour

Exclusion = Literal["absent", "cut off", "unknown"]
"""Why an organ has no part in a mean: it was not found, its size is a lower bound, or nobody knows."""
Floor = Literal["share", "voxel", "absolute"]


@dataclass(frozen=True)
class OrganRecord:
    """One organ of one fish; a value is None where it was not found, or nobody knows."""

    organ: str
    voxels: int
    volume_mm3: float
    share: float
    surface_mm2: float | None
    surface_step: int
    sphericity: float | None
    head_mm: float | None
    left_mm: float | None
    back_mm: float | None
    length_mm: float | None
    width_mm: float | None
    height_mm: float | None
    asymmetry: float | None
    asymmetry_of: str
    expected_dice: float | None
    dice_low: float | None
    dice_high: float | None
    touches_border: bool


@dataclass(frozen=True)
class FishPictures:
    """Projections of a fish's labels along its own axes: PNG, red, green, blue and opacity."""

    side: bytes
    """Seen from its left, the head to the left."""
    top: bytes
    """Seen from its back, the head to the left."""
    front: bytes
    """Seen from its head."""
    length_mm: float
    """Width of `side` and `top`."""
    width_mm: float
    """Width of `front`, and height of `top`."""
    height_mm: float
    """Height of `side` and `front`."""


@dataclass(frozen=True)
class FishRecord:
    """One fish."""

    name: str
    source: str
    """Path, or id on the server."""
    organs: tuple[OrganRecord, ...]
    colours: Mapping[str, Colour]
    share_of: str
    axes: str
    """How the directions towards head, left and back are known, in this order."""
    determined: bool
    """Whether its length is so much longer than the rest that its axes mean something."""
    mirrored: bool
    touches_border: bool
    voxel_mm: float
    """The longest side of its voxels."""
    pictures: FishPictures
    group: str = "all"

    def organ(self, name: str) -> OrganRecord | None:
        """The organ of that name; None where its labels know none."""
        return next((organ for organ in self.organs if organ.organ == name), None)


@dataclass(frozen=True)
class Measure:
    """One number of an organ: a column of organs.csv, rows of groups.csv, a plot."""

    name: str
    title: str
    unit: str
    meaning: str
    floor: Floor
    """What differences are too small to be out of line: a share of the median, a voxel, or an absolute amount."""
    placed: bool = False
    """It is measured along the body's axes, and means nothing where these are not determined."""

    def value(self, organ: OrganRecord) -> float | None:
        """Of an organ."""
        value: float | None = getattr(organ, self.name)
        return value

    def counted(self, fish: FishRecord, organ: OrganRecord | None, *, cut_off: bool) -> float | Exclusion:
        """The value that has a part in means, or why there is none; `cut_off`: what is cut off counts too."""
        if organ is None or not organ.voxels:
            return "absent"
        if not cut_off and (organ.touches_border or (self.name == "share" and fish.touches_border)):
            return "cut off"
        value = self.value(organ)
        return "unknown" if value is None or (self.placed and not fish.determined) else value


MEASURES: tuple[Measure, ...] = (
    Measure("volume_mm3", "Volume", "mm³", "voxels times the volume of one", "share"),
    Measure(
        "share", "Share of the body", "", "its volume over that of all labels: `share_of` says what these are", "share"
    ),
    Measure(
        "surface_mm2",
        "Surface",
        "mm²",
        "area of its surface (marching cubes), the cut among it where it is cut off",
        "share",
    ),
    Measure(
        "sphericity",
        "Sphericity",
        "",
        "pi^(1/3) (6 V)^(2/3) / A (Wadell 1935): 1 for a ball, less for others",
        "absolute",
    ),
    Measure(
        "head_mm", "Place towards the head", "mm", "its middle, from the middle of all labels", "voxel", placed=True
    ),
    Measure(
        "left_mm", "Place towards the left", "mm", "its middle, from the middle of all labels", "voxel", placed=True
    ),
    Measure(
        "back_mm", "Place towards the back", "mm", "its middle, from the middle of all labels", "voxel", placed=True
    ),
    Measure("length_mm", "Length", "mm", "how far it reaches along the body, from tail to head", "voxel", placed=True),
    Measure("width_mm", "Width", "mm", "how far it reaches across the body, from right to left", "voxel", placed=True),
    Measure("height_mm", "Height", "mm", "how far it reaches from belly to back", "voxel", placed=True),
    Measure(
        "asymmetry",
        "Asymmetry",
        "",
        "(L - R) / (L + R): of a left organ and its right one (`asymmetry_of` is pair), else of its own parts on both "
        "sides of the plane through the body's middle, across its axis from right to left (halves)",
        "absolute",
        placed=True,
    ),
    Measure(
        "expected_dice", "Expected Dice", "", "how good the server takes its segmentation to be, 0 to 1", "absolute"
    ),
)
