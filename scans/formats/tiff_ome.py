"""How many planes OME's XML claims, before a library makes room for each and looks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from scans.formats.errors import FormatError
from scans.formats.tiff_counts import differing

_TIMES_THE_PAGES = 4
"""That the images of a file may claim its pages: colours, and images that share them."""


def require_sensible_planes(path: Path, tiff: tifffile.TiffFile, *, pages: int) -> None:
    """Raises FormatError for XML that claims many more planes than the file has pages, all elements together."""
    text = tiff.ome_metadata
    if text is None:
        return
    if "<!DOCTYPE" in text:
        raise FormatError(path, "OME metadata with declarations of its own", "OME-XML of elements alone")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without declarations there is nothing to expand
    except ElementTree.ParseError:
        return
    for claimed in (_of_pixels(root), _of_data(root, pages)):
        if (planes := sum(map(abs, claimed))) > _TIMES_THE_PAGES * pages:
            raise differing(path, planes, pages)


def _of_pixels(root: ElementTree.Element) -> Iterator[int]:
    for element in root.iter():
        if element.tag.endswith("Pixels"):
            z, c, t = (int(element.get(f"Size{axis}", 1)) for axis in "ZCT")
            yield z * c * t


def _of_data(root: ElementTree.Element, pages: int) -> Iterator[int]:
    """Of each TiffData, which takes all pages where it names neither a page nor a number of them."""
    for element in root.iter():
        if element.tag.endswith("TiffData"):
            usual = element.get("NumPlanes", "1" if "IFD" in element.attrib else "0")
            yield int(element.get("PlaneCount", usual)) or pages
