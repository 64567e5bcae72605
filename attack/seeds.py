"""Seeds: one small good file, or several, for each reader; what is mutated begins as one of them."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pydicom
import tifffile
import zarr
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from scans.formats import create_volume
from scans.geometry import Frame, Spacing

VOXELS: NDArray[np.uint16] = np.random.default_rng(5).integers(0, 1000, (6, 14, 18)).astype(np.uint16)
_FRAME = Frame.from_lps(Spacing(0.2, 0.1, 0.1))
_LARGEST_REAL = 200_000
"""Bytes of a real file that is mutated: thousands of copies of it are read."""


def write_seeds(folder: Path) -> dict[str, list[Path]]:
    """Writes them below a folder: reader -> files, each of which can be read."""
    seeds: dict[str, list[Path]] = {}
    for reader, write in _WRITERS.items():
        place = folder / reader
        place.mkdir(parents=True)
        write(place)
        seeds[reader] = sorted(path for path in place.iterdir() if path.is_file())
    return seeds


def add_real(seeds: Mapping[str, list[Path]], folder: Path) -> None:
    """Adds the small real files of a folder to the readers that their names belong to."""
    for path in sorted(folder.rglob("*")):
        reader = _reader_of(path)
        if reader is not None and path.is_file() and path.stat().st_size <= _LARGEST_REAL:
            seeds[reader].append(path)


def _reader_of(path: Path) -> str | None:
    name = path.name.lower()
    for suffix, reader in (
        (".nii.gz", "nifti-gz"),
        (".nii", "nifti"),
        (".tif", "tiff"),
        (".nrrd", "nrrd"),
        (".mha", "metaimage"),
        (".h5", "hdf5"),
        (".dcm", "dicom"),
        (".zip", "zip"),
    ):
        if name.endswith(suffix):
            return _zip_reader(path) if reader == "zip" else reader
    return None


def _zip_reader(path: Path) -> str:
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    if any(name.endswith((".zattrs", "zarr.json")) for name in names):
        return "zarr-2-zip" if any(name.endswith(".zattrs") for name in names) else "zarr-3-zip"
    return "tiff-slices-zip" if any(name.lower().endswith((".tif", ".tiff")) for name in names) else "dicom-zip"


def _written(*names: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in names:
            with create_volume(folder / name, shape=VOXELS.shape, dtype=VOXELS.dtype, frame=_FRAME) as writer:
                writer.write(VOXELS)

    return write


def _scaled_nifti(folder: Path) -> None:
    _written("plain.nii")(folder)
    header = bytearray((folder / "plain.nii").read_bytes())
    header[112:120] = np.array([2.5, -3.0], "<f4").tobytes()  # scl_slope, scl_inter
    (folder / "scaled.nii").write_bytes(header)


def _tiff(folder: Path) -> None:
    kinds: Mapping[str, dict[str, Any]] = {
        "plain.tif": {},
        "deflated.tif": {"compression": "zlib"},
        "lzw.tif": {"compression": "lzw"},
        "tiled.tif": {"tile": (16, 16), "compression": "jpeg2000"},
        "imagej.tif": {
            "imagej": True,
            "resolution": (10.0, 10.0),
            "metadata": {"axes": "ZYX", "spacing": 0.2, "unit": "mm"},
        },
        "ome.ome.tif": {"metadata": {"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.2}},
    }
    for name, options in kinds.items():
        tifffile.imwrite(folder / name, VOXELS, photometric="minisblack", **options)


def _bigtiff(folder: Path) -> None:
    tifffile.imwrite(folder / "plain.tif", VOXELS, photometric="minisblack", bigtiff=True)
    tifffile.imwrite(folder / "packed.tif", VOXELS, photometric="minisblack", bigtiff=True, compression="zstd")


def _header_and_gzip(folder: Path) -> None:
    _written("plain.nrrd", "organs.seg.nrrd")(folder)
    lines = (
        "NRRD0004",
        "# by hand",
        "type: unsigned short",
        "dimension: 3",
        "sizes: 18 14 6",
        "space: left-posterior-superior",
        "space directions: (0.1,0,0) (0,0.1,0) (0,0,0.2)",
        "space origin: (1,2,3)",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        "key:=value",
    )
    header = "\n".join(lines).encode() + b"\n\n"
    (folder / "packed.nrrd").write_bytes(header + gzip.compress(VOXELS.tobytes(), mtime=0))


def _metaimage(folder: Path) -> None:
    import zlib  # noqa: PLC0415  of this one seed

    _written("plain.mha")(folder)
    packed = zlib.compress(VOXELS.tobytes())
    lines = (
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {len(packed)}",
        "TransformMatrix = 1 0 0 0 1 0 0 0 1",
        "Offset = 1 2 3",
        "ElementSpacing = 0.1 0.1 0.2",
        "DimSize = 18 14 6",
        "ElementType = MET_USHORT",
        "ElementDataFile = LOCAL",
    )
    (folder / "packed.mha").write_bytes("\n".join(lines).encode() + b"\n" + packed)


def _hdf5(folder: Path) -> None:
    _written("plain.h5")(folder)
    with h5py.File(folder / "chunked.h5", "w") as file:
        data = file.create_group("a/b").create_dataset(
            "scan", data=VOXELS, chunks=(2, 8, 8), compression="gzip", fletcher32=True
        )
        data.attrs["element_size_um"] = (200.0, 100.0, 100.0)


def _zarr_3(folder: Path) -> None:
    _written("image.ome.zarr.zip")(folder)


def _zarr_2(folder: Path) -> None:
    scale = {"type": "scale", "scale": [0.2, 0.1, 0.1]}
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    with zarr.storage.ZipStore(folder / "image.zarr.zip", mode="w") as store:
        group = zarr.create_group(store, zarr_format=2, attributes={"multiscales": multiscales})
        group.create_array("0", data=VOXELS, chunks=(2, 14, 18))


def dicom_slice(pixels: NDArray[np.uint16], number: int) -> bytes:
    """A CT slice, uint16 (Y, X), of a series of slices."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number + 1}")
    data = FileDataset("slice.dcm", {}, file_meta=meta, preamble=bytes(128))
    for name, value in {
        "SeriesInstanceUID": "1.2.3.4",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "RescaleSlope": "2.0",
        "RescaleIntercept": "-1000",
        "SliceThickness": "0.2",
        "PixelSpacing": [0.1, 0.1],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 0.2 * number],
        "PixelData": pixels.tobytes(),
    }.items():
        setattr(data, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()


def _dicom(folder: Path) -> None:
    (folder / "slice.dcm").write_bytes(dicom_slice(VOXELS[0], 0))


def _dicom_zip(folder: Path) -> None:
    _zip(folder / "series.zip", {f"slice{n}.dcm": dicom_slice(plane, n) for n, plane in enumerate(VOXELS)})


def _tiff_slices(folder: Path) -> None:
    slices = {}
    for number, plane in enumerate(VOXELS):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, plane, photometric="minisblack")
        slices[f"slice_{number + 7}.tif"] = buffer.getvalue()
    _zip(folder / "slices.zip", slices)


def _zip(path: Path, entries: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


_WRITERS: Mapping[str, Callable[[Path], None]] = {
    "nifti": _scaled_nifti,
    "nifti-gz": _written("packed.nii.gz"),
    "tiff": _tiff,
    "bigtiff": _bigtiff,
    "tiff-slices-zip": _tiff_slices,
    "nrrd": _header_and_gzip,
    "metaimage": _metaimage,
    "hdf5": _hdf5,
    "zarr-2-zip": _zarr_2,
    "zarr-3-zip": _zarr_3,
    "dicom": _dicom,
    "dicom-zip": _dicom_zip,
}

READERS = tuple(_WRITERS)
"""What can be attacked: a reader of scans.formats, or one with the container that it finds its files in."""
