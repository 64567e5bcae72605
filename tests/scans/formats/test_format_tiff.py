"""TIFF: which stacks are volumes, which voxel sizes are believed, folders of slices."""

import numpy as np
import pytest
import tifffile

from scans.formats import FormatError, SpacingMissing, open_volume
from scans.geometry import Spacing

VOXELS = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
GIVEN = Spacing(3.0, 2.0, 1.0)


def save(path, array=VOXELS, **options):
    tifffile.imwrite(path, array, **{"photometric": "minisblack"} | options)
    return path


def folder_of(path, numbers, **options):
    path.mkdir()
    for number in numbers:
        save(path / f"slice_{number}.tif", np.full((4, 5), number, np.uint16), **options)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits"])
def test_stacks_of_either_kind_and_order(order, big, compression, tmp_path):
    """Classic and BigTIFF, both byte orders, the usual compressions."""
    path = save(tmp_path / "a.tif", byteorder=order, bigtiff=big, compression=compression)
    with open_volume(path, spacing=GIVEN) as volume:
        assert volume.dtype == np.uint16
        assert volume.dtype.isnative
        assert volume.spacing == GIVEN
        np.testing.assert_array_equal(volume.slab(1, 3), VOXELS[1:3])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"resolution": (72, 72), "resolutionunit": "INCH"},
        {"resolution": (1000, 1000), "resolutionunit": "CENTIMETER"},
        {"imagej": True, "metadata": {"axes": "ZYX", "spacing": 2.0}},
        {"imagej": True, "metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "pixel"}},
        {"imagej": True, "metadata": {"axes": "ZYX", "unit": "mm"}, "resolution": (2, 2)},
        {"metadata": {"axes": "ZYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0}, "ome": True},
    ],
)
def test_a_spacing_that_is_not_sure_is_asked_for(options, tmp_path):
    """A screen's 72 dpi, a resolution without depth, a spacing without unit are no voxel size."""
    path = save(tmp_path / "a.tif", **options)
    with pytest.raises(SpacingMissing, match=r"a\.tif: .*z,y,x in mm"), open_volume(path):
        pass
    with open_volume(path, spacing=GIVEN) as volume:
        assert volume.spacing == GIVEN


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"imagej": True, "metadata": {"axes": "ZYX", "spacing": 2.5, "unit": "um"}, "resolution": (2, 4)},
            (0.0025, 0.00025, 0.0005),
        ),
        (
            {"imagej": True, "metadata": {"axes": "ZYX", "spacing": 2.5, "unit": "\\u00B5m"}, "resolution": (1, 1)},
            (0.0025, 0.001, 0.001),
        ),
        (
            {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeZ": 3, "PhysicalSizeY": 2, "PhysicalSizeX": 1}},
            (0.003, 0.002, 0.001),
        ),
        (
            {
                "ome": True,
                "metadata": {
                    "axes": "ZYX",
                    **{f"PhysicalSize{axis}": 0.5 for axis in "XYZ"},
                    **{f"PhysicalSize{axis}Unit": "mm" for axis in "XYZ"},
                },
            },
            (0.5, 0.5, 0.5),
        ),
    ],
)
def test_a_stated_voxel_size_is_used(options, expected, tmp_path):
    """ImageJ's spacing and unit, OME's physical sizes (micrometres unless said otherwise)."""
    with open_volume(save(tmp_path / "a.tif", **options)) as volume:
        np.testing.assert_allclose(list(volume.spacing), expected)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros((3, 4, 5, 3), np.uint8), {"photometric": "rgb"}, r"pages 3, y 4, x 5, samples \(colour\) 3"),
        (np.zeros((4, 5, 3), np.uint8), {"photometric": "rgb"}, r"y 4, x 5, samples \(colour\) 3"),
        (np.zeros((3, 2, 4, 5), np.uint8), {"imagej": True, "metadata": {"axes": "ZCYX"}}, "z 3, channels 2"),
        (np.zeros((2, 3, 4, 5), np.uint8), {"imagej": True, "metadata": {"axes": "TZYX"}}, "time 2, z 3, y 4, x 5"),
        (np.zeros((3, 4, 5), np.uint8), {"ome": True, "metadata": {"axes": "TYX"}}, "time 3, y 4, x 5"),
    ],
)
def test_colour_channels_and_time_are_named(array, options, message, tmp_path):
    """The message gives each axis with its meaning and size."""
    with pytest.raises(FormatError, match=message), open_volume(save(tmp_path / "a.tif", array, **options)):
        pass


def test_pages_of_different_size_are_no_volume(tmp_path):
    """A stack of 4 x 5 pages with one of 6 x 7 is two images."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for shape in ((4, 5), (4, 5), (6, 7)):
            tiff.write(np.zeros(shape, np.uint8), metadata=None)
    with pytest.raises(FormatError, match=r"2 images of different size or type: 2 x 4 x 5, 6 x 7"):
        open_volume(tmp_path / "a.tif").__enter__()


def test_a_chain_of_pages_that_comes_back_is_refused(tmp_path):
    """A page that names an earlier one as the next would never end."""
    path = save(tmp_path / "a.tif", VOXELS[0], metadata=None)
    content = bytearray(path.read_bytes())
    first = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[first : first + 2], "little")
    content[first + 2 + 12 * entries : first + 6 + 12 * entries] = content[4:8]
    path.write_bytes(content)
    with pytest.raises(FormatError, match="the TIFF ends after page 1"), open_volume(path):
        pass


def test_a_folder_of_slices_is_in_natural_order(tmp_path):
    """slice_2 comes before slice_10; hidden files and notes do not count."""
    path = folder_of(tmp_path / "scan", range(8, 12))
    for name in (".DS_Store", "Thumbs.db", "._slice_9.tif", "scan.log"):
        (path / name).write_bytes(b"x")
    with pytest.raises(SpacingMissing, match="folder of TIFF slices"), open_volume(path):
        pass
    with open_volume(path, spacing=GIVEN) as volume:
        assert volume.read()[:, 0, 0].tolist() == [8, 9, 10, 11]
        assert volume.slab(3, 4)[0, 0, 0] == 11
        assert volume.spacing == GIVEN


def test_every_second_slice_is_a_volume_too(tmp_path):
    """Numbers need not be consecutive, only even."""
    with open_volume(folder_of(tmp_path / "scan", [0, 2, 4]), spacing=GIVEN) as volume:
        assert volume.shape == (3, 4, 5)


def test_a_gap_in_the_numbers_is_named(tmp_path):
    """Missing slices would shift all that follow."""
    path = folder_of(tmp_path / "scan", [1, 2, 5, 6])
    with pytest.raises(FormatError, match=r"no slices between slice_2\.tif and slice_5\.tif"), open_volume(path):
        pass


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (np.zeros((4, 6), np.uint16), r"slice_2\.tif.*\(4, 6\), the first slice \(4, 5\) uint16"),
        (np.zeros((4, 5), np.uint8), r"slice_2\.tif.*uint8"),
        (np.zeros((2, 4, 5), np.uint16), r"slice_2\.tif.*2 pages in a folder of slices"),
    ],
)
def test_a_slice_that_does_not_fit_is_named_when_it_is_read(odd, message, tmp_path):
    """Another size, another type, more than one page."""
    path = folder_of(tmp_path / "scan", [1, 2, 3])
    save(path / "slice_2.tif", odd)
    with open_volume(path, spacing=GIVEN) as volume:
        volume.slab(0, 1)
        with pytest.raises(FormatError, match=message):
            volume.slab(1, 2)


def test_slices_in_several_folders_are_refused(tmp_path):
    """Two scans in one folder are not one volume."""
    (tmp_path / "scans").mkdir()
    for name in ("a", "b"):
        folder_of(tmp_path / "scans" / name, [1, 2])
    with pytest.raises(FormatError, match="TIFF files in 2 folders: a, b"):
        open_volume(tmp_path / "scans", spacing=GIVEN).__enter__()


def test_bilevel_pages_become_zero_and_one(tmp_path):
    """A mask of one bit per pixel is read as uint8."""
    mask = VOXELS % 2 == 0
    with open_volume(save(tmp_path / "a.tif", mask), spacing=GIVEN) as volume:
        assert volume.dtype == np.uint8
        np.testing.assert_array_equal(volume.read(), mask)


@pytest.mark.parametrize(("axes", "called"), [("TYX", "Frames"), ("CYX", "Channels")])
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_slices_that_were_saved_as_frames_or_channels_can_be_exchanged(axes, called, kind, tmp_path):
    """The message says where, and that it can be said as well; axes that are no such mistake get no such advice."""
    path = save(tmp_path / "a.tif", VOXELS.astype(np.uint16), metadata={"axes": axes}, **{kind: True})
    said = f"dataset={called.lower()} over HTTP.*Image > Properties, Slices {len(VOXELS)}, {called} 1, then save it"
    with pytest.raises(FormatError, match=said):
        open_volume(path, spacing=GIVEN).__enter__()
    with open_volume(path, spacing=GIVEN, dataset=called.lower()) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
    other = {"Frames": "channels", "Channels": "frames"}[called]
    with pytest.raises(FormatError, match=rf"{called.lower().replace('frames', 'time')} \d+, .*said to be '{other}'"):
        open_volume(path, spacing=GIVEN, dataset=other).__enter__()
    both = {"TYX": "TZYX", "CYX": "ZCYX"}[axes]
    path = save(tmp_path / "b.tif", np.zeros((2, 4, 6, 5), np.uint16), metadata={"axes": both}, **{kind: True})
    with pytest.raises(FormatError) as refused:
        open_volume(path, spacing=GIVEN).__enter__()
    assert "Fiji" not in str(refused.value)
