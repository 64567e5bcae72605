"""What a header says that there is, the file holds: no slice less, and none more."""

import gzip
import struct
import zlib

import h5py
import nibabel as nib
import numpy as np
import pytest
import tifffile
import zarr

from scans.formats import FormatError, open_volume
from scans.geometry import Spacing

VOXELS = np.arange(6 * 8 * 10, dtype=np.uint16).reshape(6, 8, 10)
GIVEN = Spacing(1.0, 1.0, 1.0)


def read(path):
    with open_volume(path, spacing=GIVEN) as volume:
        return volume.read()


def refused(path):
    with pytest.raises(FormatError) as caught:
        read(path)
    return caught.value.found


def ended_after(path, pages):
    """Ends the chain of a classic little-endian TIFF after so many pages."""
    content, at = bytearray(path.read_bytes()), 4
    for _ in range(pages):
        (directory,) = struct.unpack_from("<I", content, at)
        (tags,) = struct.unpack_from("<H", content, directory)
        at = directory + 2 + 12 * tags
    struct.pack_into("<I", content, at, 0)
    path.write_bytes(content)
    return path


def described(path, description, voxels=VOXELS, **options):
    with tifffile.TiffWriter(path) as tiff:
        for index, plane in enumerate(voxels):
            tiff.write(plane, description=None if index else description, metadata=None, **options)
    return path


IMAGEJ = "ImageJ=1.54f\nimages={0}\nslices={0}\nunit=mm\nspacing=1.0\n"


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("stated", [7, 5, 48])
def test_imagej_states_as_many_slices_as_there_are(stated, compression, tmp_path):
    """A stack that was cut, or from which a program took slices and left the description."""
    path = described(tmp_path / "a.tif", IMAGEJ.format(stated), compression=compression)
    assert refused(path) == f"states {stated} slices, holds 6"
    np.testing.assert_array_equal(read(described(path, IMAGEJ.format(6), compression=compression)), VOXELS)


@pytest.mark.parametrize("lines", ["images=6\nslices=5", "images=5\nslices=6", "slices=7", "images=7"])
def test_each_number_that_imagej_states_counts(lines, tmp_path):
    """Two that contradict each other cannot both be right."""
    path = described(tmp_path / "a.tif", f"ImageJ=1.54f\n{lines}\nunit=mm\nspacing=1.0\n")
    assert refused(path).startswith("states ")


@pytest.mark.parametrize("options", [{"ome": True, "metadata": {"axes": "ZYX"}}, {"metadata": {"axes": "ZYX"}}])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("pages", [1, 4])
def test_ome_and_tifffile_state_as_many_too(options, compression, pages, tmp_path):
    """SizeZ, and the shape that tifffile notes, beside the pages that are left of a file that was cut."""
    whole = tmp_path / "a.tif"
    tifffile.imwrite(whole, VOXELS, photometric="minisblack", compression=compression, **options)
    np.testing.assert_array_equal(read(whole), VOXELS)
    path = ended_after(whole, pages)
    if pages == 1 and compression is None and "ome" not in options:
        np.testing.assert_array_equal(read(path), VOXELS, err_msg="one directory for pixels that are all there")
    else:
        assert refused(path) == f"states 6 slices, holds {pages}"


def test_more_pages_than_ome_states_are_refused(tmp_path):
    """Whoever reads by the metadata would leave two out, and whoever counts pages would not."""
    tifffile.imwrite(tmp_path / "whole.tif", VOXELS[:4], photometric="minisblack", ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(tmp_path / "whole.tif") as tiff:
        description = tiff.pages.first.description
    assert refused(described(tmp_path / "a.tif", description)) == "states 4 slices, holds 6"


def test_one_directory_for_a_large_stack_is_read_whole(tmp_path):
    """ImageJ writes stacks beyond 4 GB so: one page, and the pixels of all others behind its own."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOXELS, imagej=True, metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(read(ended_after(path, 1)), VOXELS)
    content = described(tmp_path / "b.tif", IMAGEJ.format(48), VOXELS[:1])
    assert refused(content) == "states 48 slices, holds 1"


def test_slices_in_a_folder_may_count_themselves_or_all_of_them(tmp_path):
    """A stack that was taken apart keeps its description in each part; one that states more was cut."""
    for stated in (1, 6):
        (tmp_path / str(stated)).mkdir()
        for index, plane in enumerate(VOXELS):
            described(tmp_path / str(stated) / f"{index}.tif", IMAGEJ.format(stated), [plane])
        np.testing.assert_array_equal(read(tmp_path / str(stated)), VOXELS)
    (tmp_path / "6" / "5.tif").unlink()
    assert refused(tmp_path / "6") == "states 6 slices, holds 5"


def nrrd(path, stated, *, encoding="raw", voxels=VOXELS):
    content = voxels.tobytes() if encoding == "raw" else gzip.compress(voxels.tobytes())
    header = f"NRRD0004\ntype: uint16\ndimension: 3\nsizes: 10 8 {stated}\nencoding: {encoding}\nendian: little\n"
    path.write_bytes(header.encode() + b"spacings: 1 1 1\n\n" + content)
    return path


def metaimage(path, stated, *, encoding="raw", voxels=VOXELS):
    content = voxels.tobytes() if encoding == "raw" else zlib.compress(voxels.tobytes())
    header = (
        f"ObjectType = Image\nNDims = 3\nDimSize = 10 8 {stated}\nElementType = MET_USHORT\nElementSpacing = 1 1 1\n"
    )
    if encoding != "raw":
        header += f"CompressedData = True\nCompressedDataSize = {len(content)}\n"
    path.write_bytes(header.encode() + b"ElementDataFile = LOCAL\n" + content)
    return path


def nifti(path, stated, *, encoding="raw", voxels=VOXELS):
    content = bytearray(nib.Nifti1Image(voxels.T, np.eye(4)).to_bytes())
    struct.pack_into("<h", content, 46, stated)
    path.write_bytes(bytes(content) if encoding == "raw" else gzip.compress(bytes(content)))
    return path


@pytest.mark.parametrize("save", [nrrd, metaimage, nifti])
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("stated", [7, 5])
def test_flat_voxels_are_as_many_as_the_header_says(save, encoding, stated, tmp_path):
    """Fewer bytes than announced are a cut file; a whole slice more is a header of another volume."""
    found = refused(save(tmp_path / "a", stated, encoding=encoding))
    assert "slices" in found
    if encoding == "raw" or stated == 7:
        assert f"states {stated} slices, holds 6" in found
    else:
        assert "holds more slices than it states" in found
    np.testing.assert_array_equal(read(save(tmp_path / "b", 6, encoding=encoding)), VOXELS)


@pytest.mark.parametrize("save", [nrrd, metaimage, nifti])
def test_what_fills_the_last_block_of_a_file_is_no_slice(save, tmp_path):
    """A few bytes behind the last voxel, fewer than a slice, change nothing."""
    path = save(tmp_path / "a", 6)
    with path.open("ab") as file:
        file.write(bytes(VOXELS[0].nbytes - 1))
    np.testing.assert_array_equal(read(path), VOXELS)


def test_a_metaimage_has_the_packed_bytes_that_it_states(tmp_path):
    """CompressedDataSize is a count like any other."""
    path = metaimage(tmp_path / "a.mha", 6, encoding="zlib")
    path.write_bytes(path.read_bytes()[:-5])
    assert refused(path).startswith("truncated: states ")


def test_slices_of_an_hdf5_that_were_never_written_are_missed(tmp_path):
    """An acquisition that was broken off leaves a data set of its full shape; labels may leave slices out."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("scan", VOXELS.shape, VOXELS.dtype, chunks=(2, 4, 5))
        data[:4] = VOXELS[:4]
    assert refused(tmp_path / "a.h5") == "data set scan states 6 slices, holds 4: none was written at slice 4"
    with open_volume(tmp_path / "a.h5", spacing=GIVEN, labels=True) as volume:
        np.testing.assert_array_equal(volume.read()[4:], 0)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("scan", VOXELS.shape, VOXELS.dtype)
    assert refused(tmp_path / "b.h5") == "data set scan states 6 slices, holds 0"


@pytest.mark.parametrize("layout", [{}, {"chunks": (2, 4, 5)}, {"chunks": True, "compression": "gzip"}])
def test_an_hdf5_that_was_written_is_whole_in_every_layout(layout, tmp_path):
    """Contiguous, in chunks, packed; zeros that were written are there."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("scan", data=np.zeros_like(VOXELS), **layout)
    assert not read(tmp_path / "a.h5").any()


@pytest.mark.parametrize("options", [{"zarr_format": 2}, {"zarr_format": 3}, {"zarr_format": 3, "shards": (4, 8, 10)}])
@pytest.mark.parametrize("packed", [False, True])
def test_slices_of_a_zarr_without_chunks_are_said(options, packed, tmp_path, zipped):
    """The format lets empty chunks be left out, so they may be lost or empty: it is said. A scan has some."""
    array = {"shape": VOXELS.shape, "chunks": (2, 4, 5), "dtype": VOXELS.dtype, "shards": options.get("shards")}
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=options["zarr_format"])
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    if options["zarr_format"] == 2:
        group.attrs["multiscales"] = [{"version": "0.4", **multiscale}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    data = group.create_array("0", **array)

    def path(name):
        return zipped(tmp_path / "a.zarr", tmp_path / name) if packed else tmp_path / "a.zarr"

    assert refused(path("none.zip")) == "states 6 slices, holds none: no chunk of them is there"
    data[:4] = VOXELS[:4] + 1
    with open_volume(path("cut.zip")) as volume:
        assert volume.notes == (
            "states 6 slices, holds chunks of 4; of slices 4 to 5 none is there, and they are empty",
        )
        assert not volume.read()[4:].any()
    data[4:] = VOXELS[4:]
    with open_volume(path("whole.zip")) as volume:
        assert volume.notes == ()
