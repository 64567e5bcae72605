"""A scan and its segmentation as one OME-Zarr: an image with a group `labels`, as viewers look for them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from numpy.typing import NDArray

from scans.formats.ome_zarr_pyramid import Pyramid
from scans.formats.zip_stream import ZipEntry, zip_in_order
from serving.queue.scan import Scan

_NAME = "segmentation"


def labelled_image(scan: Scan, slabs: Iterable[NDArray[Any]], labels: Sequence[ZipEntry]) -> Iterator[bytes]:
    """The archive, piece by piece. `slabs` are the grey values of `scan.boxes`; `labels` the files of the segmentation.

    On the disk is the pyramid of one slab, in a folder that goes with the iterator.
    """
    with TemporaryDirectory() as folder:
        yield from zip_in_order(_entries(scan, slabs, labels, Path(folder)))


def _entries(scan: Scan, slabs: Iterable[NDArray[Any]], labels: Sequence[ZipEntry], folder: Path) -> Iterator[ZipEntry]:
    """Metadata and labels first; then each shard of the image, which is removed when it has been sent."""
    pyramid = Pyramid.create(
        folder,
        shape=scan.shape,
        dtype=scan.dtype,
        frame=scan.frame,
        organs=None,
        slab_slices=scan.slab_slices,
        window=scan.window,
    )
    yield from (_file(folder, name) for name in Pyramid.metadata_files(scan.shape))
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", "labels": [_NAME]}}}
    yield _document("labels/zarr.json", group)
    for entry in labels:
        yield _label_file(entry)
    coming = iter(slabs)
    for number in range(len(scan.boxes)):
        for name in pyramid.write(number, next(coming)):  # no slab is held here: whoever fetches it may be slow
            yield _file(folder, name)
            (folder / name).unlink()


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


def _file(folder: Path, name: str) -> ZipEntry:
    return ZipEntry(name, (folder / name).stat().st_size, _opener(folder / name))


def _opener(file: Path) -> Callable[[], BinaryIO]:
    return lambda: file.open("rb")
