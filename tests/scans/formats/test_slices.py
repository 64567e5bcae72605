"""Folders and archives of slices: pictures, side files, and what may be a lost slice."""

import struct
import unicodedata
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile

from scans.formats import FormatError, SpacingMissing, open_volume
from scans.geometry import Spacing

SPACING = Spacing(3.0, 2.0, 1.0)
VOXELS = np.random.default_rng(3).integers(0, 256, (5, 6, 7)).astype(np.uint8)
SIDE_FILES = (
    "Thumbs.db", "desktop.ini", ".DS_Store", "._fish_0.bmp", "__MACOSX/._x", "fish.ctvol", "fish.roi", "fish.xtekct",
    "fish.vgi", "fish.vgl", "fish.log", "fish.json", "fish.txt", "fish.xml", "fish.csv", "fish.pca", "README",
)  # fmt: skip
HIDDEN = SIDE_FILES[:5]


def bmp(plane, *, bits=8, palette=None, upwards=True):
    """As SkyScan and others write it: rows from the lowest up, each filled up to four bytes."""
    rows, columns = plane.shape
    samples = plane[..., None] if bits == 8 else np.repeat(plane[..., None], bits // 8, axis=2)
    stride = (columns * bits // 8 + 3) // 4 * 4
    stored = np.zeros((rows, stride), np.uint8)
    stored[:, : columns * bits // 8] = samples.reshape(rows, -1)
    colours = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, axis=1) if palette is None else palette
    table = colours.tobytes() if bits == 8 else b""
    begin = 54 + len(table)
    head = struct.pack("<2sIHHI", b"BM", begin + stored.size, 0, 0, begin)
    info = struct.pack("<IiiHHIIiiII", 40, columns, rows if upwards else -rows, 1, bits, 0, stored.size, 0, 0, 0, 0)
    return head + info + table + (stored[::-1] if upwards else stored).tobytes()


def folder_of(folder, contents, suffix):
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        (folder / f"fish_{number + 8}{suffix}").write_bytes(content)
    return folder


INVERTED = np.repeat(np.arange(255, -1, -1, dtype=np.uint8)[:, None], 4, axis=1)
PICTURES = {
    "bmp": (VOXELS, [bmp(plane) for plane in VOXELS], ".bmp"),
    "bmp from the top": (VOXELS, [bmp(plane, upwards=False) for plane in VOXELS], ".bmp"),
    "bmp of 24 bits": (VOXELS, [bmp(plane, bits=24) for plane in VOXELS], ".BMP"),
    "bmp of an inverted palette": (VOXELS, [bmp(255 - plane, palette=INVERTED) for plane in VOXELS], ".bmp"),
    "png": (VOXELS, [imagecodecs.png_encode(plane) for plane in VOXELS], ".png"),
    "png of 16 bits": (
        VOXELS * np.uint16(200),
        [imagecodecs.png_encode(plane * np.uint16(200)) for plane in VOXELS],
        ".png",
    ),
    "png of three equal colours": (
        VOXELS,
        [imagecodecs.png_encode(np.repeat(plane[..., None], 3, axis=2)) for plane in VOXELS],
        ".png",
    ),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_stacks_of_pictures_are_read(kind, tmp_path, zipped):
    """Every voxel in its type, in a folder and in a zip; they state no spacing."""
    voxels, contents, suffix = PICTURES[kind]
    folder = folder_of(tmp_path / "scan", contents, suffix)
    for path in (folder, zipped(folder, tmp_path / "a.zip")):
        with pytest.raises(SpacingMissing), open_volume(path):
            pass
        with open_volume(path, spacing=SPACING) as volume:
            assert volume.dtype == voxels.dtype
            np.testing.assert_array_equal(volume.read(), voxels)
            assert volume.notes == ()


def test_side_files_are_passed_over_and_said(tmp_path, zipped):
    """What people would miss is named, what desktops leave is not; a preview of another size is no slice."""
    folder = folder_of(tmp_path / "scan", PICTURES["bmp"][1], ".bmp")
    (folder / "__MACOSX").mkdir()
    for name in SIDE_FILES:
        (folder / name).write_bytes(b"some note\0")
    (folder / "fish_spr.bmp").write_bytes(bmp(VOXELS[0, :3]))
    for path in (folder, zipped(folder, tmp_path / "a.zip")):
        with open_volume(path, spacing=SPACING) as volume:
            np.testing.assert_array_equal(volume.read(), VOXELS)
        (note,) = volume.notes
        assert note == "passed over, as no slice: fish_spr.bmp, README, fish.csv, fish.ctvol, fish.json and 8 more"


def test_previews_beside_tiff_slices_are_passed_over(tmp_path):
    """A picture beside each slice, and one TIFF of another size that is named otherwise."""
    folder = folder_of(tmp_path / "scan", PICTURES["png"][1], ".png")
    for number, plane in enumerate(VOXELS, start=8):
        tifffile.imwrite(folder / f"fish_{number}.tif", plane)
    tifffile.imwrite(folder / "overview.tif", VOXELS[0, :2])
    with open_volume(folder, spacing=SPACING) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
    assert "overview.tif, fish_10.png" in volume.notes[0]


def test_a_picture_of_another_format_with_a_number_of_its_own_may_be_a_slice(tmp_path):
    """Beside a TIFF of its number it is a preview; letters may be large or small, which changes no order."""
    for number, plane in enumerate(VOXELS, start=8):
        tifffile.imwrite(tmp_path / (f"Fish_{number}.TIF" if number % 2 else f"fish_{number}.tif"), plane)
    (tmp_path / "fish_9.png").write_bytes(imagecodecs.png_encode(VOXELS[0]))
    with open_volume(tmp_path, spacing=SPACING) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
    (tmp_path / "fish_9.png").rename(tmp_path / "fish_7.png")
    with pytest.raises(FormatError, match=r"fish_7\.png is of another format than the slices"):
        open_volume(tmp_path, spacing=SPACING).__enter__()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "fish_9b.bmp",
            bmp(VOXELS[0]),
            r"fish_9b\.bmp: it may be a slice, but has no place among those named as fish_8\.bmp",
        ),
        ("fish_13.bmp", b"", r"fish_13\.bmp: fish_13\.bmp is empty"),
        ("fish_13.xyz", b"garbage", r"fish_13\.xyz is no slice: it begins with 67 61 72"),
        ("other.bmp", b"garbage", None),
        ("fish_13.bmp", bmp(VOXELS[0])[:-9], r"fish_13\.bmp: truncated"),
        ("fish_13.bmp", bmp(VOXELS[0, :4]), r"fish_13\.bmp: \(4, 7\), the first slice \(6, 7\) uint8"),
        ("fish_14.bmp", bmp(VOXELS[0]), r"no slices between fish_12\.bmp and fish_14\.bmp"),
    ],
)
def test_what_may_be_a_lost_slice_is_refused_by_its_name(name, content, said, tmp_path, zipped):
    """And nothing else is."""
    folder = folder_of(tmp_path / "scan", PICTURES["bmp"][1], ".bmp")
    (folder / name).write_bytes(content)
    for path in (folder, zipped(folder, tmp_path / "a.zip")):
        if said is None:
            with open_volume(path, spacing=SPACING) as volume:
                assert volume.notes == (f"passed over, as no slice: {name}",)
            continue
        with pytest.raises(FormatError, match=said), open_volume(path, spacing=SPACING) as volume:
            volume.read()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bmp(VOXELS[0], palette=np.random.default_rng(1).integers(0, 255, (256, 4)).astype(np.uint8)), "colour"),
        (imagecodecs.png_encode(np.random.default_rng(1).integers(0, 255, (6, 7, 3)).astype(np.uint8)), "colour"),
        (bmp(VOXELS[0])[:30] + b"\1" + bmp(VOXELS[0])[31:], "a packed BMP"),
        (imagecodecs.png_encode(VOXELS[0])[:-30], "damaged or truncated: .*while reading the slice"),
    ],
)
def test_pictures_that_are_no_slices_are_refused_by_name(content, said, tmp_path):
    """Colour, packed, cut."""
    suffix = ".bmp" if content.startswith(b"BM") else ".png"
    folder = folder_of(tmp_path / "scan", [content, content], suffix)
    with pytest.raises(FormatError, match=rf"scan/fish_8\{suffix}: .*{said}"), open_volume(folder, spacing=SPACING):
        pass


def test_a_picture_is_not_unpacked_before_its_size_is_known(tmp_path):
    """A PNG of a few bytes that states gigabytes is refused by its header."""
    content = bytearray(imagecodecs.png_encode(VOXELS[0]))
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    folder = folder_of(tmp_path / "scan", [bytes(content)] * 2, ".png")
    with pytest.raises(FormatError, match="damaged, or a slice of"), open_volume(folder, spacing=SPACING):
        pass


def test_numbers_in_names_of_mixed_case_are_slices(tmp_path):
    """`.TIF` and `.tif` of one series are numbered together, and a gap among them is named."""
    for number, plane in enumerate(VOXELS):
        tifffile.imwrite(tmp_path / f"fish_{number}{('.tif', '.TIF', '.tiff')[number % 3]}", plane)
    with open_volume(tmp_path, spacing=SPACING) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
    (tmp_path / "fish_2.tiff").unlink()
    with pytest.raises(FormatError, match=r"no slices between fish_1\.TIF and fish_3\.tif"):
        open_volume(tmp_path, spacing=SPACING).__enter__()


def test_names_of_slices_are_compared_composed(tmp_path):
    """A folder that was filled from a Mac and from elsewhere is one series, and a gap in it is named."""
    for number, plane in enumerate(VOXELS):
        name = unicodedata.normalize(("NFC", "NFD")[number % 2], f"Größe_{number}.tif")
        tifffile.imwrite(tmp_path / name, plane)
    with open_volume(tmp_path, spacing=SPACING) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
    (tmp_path / unicodedata.normalize("NFC", "Größe_2.tif")).unlink()
    with pytest.raises(FormatError, match="no slices between"):
        open_volume(tmp_path, spacing=SPACING).__enter__()
