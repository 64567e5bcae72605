"""The voxel size that a TIFF file states: ImageJ's, OME's, or the one that Ricefish wrote.

Resolution tags alone say nothing of the distance between pages, and are mostly a screen's 72 dpi: they count only
together with ImageJ's unit and spacing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from scans.formats.errors import FormatError
from scans.formats.textheader import to_mm
from scans.geometry import Frame, Spacing

NO_SPACING = "the TIFF file states no voxel size with a unit (ImageJ's unit and spacing, or OME's PhysicalSize)"
AFFINE_KEY = "ricefish_affine"
"""The line of the description that holds the 4 x 4 affine, JSON, voxel index (x, y, z, 1) to RAS+ mm."""

_LONGEST_DESCRIPTION = 16 << 20
"""OME describes each plane in about 150 bytes."""
_LONGEST_LINE = 2000
"""Of the description, with sixteen numbers in it."""
_LONGEST_PREFIX = 64
_LONGEST_TAG = 8192
_AFTER_NAME = ("", ">", " ", "\t", "\r", "\n", "/")

_NO_UNIT = {"", "pixel", "pixels", "reference frame", "none"}


def frame_of_tiff(path: Path, tiff: tifffile.TiffFile) -> Frame | None:
    """The frame that the first page describes; None where it states no voxel size."""
    description = str(getattr(tiff.pages.first, "description", ""))
    spacing = _ome(path, description) if "<OME" in description else _imagej(path, tiff)
    if spacing is None:
        return None
    written = _affine(description)
    if written and np.allclose(list(written.spacing), list(spacing), rtol=1e-4):
        return written
    return Frame.from_lps(spacing)


def require_short_description(path: Path, tiff: tifffile.TiffFile) -> None:
    """Raises FormatError for a text that is longer than any program writes, before anything parses it."""
    tag = tiff.pages.first.tags.get("ImageDescription")
    if tag is not None and tag.count > _LONGEST_DESCRIPTION:
        raise FormatError(path, f"a description of {tag.count} bytes", f"one of at most {_LONGEST_DESCRIPTION} bytes")


def _affine(description: str) -> Frame | None:
    start = f"\n{AFFINE_KEY}="
    _, found, rest = f"\n{description}".partition(start)
    line = rest.partition("\n")[0]
    return Frame.from_affine(np.array(json.loads(line))) if found and len(line) <= _LONGEST_LINE else None


def _ome(path: Path, description: str) -> Spacing | None:
    fields = _attributes(_pixels(description))
    lengths = []
    for axis in "ZYX":
        size, unit = fields.get(f"PhysicalSize{axis}"), fields.get(f"PhysicalSize{axis}Unit", "um")
        if size is None or unit.replace("&#181;", "µ").lower() in _NO_UNIT:
            return None
        lengths.append(float(size) * to_mm(path, unit.replace("&#181;", "µ")))
    return _spacing(*lengths)


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


def _imagej(path: Path, tiff: tifffile.TiffFile) -> Spacing | None:
    fields: dict[str, Any] = tiff.imagej_metadata or {}
    unit, depth = str(fields.get("unit", "")), fields.get("spacing")
    unit = unit.replace("\\u00B5", "µ").strip()
    if unit.lower() in _NO_UNIT or depth is None:
        return None
    factor = to_mm(path, unit)
    tags = tiff.pages.first.tags
    per_unit = [tags.valueof(name) for name in ("YResolution", "XResolution")]
    if any(not value or not value[0] or not value[1] for value in per_unit):
        return None
    y, x = (denominator / numerator * factor for numerator, denominator in per_unit)
    return _spacing(abs(float(depth)) * factor, y, x)


def _spacing(z: float, y: float, x: float) -> Spacing | None:
    try:
        return Spacing(z, y, x)
    except ValueError:
        return None
