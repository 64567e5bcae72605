"""A scan and its segmentation as one OME-Zarr: an image with a group `labels`, as viewers look for them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from scans.formats.zip_stream import ZipEntry
from serving.segmentation.stored_voxels import StoredVoxels

_NAME = "segmentation"


def labelled_image(voxels: StoredVoxels, labels: Iterable[ZipEntry]) -> list[ZipEntry]:
    """The files of both; `labels` are those of the segmentation. Raises ScanDamaged where one of the scan's is gone."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", "labels": [_NAME]}}}
    return [
        *(ZipEntry(name, size, _opener(voxels, name)) for name, size in voxels.sizes().items()),
        _document("labels/zarr.json", group),
        *(_label_file(entry) for entry in labels),
    ]


def _label_file(entry: ZipEntry) -> ZipEntry:
    """A file of the segmentation at its place in the image, which its metadata name."""
    name = f"labels/{_NAME}/{entry.name}"
    if entry.name != "zarr.json":
        return ZipEntry(name, entry.size, entry.open)
    with entry.open() as file:
        content = json.load(file)
    content["attributes"]["ome"]["image-label"]["source"] = {"image": "../../"}
    return _document(name, content)


def _document(name: str, content: dict[str, Any]) -> ZipEntry:
    text = json.dumps(content).encode()
    return ZipEntry(name, len(text), lambda: io.BytesIO(text))


def _opener(voxels: StoredVoxels, name: str) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(voxels.file(name))
