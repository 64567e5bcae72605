"""Reading takes work in proportion to what a file holds, however its parts were made to be many."""

import gzip
import sys
import zlib
from pathlib import Path

import numcodecs
import numpy as np
import pydicom
import pytest
import zarr
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

import scans.formats
from scans.formats import FormatError, open_volume, verify
from scans.geometry import Spacing
from tests.scans.formats.test_unpacking_is_bounded import VOXELS, ome_zarr

FORMATS = str(Path(scans.formats.__file__).parent)
MM = Spacing(1.0, 1.0, 1.0)


def read(path):
    with open_volume(path) as volume:
        return volume.read()


def steps(path, within=FORMATS, spacing=None):
    """Calls from files of that name while a file is opened and read slice by slice."""
    count = 0

    def called(frame, event, _):
        nonlocal count
        count += event in ("call", "c_call") and within in frame.f_code.co_filename

    sys.setprofile(called)
    try:
        with open_volume(path, spacing=spacing) as volume:
            verify(volume, slab_slices=1)
    finally:
        sys.setprofile(None)
    return count


PACKERS = {"gzip": lambda content: gzip.compress(content, mtime=0), "zlib": zlib.compress}


def packed_zarr(tmp_path, name, version, side):
    """The voxels in one chunk of a cube of so many voxels, the file of that chunk, and what it unpacks to."""
    compressor = numcodecs.get_codec({"id": name}) if version == 2 else zarr.codecs.GzipCodec()
    path = ome_zarr(tmp_path / "a.zarr", version=version, compressors=compressor, chunks=(side, side, side))
    whole = np.zeros((side, side, side), VOXELS.dtype)
    whole[:8, :16, :16] = VOXELS
    return path, path / "0" / ("0.0.0" if version == 2 else "c/0/0/0"), whole.tobytes()


@pytest.mark.parametrize(("name", "version"), [("gzip", 2), ("zlib", 2), ("gzip", 3)])
def test_a_chunk_of_many_packed_streams_is_refused(name, version, tmp_path):
    """A thousand are read, of which all but two hold nothing; who packs more has nothing else in mind."""
    pack = PACKERS[name]
    path, chunk, whole = packed_zarr(tmp_path, name, version, 128)
    chunk.write_bytes(pack(whole[:2000]) + pack(b"") * 998 + pack(whole[2000:]))
    np.testing.assert_array_equal(read(path), VOXELS)
    chunk.write_bytes(pack(b"") * 1000 + pack(whole))
    with pytest.raises(FormatError, match="a chunk of more than 1000 packed streams"):
        read(path)


@pytest.mark.parametrize(("name", "version"), [("gzip", 2), ("zlib", 2), ("gzip", 3)])
def test_a_chunk_that_is_packed_far_larger_than_it_is_is_refused(name, version, tmp_path):
    """8 KiB of voxels in twice as many bytes."""
    pack = PACKERS[name]
    path, chunk, whole = packed_zarr(tmp_path, name, version, 16)
    empty = pack(b"")
    chunk.write_bytes(empty * (14_000 // len(empty)) + pack(whole))
    with pytest.raises(FormatError, match=r"a chunk of \d+ bytes that is stored in"):
        read(path)


def test_a_dicom_slice_costs_the_same_in_any_series(tmp_path, dicom_slice):
    """Of twice as many slices twice the work, not four times."""
    costs = []
    for count in (40, 80):
        (tmp_path / str(count)).mkdir()
        for index in range(count):
            place = {"ImagePositionPatient": [0, 0, index]}
            dicom_slice(tmp_path / str(count) / f"{index}.dcm", np.zeros((4, 4), np.int16), **place)
        costs.append(steps(tmp_path / str(count)))
    assert costs[1] < 2.5 * costs[0]


def test_a_packed_frame_costs_the_same_in_any_file(tmp_path, dicom_slice):
    """Of twice as many frames in one file, whose places no table states, twice the work."""
    costs, frame = [], (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + b"\xf1\x07"
    for count in (60, 120):
        packed = {"PixelData": encapsulate([frame] * count, has_bot=False), "NumberOfFrames": count}
        eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
        path = dicom_slice(tmp_path / f"{count}.dcm", np.zeros((4, 4), np.uint8), **eight)
        content = pydicom.dcmread(path)
        content.file_meta.TransferSyntaxUID = RLELossless
        for name, value in packed.items():
            setattr(content, name, value)
        content.save_as(path)
        with open_volume(path, spacing=Spacing(1.0, 0.5, 0.25)) as volume:
            assert (volume.read() == 7).all()
        costs.append(steps(path, "/pydicom/encaps.py", Spacing(1.0, 0.5, 0.25)))
    assert costs[1] < 2.5 * costs[0]
