"""The voxel size that a TIFF file states: ImageJ's, OME's, or the one that Ricefish wrote.

Resolution tags alone say nothing of the distance between pages, and are mostly a screen's 72 dpi: they count only
together with ImageJ's unit and spacing.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from scans.formats.errors import FormatError, NoSpacing
from scans.formats.sources import placed_frame
from scans.formats.units import LengthUnit, unit_of
from scans.geometry import Frame, Spacing, StatedUnits

NO_SPACING = "the TIFF file states no voxel size with a unit (ImageJ's unit and spacing, or OME's PhysicalSize)"
TIFF = "tiff"
"""What the format is to a result that keeps the units of its scan."""
AFFINE_KEY = "ricefish_affine"
"""The line of the description that holds the 4 x 4 affine, JSON, voxel index (x, y, z, 1) to RAS+ mm."""

_LONGEST_DESCRIPTION = 16 << 20
_DESCRIPTION_OF_FILE = 1 << 20
_DESCRIPTION_OF_PAGE = 4096
"""OME describes each plane in about 150 bytes."""
_LONGEST_LINE = 2000
"""Of the description, with sixteen numbers in it."""
_LONGEST_PREFIX = 64
_LONGEST_TAG = 8192
_AFTER_NAME = ("", ">", " ", "\t", "\r", "\n", "/")

_Length = tuple[float, LengthUnit]


def frame_of_tiff(tiff: tifffile.TiffFile) -> Frame:
    """The frame that the first page describes. Raises NoSpacing where it states no voxel size."""
    description = str(getattr(tiff.pages.first, "description", ""))
    lengths = _ome(description) if "<OME" in description else _imagej(tiff)
    spacing_mm = [abs(value) * unit.mm for value, unit in lengths]
    stated = ", ".join(f"{value:.6g} {unit.symbol}" for value, unit in lengths)
    spacing = placed_frame(f"the voxel size {stated} (z, y, x)", lambda: Frame.from_lps(Spacing(*spacing_mm)))
    z, y, x = (unit.symbol for _, unit in lengths)
    units = None if {x, y, z} == {"mm"} else StatedUnits((x, y, z), TIFF)
    written = _affine(description)
    if written and np.allclose(list(written.spacing), spacing_mm, rtol=1e-4):
        return replace(written, units=units)
    return replace(spacing, units=units)


def require_short_description(path: Path, tiff: tifffile.TiffFile, *, pages: int) -> None:
    """Raises FormatError for a text that is longer than any program writes, before anything parses it."""
    tag = tiff.pages.first.tags.get("ImageDescription")
    most = min(_LONGEST_DESCRIPTION, _DESCRIPTION_OF_FILE + pages * _DESCRIPTION_OF_PAGE)
    if tag is not None and tag.count > most:
        raise FormatError(path, f"a description of {tag.count} bytes", f"one of at most {most} bytes for {pages} pages")


def _affine(description: str) -> Frame | None:
    start = f"\n{AFFINE_KEY}="
    _, found, rest = f"\n{description}".partition(start)
    line = rest.partition("\n")[0]
    return Frame.from_affine(np.array(json.loads(line))) if found and len(line) <= _LONGEST_LINE else None


def _ome(description: str) -> list[_Length]:
    fields = ome_pixels(description)
    lengths = []
    for axis in "ZYX":
        size, unit = fields.get(f"PhysicalSize{axis}"), fields.get(f"PhysicalSize{axis}Unit", "um")
        if size is None:
            raise NoSpacing(f"the OME metadata states no PhysicalSize{axis}")
        lengths.append((float(size), unit_of(unit)))
    return lengths


def ome_pixels(description: str) -> dict[str, str]:
    """The attributes of the first element Pixels of OME's XML; none where there is no such element."""
    return _attributes(_pixels(description))


def _pixels(description: str) -> str:
    """What stands in the tag of the first element Pixels, whatever its namespace; empty where there is none."""
    at = -1
    while (at := description.find("Pixels", at + 1)) >= 0:
        opened = description.rfind("<", max(0, at - _LONGEST_PREFIX), at)
        prefix = description[opened + 1 : at]
        after = description[at + len("Pixels") : at + len("Pixels") + 1]
        if opened >= 0 and (not prefix or (prefix[-1] == ":" and prefix[:-1].isalnum())) and after in _AFTER_NAME:
            end = description.find(">", at, at + _LONGEST_TAG)
            return description[at + len("Pixels") : end] if end >= 0 else ""
    return ""


def _attributes(tag: str) -> dict[str, str]:
    """Of an XML tag: text between quotes, by the name before it."""
    parts = tag.split('"')
    return {
        name.rstrip()[:-1].strip(): value
        for name, value in zip(parts[::2], parts[1::2], strict=False)
        if name.rstrip().endswith("=")
    }


def _imagej(tiff: tifffile.TiffFile) -> list[_Length]:
    fields: dict[str, Any] = tiff.imagej_metadata or {}
    depth = fields.get("spacing")
    if depth is None or not any(name in fields for name in ("unit", "xunit", "yunit", "zunit")):
        raise NoSpacing(NO_SPACING)
    common = str(fields.get("unit", fields.get("xunit", "")))
    units = [unit_of(str(fields.get(f"{axis}unit", common))) for axis in "zyx"]
    tags = tiff.pages.first.tags
    per_unit = [tags.valueof(name) for name in ("YResolution", "XResolution")]
    if any(not value or not value[0] or not value[1] for value in per_unit):
        raise NoSpacing("the TIFF file states no XResolution and YResolution, or 0")
    y, x = (denominator / numerator for numerator, denominator in per_unit)
    return list(zip((float(depth), y, x), units, strict=True))
