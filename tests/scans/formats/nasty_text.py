"""Files whose text is made to be slow to read, of any length: one maker for each parser of text."""

import io
import json
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pydicom
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian


def _zip(path: Path, names: list[str]) -> None:
    slice_ = io.BytesIO()
    tifffile.imwrite(slice_, np.zeros((2, 2), np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, slice_.getvalue())


def _nrrd(path: Path, **fields: str) -> None:
    header = {
        "type": "uint8", "dimension": "3", "sizes": "2 2 2", "encoding": "raw",
        "space directions": "(1,0,0) (0,1,0) (0,0,1)",
    } | {name.replace("_", " "): text for name, text in fields.items()}  # fmt: skip
    lines = "".join(f"{name}: {text}\n" for name, text in header.items())
    path.write_bytes(f"NRRD0005\n{lines}\n".encode() + bytes(8))


def _mha(path: Path, **fields: str) -> None:
    header = {"NDims": "3", "DimSize": "2 2 2", "ElementType": "MET_UCHAR", "ElementSpacing": "1 1 1"} | fields
    lines = "".join(f"{name} = {text}\n" for name, text in header.items())
    path.write_bytes(f"ObjectType = Image\n{lines}ElementDataFile = LOCAL\n".encode() + bytes(8))


def _tiff(path: Path, description: str) -> None:
    tifffile.imwrite(
        path, np.zeros((3, 4, 5), np.uint8), description=description, metadata=None, photometric="minisblack"
    )


def _ome(path: Path, inside: str) -> None:
    _tiff(path, f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{inside}</OME>')


def _gzip_name(path: Path, count: int) -> None:
    packed = zlib.compressobj(wbits=-15)
    body = packed.compress(bytes(1000)) + packed.flush()
    path.write_bytes(b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * count + b"\0" + body + struct.pack("<II", 0, 1000))


def _gzip_members(path: Path, count: int) -> None:
    empty = zlib.compressobj(wbits=31).flush()
    path.write_bytes(empty * (count // len(empty)))


def _dicom(path: Path, **fields: object) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = Dataset()
    data.file_meta = meta
    every = {
        "SeriesInstanceUID": "1.2", "Rows": 2, "Columns": 2, "SamplesPerPixel": 1, "BitsAllocated": 8,
        "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": [1, 1], "SliceThickness": 1, "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelData": bytes(4),
    } | fields  # fmt: skip
    for name, value in every.items():
        with pydicom.config.disable_value_validation():
            setattr(data, name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(path, data, enforce_file_format=True)


def _nested(depth: int) -> Dataset:
    inner = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedSeriesSequence = [inner]
        inner = outer
    return inner


def _zarr(path: Path, attributes: str) -> None:
    path.mkdir()
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(attributes)


def _zarr_axes(path: Path, count: int) -> None:
    axes = [{"name": "z", "type": "space"}] * (count // 30)
    _zarr(path, json.dumps({"multiscales": [{"version": "0.4", "axes": axes, "datasets": []}]}))


def _hdf5(path: Path, count: int) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("scan", data=np.zeros((2, 2, 2), np.uint8))
        data.attrs["spacing"], data.attrs["unit"] = (1.0, 1.0, 1.0), "m" * min(count, 60_000)


NASTY = {
    "zip: digits and a line break": lambda path, n: _zip(
        path, [f"{index}x" + "1" * 900 + "\n" for index in range(n // 900)]
    ),
    "zip: one long name": lambda path, n: _zip(path, ["1" * min(n, 65_000) + "\n"]),
    "zip: text and digits in turn": lambda path, n: _zip(
        path, [f"{index}" + "a1" * 450 + "." for index in range(n // 900)]
    ),
    "zip: dots": lambda path, n: _zip(path, [f"{index}" + "../" * 300 for index in range(n // 900)]),
    "nrrd: brackets that do not close": lambda path, n: _nrrd(path, space_directions="(" * n),
    "nrrd: brackets": lambda path, n: _nrrd(path, space_directions="()" * (n // 2)),
    "nrrd: nothing but none": lambda path, n: _nrrd(path, space_directions="none" * (n // 4)),
    "nrrd: one long vector": lambda path, n: _nrrd(path, space_directions="(" + "1," * (n // 2) + ")"),
    "nrrd: digits": lambda path, n: _nrrd(path, sizes="2 2 " + "2" * n),
    "nrrd: many sizes": lambda path, n: _nrrd(path, sizes="2 " * (n // 2)),
    "nrrd: a long unit": lambda path, n: _nrrd(path, space_units='"' + "m" * n + '"'),
    "nrrd: an open quotation": lambda path, n: _nrrd(path, space_units='"mm" ' * (n // 5) + '"'),
    "nrrd: many fields": lambda path, n: _nrrd(path, **{f"k{index}": "" for index in range(n // 8)}),
    "nrrd: spaces": lambda path, n: _nrrd(path, kinds=" " * n),
    "mha: digits": lambda path, n: _mha(path, DimSize="2 2 " + "2" * n),
    "mha: a long matrix": lambda path, n: _mha(path, TransformMatrix="1 " * (n // 2)),
    "mha: a long offset": lambda path, n: _mha(path, Offset="1" * n),
    "tiff: Pixels that do not close": lambda path, n: _tiff(path, "<OME" + "<Pixels " * (n // 8)),
    "tiff: words in Pixels": lambda path, n: _tiff(path, "<OME><Pixels " + "a" * n + "></OME>"),
    "tiff: prefixes": lambda path, n: _tiff(path, "<OME" + "<aaaa" * (n // 5)),
    "tiff: quotation marks": lambda path, n: _tiff(path, "<OME><Pixels " + 'a="' * (n // 3) + "></OME>"),
    "tiff: affine lines": lambda path, n: _tiff(
        path, "ImageJ=1\nunit=mm\nspacing=1\n" + "ricefish_affine=[" * (n // 17)
    ),
    "tiff: ImageJ lines": lambda path, n: _tiff(path, "ImageJ=1\n" + "a=1\n" * (n // 4)),
    "tiff: digits": lambda path, n: _tiff(path, "ImageJ=1\nimages=" + "1" * n + "\n"),
    "tiff: nested JSON": lambda path, n: _tiff(path, '{"shape": ' + "[" * n),
    "tiff: nested XML": lambda path, n: _ome(path, "<a>" * (n // 7) + "</a>" * (n // 7)),
    "tiff: many planes": lambda path, n: _ome(
        path,
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="5" SizeY="4" SizeZ="3" '
        'SizeC="1" SizeT="1">' + '<TiffData IFD="0"/>' * (n // 19) + "</Pixels></Image>",
    ),
    "tiff: nulls": lambda path, n: _tiff(path, "a" + "\0" * n + "b"),
    "gzip: a long name": _gzip_name,
    "gzip: empty members": _gzip_members,
    "dicom: digits": lambda path, n: _dicom(path, SeriesDescription="1" * min(n, 65_000)),
    "dicom: character sets": lambda path, n: _dicom(
        path, SpecificCharacterSet=["ISO 2022 IR 87"] * min(n // 16, 4000), SeriesDescription="a" * min(n, 65_000)
    ),
    "dicom: nested sequences": lambda path, n: _dicom(path, ReferencedSeriesSequence=[_nested(n // 400)]),
    "zarr: nested JSON": lambda path, n: _zarr(path, '{"a":' * (n // 5)),
    "zarr: many axes": _zarr_axes,
    "zarr: digits": lambda path, n: _zarr(path, '{"a": ' + "1" * n + "}"),
    "hdf5: a long unit": _hdf5,
}
"""Name -> writes a file with about so many characters of the worst shape."""
