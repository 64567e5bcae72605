"""Metadata of a few bytes may announce any number of parts: chunks, levels, planes. Each is refused by its number."""

import json
import struct
import zipfile

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from scans.formats import FormatError, open_volume
from scans.geometry import Spacing
from tests.scans.formats.test_unpacking_is_bounded import VOXELS, ome_zarr

MM = Spacing(1.0, 1.0, 1.0)
OME = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{}</OME>'
IMAGE = (
    '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="5" SizeY="4" SizeZ="{}" '
    'SizeC="1" SizeT="1">{}</Pixels></Image>'
)


def read(path, spacing=None):
    with open_volume(path, spacing=spacing) as volume:
        return volume.read()


def changed(path, file, change):
    document = json.loads((path / file).read_text())
    change(document)
    (path / file).write_text(json.dumps(document))
    return path


def test_many_zarr_chunks_that_hold_next_to_nothing_are_refused(tmp_path):
    """None of them has to be there; the same voxels in chunks of a usual size are read."""
    path = ome_zarr(tmp_path / "a.zarr", compressors=None)
    changed(path, "0/.zarray", lambda about: about.update(shape=[64, 256, 256], chunks=[1, 4, 4]))
    with pytest.raises(FormatError, match=r"262144 chunks that hold 32 bytes \(1, 4, 4\); accepted: .*4096 bytes"):
        read(path)
    changed(path, "0/.zarray", lambda about: about.update(shape=[64, 256, 256], chunks=[4, 32, 32]))
    for chunk in (path / "0").glob("[0-9]*"):
        chunk.write_bytes(bytes(8192))
    assert read(path).shape == (64, 256, 256)


def test_chunks_that_reach_far_beyond_their_array_count_as_what_they_hold(tmp_path):
    """An array of 4 x 4 pixels a slice, in chunks of 64 x 64."""
    path = ome_zarr(tmp_path / "a.zarr", compressors=None)
    changed(path, "0/.zarray", lambda about: about.update(shape=[20_000, 4, 4], chunks=[1, 64, 64]))
    with pytest.raises(FormatError, match="20000 chunks that hold 32 bytes"):
        read(path)


def test_many_chunks_of_one_shard_are_refused(tmp_path):
    """Larger than the array as it may be, its index holds each of them."""
    path = ome_zarr(tmp_path / "a.zarr", version=3, chunks=(1, 4, 4), shards=(8, 16, 16), compressors=None)

    def enlarge(about):
        about["chunk_grid"]["configuration"]["chunk_shape"] = [16, 128, 128]

    with pytest.raises(FormatError, match="16384 chunks that hold 32 bytes"):
        read(changed(path, "0/zarr.json", enlarge))


def test_many_hdf5_chunks_that_hold_next_to_nothing_are_refused(tmp_path):
    """HDF5 takes kilobytes of memory for each that is read, be it in the file or not."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("v", (64, 360, 360), "u1", chunks=(1, 4, 4))
    with pytest.raises(FormatError, match=r"518400 chunks that hold 16 bytes \(1, 4, 4\)"):
        read(tmp_path / "a.h5", MM)


def level(number):
    return {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": [1.0 + number] * 3}]}


SCALE = {"type": "scale", "scale": [1.0, 1.0, 1.0]}
LISTS = {
    "levels": lambda image, count: image.update(datasets=[level(number) for number in range(count)]),
    "axes": lambda image, count: image.update(axes=[{"name": f"a{n}", "type": "channel"} for n in range(count)]),
    "steps": lambda image, count: image["datasets"][0].update(coordinateTransformations=[SCALE] * count),
    "numbers": lambda image, count: image.update(coordinateTransformations=[{"type": "scale", "scale": [1.0] * count}]),
}


@pytest.mark.parametrize("name", LISTS)
def test_long_lists_in_ome_metadata_are_refused_by_their_length(name, tmp_path):
    """Before a library compares each with each."""
    path = ome_zarr(tmp_path / "a.zarr")
    changed(path, ".zattrs", lambda about: LISTS[name](about["multiscales"][0], 5000))
    with pytest.raises(FormatError, match=r"a list of 5000 levels, axes or transformations.*at most 64"):
        read(path)


def test_an_image_of_many_levels_is_read(tmp_path):
    """Twenty of them, of which the first counts."""
    path = ome_zarr(tmp_path / "a.zarr")
    changed(path, ".zattrs", lambda about: LISTS["levels"](about["multiscales"][0], 20))
    np.testing.assert_array_equal(read(path), VOXELS)


def test_a_shard_that_a_zip_has_packed_is_refused_with_the_command_for_another(tmp_path):
    """For each of its chunks it would be unpacked from its beginning; in a zip that packs nothing it is read."""
    codec = zarr.codecs.ZstdCodec()
    path = ome_zarr(tmp_path / "a.zarr", version=3, chunks=(4, 8, 8), shards=(8, 16, 16), compressors=codec)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        with zipfile.ZipFile(tmp_path / f"{method}.zip", "w", method) as archive:
            for file in sorted(path.rglob("*")):
                archive.write(file, file.relative_to(path))
    with open_volume(tmp_path / f"{zipfile.ZIP_STORED}.zip") as volume:
        np.testing.assert_array_equal(volume.slab(0, 1), VOXELS[:1])
    with (
        pytest.raises(FormatError, match=r"the shard 0/c/0/0/0 is packed by the zip; accepted: .*`zip -0 -r"),
        open_volume(tmp_path / f"{zipfile.ZIP_DEFLATED}.zip") as volume,
    ):
        volume.slab(0, 1)


def ome_tiff(path, inside, *, slices=3):
    """30 pages, of which OME's metadata says this."""
    voxels, text = np.zeros((30, 4, 5), np.uint8), OME.format(IMAGE.format(slices, inside))
    tifffile.imwrite(path, voxels, description=text, metadata=None, photometric="minisblack")
    return path


@pytest.mark.parametrize(
    ("inside", "claimed"),
    [
        ('<TiffData IFD="0" PlaneCount="30"/>' * 50, 1500),
        ("<TiffData IFD='0' PlaneCount='30'/>" * 50, 1500),
        ("<TiffData/>" * 50, 1500),
        ('<TiffData IFD="0" NumPlanes="1000000000"/>', 1_000_000_000),
        ('<TiffData IFD="0" PlaneCount="-30"/>' * 50, 1500),
    ],
)
def test_planes_that_ome_claims_again_and_again_are_refused(inside, claimed, tmp_path):
    """50 times all 30 pages, in each way of saying so."""
    with pytest.raises(FormatError, match=f"states {claimed} slices, holds 30"):
        read(ome_tiff(tmp_path / "a.ome.tif", inside), MM)


def test_directories_that_lie_over_each_other_are_refused(tmp_path):
    """Each of 200 begins 12 bytes after the one before, and has all entries that follow."""
    pages, entries = 200, 300
    content = bytearray(8 + 12 * (pages + entries) + 64)
    content[:8] = struct.pack("<2sHI", b"II", 42, 8)
    for page in range(pages):
        at = 8 + 12 * page
        struct.pack_into("<H", content, at, entries)
        struct.pack_into("<I", content, at + 2 + 12 * entries, at + 12 if page + 1 < pages else 0)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(FormatError, match=r"the first 2 pages have 600 entries in 6072 bytes"):
        read(tmp_path / "a.tif", MM)


def test_sizes_that_ome_claims_are_refused_before_room_is_made_for_them(tmp_path):
    """A thousand million slices in 30 pages."""
    with pytest.raises(FormatError, match="states 1000000000 slices, holds 30"):
        read(ome_tiff(tmp_path / "a.ome.tif", "<TiffData/>", slices=1_000_000_000), MM)


def test_a_description_is_as_long_as_its_pages_need(tmp_path):
    """Two megabytes are too much for 30 pages."""
    with pytest.raises(FormatError, match=r"a description of 2\d+ bytes; accepted: one of at most \d+ .* 30 pages"):
        read(ome_tiff(tmp_path / "a.ome.tif", " " * (2 << 20)), MM)


def test_ome_metadata_declares_nothing_of_its_own(tmp_path):
    """Entities of XML stand for any length of text."""
    path = ome_tiff(tmp_path / "a.ome.tif", "<TiffData/>", slices=30)
    tifffile.tiffcomment(path, tifffile.tiffcomment(path).replace("<OME", '<!DOCTYPE OME [<!ENTITY a "b">]><OME', 1))
    with pytest.raises(FormatError, match="OME metadata with declarations of its own"):
        read(path, MM)
