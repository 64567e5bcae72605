"""Whatever is wrong with a file, FormatError comes of it: it names the file, what was found, what is accepted."""

import gzip
import pickle
import random
import zlib

import numpy as np
import pytest

from scans.formats import FormatError, SpacingMissing, open_volume, verify
from scans.geometry import Spacing


def read_all(path):
    try:
        with open_volume(path) as volume:
            verify(volume, slab_slices=4)
            return volume.read()
    except SpacingMissing:
        with open_volume(path, spacing=Spacing(1.0, 1.0, 1.0)) as volume:
            verify(volume, slab_slices=4)
            return volume.read()


def test_a_good_file_is_read_whole_and_in_any_order(sample, samples, voxels):
    """Each of the samples that are damaged below is fine before; its slabs may be read downwards."""
    np.testing.assert_array_equal(read_all(samples[sample]), voxels)
    spacing = None if sample not in ("plain.tif", "lzw.tif", "deflated.tif", "slices.zip") else Spacing(1.0, 1.0, 1.0)
    with open_volume(samples[sample], spacing=spacing) as volume:
        for start in (4, 2, 5, 0):
            np.testing.assert_array_equal(volume.slab(start, start + 2), voxels[start : start + 2])


def test_the_name_does_not_matter(sample, samples, voxels, tmp_path):
    """The format is found by the first bytes, whatever the file is called."""
    path = tmp_path / "scan.dat"
    path.write_bytes(samples[sample].read_bytes())
    np.testing.assert_array_equal(read_all(path), voxels)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_a_format_error(sample, share, samples, tmp_path):
    """Cut anywhere, a file is refused when it is opened or when the missing slab is read."""
    content = samples[sample].read_bytes()
    path = tmp_path / sample
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(FormatError, match=f"{sample}: .*; accepted: "):
        read_all(path)


def test_random_damage_causes_no_other_exception(sample, samples, tmp_path):
    """Bytes changed at random are either noticed, as FormatError, or harmless; no library error escapes."""
    content = samples[sample].read_bytes()
    path = tmp_path / sample
    dice = random.Random(3)  # noqa: S311 - a test, not a secret
    noticed = 0
    for _ in range(15):
        damaged = bytearray(content)
        for _ in range(4):
            damaged[dice.randrange(min(len(damaged), dice.choice([400, 4000, len(damaged)])))] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            assert read_all(path).ndim == 3
        except FormatError:
            noticed += 1
    assert noticed or sample.startswith("plain")


def deflated_mha(path, packed):
    header = (
        "NDims = 3\nDimSize = 256 128 40\nElementType = MET_USHORT\nCompressedData = True\nElementSpacing = 1 1 1\n"
    )
    path.write_bytes(header.encode() + b"ElementDataFile = LOCAL\n" + packed)
    return path


NOISE_THEN_ZEROS = (
    np.random.default_rng(2).integers(0, 99, (40, 128, 256), np.uint16) * (np.arange(40) < 20)[:, None, None]
)


def test_a_deflated_metaimage_is_decoded_in_pieces(tmp_path):
    """Poorly and extremely compressible slices, in slabs that end anywhere, upwards and again from the start."""
    path = deflated_mha(tmp_path / "a.mha", zlib.compress(NOISE_THEN_ZEROS.astype(np.uint16).tobytes()))
    with open_volume(path) as volume:
        for depth in (7, 40, 1):
            slabs = [slab for _, slab in volume.slabs(depth)]
            np.testing.assert_array_equal(np.concatenate(slabs), NOISE_THEN_ZEROS)


@pytest.mark.parametrize("damage", ["checksum", "cut before the checksum", "cut in the voxels"])
def test_damage_at_the_end_of_a_deflated_metaimage_is_found(damage, tmp_path):
    """The checksum is compared when the last slice is read; a stream without one is not whole."""
    packed = zlib.compress(NOISE_THEN_ZEROS.astype(np.uint16).tobytes())
    packed = {
        "checksum": packed[:-1] + bytes([packed[-1] ^ 1]),
        "cut before the checksum": packed[:-4],
        "cut in the voxels": packed[:-100],
    }[damage]
    with open_volume(deflated_mha(tmp_path / "a.mha", packed)) as volume:
        volume.slab(0, 10)
        with pytest.raises(FormatError, match=r"a\.mha: (damaged or )?truncated"):
            verify(volume)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty: the file has 0 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG picture"),
        (b"%PDF-1.7\n" + bytes(100), "a PDF document"),
        (bytes(1000), "nothing but zero bytes"),
        (b"hello, world! this is text", r"its first bytes are 68 65 6c 6c 6f 2c 20 77.*'hello, world!"),
        (b"\x5c\x01\x00\x00" + bytes(600), "ANALYZE"),
        (b"\x1f\x8b\x08\x00garbage garbage garbage", "damaged or truncated"),
        (b"PK\x03\x04garbage", "not a zip file"),
        (b"\x89HDF\r\n\x1a\ngarbage", "damaged or truncated"),
        (b"II*\0\x08\0\0\0\xff\xff", "the TIFF ends after page 0"),
        (b"II*\0\0\0\0\0", "a TIFF without pages"),
        (b"NRRD0005\ntype: float\n", "the header has no end"),
    ],
)
def test_what_is_not_a_volume_is_described(content, found, tmp_path):
    """An unknown or empty file is named, with what its first bytes are and the formats that are accepted."""
    path = tmp_path / "fish.nii"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=rf"fish\.nii: .*{found}.*; accepted: "), open_volume(path):
        pass


def test_a_gzip_of_something_else_says_what_it_holds(tmp_path):
    """Only NIfTI is accepted inside gzip."""
    path = tmp_path / "fish.nii.gz"
    path.write_bytes(gzip.compress(b"\x89PNG\r\n\x1a\n" + bytes(600)))
    with pytest.raises(FormatError, match="gzip of a PNG picture"), open_volume(path):
        pass


def test_a_file_that_is_not_there_is_no_format_error(tmp_path):
    """The wrong path is not the file's fault."""
    with pytest.raises(FileNotFoundError), open_volume(tmp_path / "none.nii"):
        pass


def test_an_empty_folder_is_a_format_error(tmp_path):
    """A folder must hold slices or an OME-Zarr."""
    (tmp_path / ".DS_Store").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"without slices \(no files\)"), open_volume(tmp_path):
        pass


def test_the_parts_of_the_message_can_be_had_alone(tmp_path):
    """A server that knows the file by another name takes the detail; the error survives pickling."""
    error = FormatError(tmp_path / "body", "a PNG picture", "NIfTI")
    assert (error.path, error.found, error.accepted) == (tmp_path / "body", "a PNG picture", "NIfTI")
    assert error.detail == "a PNG picture; accepted: NIfTI"
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == f"{tmp_path / 'body'}: {error.detail}"  # noqa: S301
    assert isinstance(error, ValueError)
