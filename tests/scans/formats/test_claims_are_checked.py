"""What a file claims of its chunks, tiles, groups and pictures is not believed, but compared with what it is."""

import io
import struct
import zlib
from dataclasses import dataclass, field

import h5py
import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless

from scans.formats import FormatError, open_volume, verify
from scans.formats.banded import BandedSource
from scans.geometry import Spacing

VOXELS = np.random.default_rng(1).integers(0, 50, (8, 32, 32), np.uint16)
MM = Spacing(1.0, 1.0, 1.0)


def read(path):
    with open_volume(path, spacing=MM) as volume:
        verify(volume)
        return volume.read()


def hdf5(path, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("scan", **({"data": VOXELS} | options))
    return path


@pytest.mark.parametrize("filters", [{"compression": "gzip", "shuffle": True}, {"compression": "lzf"}, {}])
def test_the_filters_of_hdf5_that_people_use_are_read(filters, tmp_path):
    """gzip, shuffle, LZF, and none."""
    np.testing.assert_array_equal(read(hdf5(tmp_path / "a.h5", chunks=(4, 8, 8), **filters)), VOXELS)


def test_another_filter_of_hdf5_is_refused_by_name(tmp_path):
    """With the command that makes a file that is read."""
    with pytest.raises(FormatError, match=r"filter scale-offset; accepted: .*h5repack"):
        read(hdf5(tmp_path / "a.h5", chunks=(4, 8, 8), scaleoffset=0))


@pytest.mark.slow
def test_a_chunk_of_hdf5_that_is_stored_in_more_than_it_holds_is_refused(tmp_path):
    """A megabyte that unpacks to a gigabyte, for 4 KiB of voxels."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("scan", (1, 64, 64), np.uint8, chunks=(1, 64, 64), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(256 << 20)))
    with pytest.raises(FormatError, match="a chunk of 4096 bytes that is stored in"):
        read(path)


@pytest.mark.slow
def test_chunks_of_hdf5_far_larger_than_the_data_are_refused(tmp_path):
    """Of half a gigabyte, for 16 KiB."""
    path = hdf5(tmp_path / "a.h5", maxshape=(None, None, None), chunks=(256, 1024, 1024), compression="gzip")
    with pytest.raises(FormatError, match="in an array of"):
        read(path)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["deep", "wide", "in a circle"])
def test_groups_without_end_are_refused(shape, tmp_path):
    """A thousand groups in each other, twelve thousand beside each other; a group in itself is looked at once."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        if shape == "deep":
            file["/".join(["g"] * 1000) + "/scan"] = VOXELS
        elif shape == "wide":
            for index in range(12_000):
                file.create_group(f"g{index}")
        else:
            file["scan"] = VOXELS
            file["g/again"] = file["/"]
    if shape == "in a circle":
        np.testing.assert_array_equal(read(path), VOXELS)
        return
    with pytest.raises(FormatError, match="many groups and data sets"):
        read(path)


@dataclass
class Counting:
    """Voxels that count how often each slice was unpacked."""

    shape = VOXELS.shape
    dtype = VOXELS.dtype
    reads: list[tuple[int, int]] = field(default_factory=list)

    def read(self, start, stop):
        self.reads.append((start, stop))
        return VOXELS[start:stop]


def test_a_chunk_is_unpacked_once_for_all_the_slabs_in_it(tmp_path):
    """Chunks of four slices, slabs of three: two readings, not four."""
    counting = Counting()
    source = BandedSource.of(tmp_path, counting, depth=4)
    slabs = [source.read(start, min(start + 3, 8)) for start in range(0, 8, 3)]
    np.testing.assert_array_equal(np.concatenate(slabs), VOXELS)
    assert counting.reads == [(0, 4), (4, 8)]


def test_chunks_that_would_be_unpacked_again_and_again_are_refused(tmp_path):
    """Eight thousand slices of 8 MB in one chunk: memory for 32 of them at a time."""
    counting = Counting()
    counting.shape = (8192, 2048, 2048)
    with pytest.raises(FormatError, match="reach through 8192 slices"):
        BandedSource.of(tmp_path, counting, depth=8192)


def patched(path, code, value):
    """Another value, of the same type, in a tag of the first page."""
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags[code]
        at, kind = tag.valueoffset, {3: "<H", 4: "<I"}[tag.dtype]
    content = bytearray(path.read_bytes())
    struct.pack_into(kind, content, at, value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits", "zstd", "jpeg2000", None])
def test_the_compressions_of_tiff_that_people_use_are_read(compression, tmp_path):
    """And no page of them is refused."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOXELS, photometric="minisblack", compression=compression, tile=(16, 16))
    np.testing.assert_array_equal(read(path), VOXELS)


def test_another_compression_of_tiff_is_refused_by_name(tmp_path):
    """As LERC is."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOXELS, photometric="minisblack", compression="zlib")
    with pytest.raises(FormatError, match=r"packed with LERC; accepted: .*LZW"):
        read(patched(path, 259, 34887))


def test_tiles_far_larger_than_their_page_are_refused(tmp_path):
    """Of 2 GiB, in a page of 32 x 32."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOXELS, photometric="minisblack", compression="zlib", tile=(32, 32))
    with pytest.raises(FormatError, match="tiles of"):
        read(patched(patched(path, 322, 32768), 323, 32768))


@pytest.mark.parametrize("archived", [False, True])
def test_a_tile_that_says_it_is_a_larger_picture_is_refused(archived, tmp_path, zipped):
    """A JPEG of 32 x 32 whose header says 60,000 x 60,000."""
    folder = tmp_path / "slices"
    folder.mkdir()
    path = folder / "a0.tif"
    tifffile.imwrite(path, VOXELS[0].astype(np.uint8), photometric="minisblack", compression="jpeg", tile=(32, 32))
    content = path.read_bytes()
    at = content.index(b"\xff\xc0", content.index(b"\xff\xd8"))
    path.write_bytes(content[: at + 5] + struct.pack(">HH", 60_000, 60_000) + content[at + 9 :])
    with pytest.raises(FormatError, match="a picture of 60000 x 60000 in 32 x 32 pixels"):
        read(zipped(folder, tmp_path / "a.zip") if archived else path)


def test_a_deflated_dicom_slice_is_refused_by_name(tmp_path, dicom_slice):
    """It would be unpacked whole for its header alone."""
    path = dicom_slice(tmp_path / "a.dcm", VOXELS[0])
    content = pydicom.dcmread(path)
    content.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content.save_as(path)
    with pytest.raises(FormatError, match=r"transfer syntax deflated; accepted: .*dcmconv"):
        read(path)


@pytest.mark.parametrize("how", ["behind a long element", "named twice", "without kinds"])
def test_a_deflated_dicom_slice_cannot_hide_it(how, tmp_path, dicom_slice):
    """Whichever way pydicom would find it, what is not clear is refused unread."""
    content = dicom_slice(tmp_path / "a.dcm", VOXELS[0]).read_bytes()
    deflated = b"1.2.840.10008.1.2.1.99"
    element = b"\x02\x00\x10\x00" + b"UI" + struct.pack("<H", len(deflated)) + deflated
    group = {
        "behind a long element": b"\x02\x00\x01\x00OB\0\0" + struct.pack("<I", 9000) + bytes(9000) + element,
        "named twice": element.replace(deflated, b"1.2.840.10008.1.2.1\0\0\0") + element,
        "without kinds": b"\x02\x00\x10\x00" + struct.pack("<I", len(deflated)) + deflated,
    }[how]
    packed = zlib.compressobj(wbits=-15)
    body = packed.compress(bytes(64 << 20)) + packed.flush()
    (tmp_path / "a.dcm").write_bytes(content[:132] + group + body)
    with pytest.raises(FormatError, match="transfer syntax"):
        read(tmp_path / "a.dcm")


@pytest.mark.parametrize("claim", [None, 60_000])
def test_a_dicom_picture_of_another_size_than_the_slice_is_refused(claim, tmp_path, dicom_slice):
    """A JPEG 2000 stream of 32 x 32 is read, and refused where it says 60,000 x 60,000."""
    packed = bytearray(imagecodecs.jpeg2k_encode(VOXELS[0], level=0, codecformat="J2K", reversible=True))
    if claim:
        struct.pack_into(">II", packed, 8, claim, claim)
    path = dicom_slice(tmp_path / "a.dcm", VOXELS[0], SliceThickness=1.0)
    content = pydicom.dcmread(path)
    assert content.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    content.file_meta.TransferSyntaxUID = JPEG2000Lossless
    content.PixelData = encapsulate([bytes(packed)])
    content["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    content.save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    if claim is None:
        with open_volume(path) as volume:
            np.testing.assert_array_equal(volume.read()[0], VOXELS[0])
        return
    with pytest.raises(FormatError, match="a picture of 60000 x 60000, not 32 x 32"), open_volume(path) as volume:
        volume.read()
