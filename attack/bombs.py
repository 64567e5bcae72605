"""Bombs: small files that claim, or unpack to, what no small file should cost. Each function makes one."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import tifffile

from attack import seeds

GIGABYTE = 1_000_000_000
_BLOCK = 1 << 26


def deflated_zeros(length: int, *, wrapped: bool = True) -> bytes:
    """zlib's (or without wrapping: raw deflate's) answer to so many zeros, a thousandth of their length."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    blocks = -(-length // _BLOCK)
    raw = block * blocks + b"\x03\x00"
    checksum = ((blocks * _BLOCK) % 65521 << 16) | 1
    return b"\x78\x01" + raw + struct.pack(">I", checksum) if wrapped else raw


def gzipped_zeros(length: int) -> bytes:
    """So many zeros as members of gzip, one after another."""
    return gzip.compress(bytes(_BLOCK), 9, mtime=0) * -(-length // _BLOCK)


def zarr_chunk() -> bytes:
    """OME-Zarr of one chunk of 4 GB."""
    return _zarr((1, 46341, 46341), gzipped_zeros(4 * GIGABYTE), "gzip")


def zarr_codec() -> bytes:
    """OME-Zarr whose chunk goes through a codec that nobody needs."""
    return _zarr((1, 64, 64), b"\x80\x04N.", "pickle")


def zarr_nested_metadata() -> bytes:
    """A zarr.json of 200,000 lists in each other."""
    return _zipped({"zarr.json": b'{"zarr_format":3,"node_type":"group","attributes":' + b"[" * 200_000})


def zarr_wide_metadata() -> bytes:
    """A zarr.json of 300 MB of spaces, packed."""
    return _zipped({"zarr.json": b'{"zarr_format":3,"node_type":"group","attributes":{}' + b" " * 300_000_000 + b"}"})


def hdf5_chunk() -> bytes:
    """HDF5 with one deflated chunk of 4 GB, of which each slab is a part."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bomb.h5"
        with h5py.File(path, "w") as file:
            data = file.create_dataset(
                "scan", (64, 8192, 8192), np.uint8, chunks=(63, 8192, 8192), compression="gzip", shuffle=False
            )
            data.attrs["element_size_um"] = (100.0, 100.0, 100.0)
            data.id.write_direct_chunk((0, 0, 0), deflated_zeros(63 * 8192 * 8192))
        return path.read_bytes()


def hdf5_groups() -> bytes:
    """HDF5 with 5,000 groups in each other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bomb.h5"
        with h5py.File(path, "w") as file:
            group = file
            for _ in range(5000):
                group = group.create_group("g")
        return path.read_bytes()


def dicom_deflated() -> bytes:
    """DICOM whose data set is 4 GB of deflated zeros."""
    whole = seeds.dicom_slice(seeds.VOXELS[0], 0)
    meta = whole[: _end_of_meta(whole)].replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99")
    length = struct.unpack_from("<I", meta, 140)[0] + 2
    meta = meta[:140] + struct.pack("<I", length) + meta[144:]
    syntax = meta.index(b"1.2.840.10008.1.2.1.99")
    meta = meta[: syntax - 2] + struct.pack("<H", 22) + meta[syntax:]
    return meta + deflated_zeros(4 * GIGABYTE, wrapped=False)


def nifti_packed() -> bytes:
    """NIfTI of 4 gigavoxels, all zero, in 4 MB, in the largest slices that are taken."""
    return _nifti((8192, 8192, 64), datatype=2, bits=8)


def nifti_scaled() -> bytes:
    """NIfTI whose slices are small as bytes and large as scaled float64."""
    return _nifti((30000, 30000, 2), datatype=2, bits=8, slope=2.5)


def tiff_strip() -> bytes:
    """TIFF of one deflated strip of 4 GB."""
    return _tiff(width=65000, height=32000, bits=16, packed=deflated_zeros(65000 * 32000 * 2))


def zip_slice() -> bytes:
    """Zip whose first slice unpacks to 4 GB."""
    return _zip_of_zeros("slice_1.tif", 4 * GIGABYTE)


def zip_name() -> bytes:
    """Zip with an entry whose name is 900 digits and a line break."""
    return _zipped({"9" * 900 + "\n": b"", "9" * 900 + "\n.tif": b"II*\0\x08\0\0\0"})


def zip_entries() -> bytes:
    """Zip of 60,000 entries."""
    return _zipped({f"slice_{number}.tif": b"" for number in range(60_000)})


def zip_short_entries() -> bytes:
    """Zip of 60,000 entries of a byte."""
    return _zipped({f"slice_{number}.tif": b"I" for number in range(60_000)})


def nrrd_brackets() -> bytes:
    """NRRD with 64,000 brackets."""
    return b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 1 1 1\nspace directions: " + b"(" * 64_000 + b"\n\n\0"


def nrrd_packed() -> bytes:
    """NRRD of 4 GB in one gzip."""
    sizes = b"NRRD0004\ntype: uchar\ndimension: 3\nspacings: 1 1 1\nsizes: 46341 46341 2\nencoding: gzip\n\n"
    return sizes + gzipped_zeros(46341 * 46341 * 2)


def metaimage_packed() -> bytes:
    """MetaImage of 4 GB in one zlib stream."""
    packed = deflated_zeros(46341 * 46341 * 2)
    lines = (
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "CompressedData = True",
        f"CompressedDataSize = {len(packed)}",
        "ElementSpacing = 1 1 1",
        "DimSize = 46341 46341 2",
        "ElementType = MET_UCHAR",
        "ElementDataFile = LOCAL",
    )
    return "\n".join(lines).encode() + b"\n" + packed


def _end_of_meta(content: bytes) -> int:
    return 144 + int(struct.unpack_from("<I", content, 140)[0])


def _nifti(shape: tuple[int, int, int], *, datatype: int, bits: int, slope: float = 0.0) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, datatype, bits)
    struct.pack_into("<8f", header, 76, 1, 0.1, 0.1, 0.1, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352.0, slope, 0.0)
    header[123] = 2  # mm
    header[344:348] = b"n+1\0"
    voxels = shape[0] * shape[1] * shape[2] * bits // 8
    return gzip.compress(bytes(header), mtime=0) + gzipped_zeros(voxels)


def _tiff(*, width: int, height: int, bits: int, packed: bytes) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.zeros((16, 16), np.uint16), photometric="minisblack", compression="zlib", rowsperstrip=16)
    pages = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(pages))) as file:
        tags = {tag.name: tag.valueoffset for tag in file.pages.first.tags}
    for name, value in {
        "ImageWidth": width,
        "ImageLength": height,
        "RowsPerStrip": height,
        "StripOffsets": len(pages),
        "StripByteCounts": len(packed),
    }.items():
        struct.pack_into("<HI", pages, tags[name] - 6, 4, 1)
        struct.pack_into("<I", pages, tags[name], value)
    assert bits == 16  # noqa: S101 - what the page above has
    return bytes(pages) + packed


def _zarr(shape: tuple[int, int, int], chunk: bytes, codec: str) -> bytes:
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [0.1, 0.1, 0.1]}]
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"ome": {"version": "0.5", "multiscales": [multiscale]}},
    }
    array = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": codec, "configuration": {"level": 5}},
        ],
        "attributes": {},
    }
    documents = {"zarr.json": json.dumps(group).encode(), "0/zarr.json": json.dumps(array).encode()}
    return _zipped({**documents, "0/c/0/0/0": chunk})


def _zip_of_zeros(name: str, length: int) -> bytes:
    """A stored entry of packed zeros, said to be deflated."""
    packed = deflated_zeros(length, wrapped=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, packed)
    content = buffer.getvalue()
    directory = content.index(b"PK\x01\x02")
    local = bytearray(content[:30])
    struct.pack_into("<H", local, 8, 8)
    struct.pack_into("<I", local, 22, length)
    central = bytearray(content[directory:])
    struct.pack_into("<H", central, 10, 8)
    struct.pack_into("<I", central, 24, length)
    return bytes(local) + content[30:directory] + bytes(central)


def _zipped(entries: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


BOMBS: Mapping[str, Callable[[], bytes]] = {
    f"{make.__name__}{suffix}": make
    for make, suffix in (
        (zarr_chunk, ".ome.zarr.zip"),
        (zarr_codec, ".ome.zarr.zip"),
        (zarr_nested_metadata, ".ome.zarr.zip"),
        (zarr_wide_metadata, ".ome.zarr.zip"),
        (hdf5_chunk, ".h5"),
        (hdf5_groups, ".h5"),
        (dicom_deflated, ".dcm"),
        (nifti_packed, ".nii.gz"),
        (nifti_scaled, ".nii.gz"),
        (tiff_strip, ".tif"),
        (zip_slice, ".zip"),
        (zip_name, ".zip"),
        (zip_entries, ".zip"),
        (zip_short_entries, ".zip"),
        (nrrd_brackets, ".nrrd"),
        (nrrd_packed, ".nrrd"),
        (metaimage_packed, ".mha"),
    )
}
"""By the name of the file that is posted."""
