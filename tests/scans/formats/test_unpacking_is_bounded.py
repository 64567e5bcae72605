"""What is unpacked is bounded by what was announced, and only what the table of codecs names is unpacked at all."""

import json
import pickle
import tracemalloc
import zipfile
import zlib

import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from scans.formats import FormatError, open_volume, verify
from scans.geometry import Spacing

VOXELS = np.random.default_rng(1).integers(0, 50, (8, 16, 16), np.uint16)
MM = Spacing(1.0, 1.0, 1.0)
_SMALL = 64 << 20


def ome_zarr(path, *, version=2, **array):
    """The voxels as an OME-Zarr of either version, in chunks of 4 x 8 x 8."""
    group = zarr.create_group(path, zarr_format=version)
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]}]
    multiscales = [{"axes": axes, "datasets": datasets}]
    if version == 2:
        group.attrs["multiscales"] = [multiscales[0] | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
    group.create_array("0", data=VOXELS, **({"chunks": (4, 8, 8)} | array))
    return path


def read(path, spacing=None):
    with open_volume(path, spacing=spacing) as volume:
        verify(volume)
        return volume.read()


def refused(path, match, spacing=None):
    """The refusal takes little memory, whatever was claimed."""
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=match):
            read(path, spacing)
        assert tracemalloc.get_traced_memory()[1] < _SMALL
    finally:
        tracemalloc.stop()


COMPRESSORS = {
    "blosc": numcodecs.Blosc(cname="lz4"),
    "blosc with zstd": numcodecs.Blosc(cname="zstd", shuffle=2),
    "zstd": numcodecs.Zstd(),
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "lz4": numcodecs.LZ4(),
    "none": None,
}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_the_compressors_of_zarr_2_are_read(name, tmp_path):
    """Those that people use, packed by numcodecs itself."""
    np.testing.assert_array_equal(read(ome_zarr(tmp_path / "a.zarr", compressors=COMPRESSORS[name])), VOXELS)


@pytest.mark.parametrize("shards", [None, (8, 16, 16)])
@pytest.mark.parametrize(
    "codec",
    [zarr.codecs.BloscCodec(), zarr.codecs.ZstdCodec(), zarr.codecs.GzipCodec(), None],
    ids=lambda codec: type(codec).__name__,
)
def test_the_codecs_of_zarr_3_are_read(codec, shards, tmp_path):
    """In shards or not, packed by zarr itself."""
    path = ome_zarr(tmp_path / "a.zarr", version=3, compressors=codec, shards=shards)
    np.testing.assert_array_equal(read(path), VOXELS)


BOMB = bytes(256 << 20)
BOMBS = {
    "blosc": lambda: numcodecs.Blosc(cname="zstd", clevel=9).encode(np.frombuffer(BOMB, np.uint8)),
    "zstd": lambda: numcodecs.Zstd().encode(BOMB),
    "gzip": lambda: numcodecs.GZip().encode(BOMB),
    "zlib": lambda: zlib.compress(BOMB),
    "lz4": lambda: numcodecs.LZ4().encode(BOMB),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_chunk_that_unpacks_to_more_than_a_chunk_is_refused(name, tmp_path):
    """256 MiB from a megabyte at most, where the chunk has 512 bytes."""
    path = ome_zarr(tmp_path / "a.zarr", compressors=COMPRESSORS[name])
    packed = BOMBS[name]()
    assert len(packed) < len(BOMB) // 100
    (path / "0" / "0.0.0").write_bytes(packed)
    refused(path, "reading slices")


@pytest.mark.parametrize("name", ["blosc", "zstd", "gzip"])
def test_a_chunk_of_zarr_3_that_unpacks_to_more_is_refused(name, tmp_path):
    """In the newer format too."""
    codec = {"blosc": zarr.codecs.BloscCodec, "zstd": zarr.codecs.ZstdCodec, "gzip": zarr.codecs.GzipCodec}[name]()
    path = ome_zarr(tmp_path / "a.zarr", version=3, compressors=codec)
    (path / "0" / "c" / "0" / "0" / "0").write_bytes(BOMBS[name]())
    refused(path, "reading slices")


class Loaded:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise RuntimeError('code of the file ran')",))


@pytest.mark.parametrize(("place", "value"), [("filters", [{"id": "pickle"}]), ("compressor", {"id": "pickle"})])
def test_a_codec_that_runs_code_is_refused_by_name(place, value, tmp_path):
    """Before a chunk is looked at."""
    path = ome_zarr(tmp_path / "a.zarr", compressors=None)
    document = json.loads((path / "0" / ".zarray").read_text())
    (path / "0" / ".zarray").write_text(json.dumps(document | {place: value}))
    (path / "0" / "0.0.0").write_bytes(pickle.dumps(Loaded()))
    with pytest.raises(FormatError, match="pickle"):
        read(path)


def test_a_codec_of_zarr_3_that_is_not_in_the_table_is_refused_by_name(tmp_path):
    """numcodecs' own are not what OME-Zarr files come with."""
    path = ome_zarr(tmp_path / "a.zarr", version=3, compressors=None)
    document = json.loads((path / "0" / "zarr.json").read_text())
    document["codecs"].append({"name": "numcodecs.bz2", "configuration": {"level": 1}})
    (path / "0" / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match=r"numcodecs\.bz2"):
        read(path)


@pytest.mark.parametrize("chunks", [[2048, 1024, 1024], [512, 512, 512]])
def test_chunks_far_larger_than_their_array_are_refused(chunks, tmp_path):
    """2 GiB and 256 MiB for an array of 4 KiB."""
    path = ome_zarr(tmp_path / "a.zarr")
    document = json.loads((path / "0" / ".zarray").read_text())
    (path / "0" / ".zarray").write_text(json.dumps(document | {"chunks": chunks}))
    refused(path, "chunks of")


def test_chunks_a_little_larger_than_their_array_are_read(tmp_path):
    """The lower levels of a pyramid keep the chunks of the upper ones."""
    np.testing.assert_array_equal(read(ome_zarr(tmp_path / "a.zarr", chunks=(128, 128, 128))), VOXELS)


@pytest.mark.parametrize("packed", [False, True])
def test_metadata_of_megabytes_is_refused_unread(packed, tmp_path, zipped):
    """In a folder, and in an archive, where it would be unpacked first."""
    path = ome_zarr(tmp_path / "a.zarr")
    (path / ".zattrs").write_text(json.dumps({"a": [0] * 3_000_000}))
    if packed:
        path = zipped(path, tmp_path / "a.zip")
    refused(path, "at most 4194304")


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_packed_otherwise_is_refused_by_name(method, tmp_path):
    """Four kilobytes of bzip2 unpack to hundreds of megabytes at once, for the few bytes that are asked for."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("slice_0.tif", BOMB)
    refused(tmp_path / "a.zip", r"compression (BZIP2|LZMA).*zip it again", MM)


def test_more_slices_than_a_volume_has_are_refused(tmp_path):
    """Chunks that are not there read as 0, so that there is no end of them."""
    path = ome_zarr(tmp_path / "a.zarr")
    about = json.loads((path / "0" / ".zarray").read_text())
    (path / "0" / ".zarray").write_text(json.dumps({**about, "shape": [10**20, *about["shape"][1:]]}))
    refused(path, "slices")


def test_a_later_slice_of_another_size_is_not_unpacked(tmp_path):
    """Its header claims gigabytes; the first slice says how large it may be."""
    for number in range(3):
        tifffile.imwrite(tmp_path / f"slice_{number}.tif", np.full((14, 18), number, np.uint16))
    with tifffile.TiffFile(tmp_path / "slice_2.tif", mode="r+") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(20_000_000)
    refused(tmp_path, "slices of one size", spacing=MM)


def test_a_length_beyond_the_file_takes_no_memory(tmp_path, dicom_slice):
    """The last element of a DICOM file claims 4 GB."""
    path = dicom_slice(tmp_path / "a.dcm", np.zeros((14, 18), np.int16))
    element = b"\xe0\x7f\x11\x00OB\0\0" + (0xF0000000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes() + element)
    tracemalloc.start()
    try:
        with open_volume(path, spacing=Spacing(2, 0.5, 0.5)) as volume:
            volume.read()
    except FormatError:
        pass
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
