"""Archives, HDF5, OME-Zarr and text headers: what is in them, and what they may not do."""

import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
import zarr

from scans.formats import FormatError, SpacingMissing, create_volume, entries, open_volume
from scans.geometry import Frame, Spacing

VOXELS = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
FRAME = Frame.from_lps(Spacing(3.0, 2.0, 1.0), (7.0, 8.0, 9.0))


def ome_zarr_04(path, *, unit="micrometer", version="0.4", scale=(3.0, 2.0, 1.0)):
    group = zarr.create_group(path, zarr_format=2)
    axes = [{"name": name, "type": "space"} | ({"unit": unit} if unit else {}) for name in "zyx"]
    steps = [{"type": "scale", "scale": list(scale)}, {"type": "translation", "translation": [9.0, 8.0, 7.0]}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    group.attrs["multiscales"] = [{"version": version, "axes": axes, "datasets": datasets}]
    group.create_array("0", data=VOXELS, chunks=(2, 2, 2))
    return path


def test_ome_zarr_04_is_read_in_its_unit(tmp_path):
    """3, 2, 1 micrometres are 0.003, 0.002, 0.001 mm; the translation is the origin."""
    with open_volume(ome_zarr_04(tmp_path / "a.zarr")) as volume:
        np.testing.assert_array_equal(volume.slab(1, 3), VOXELS[1:3])
        np.testing.assert_allclose(list(volume.spacing), (0.003, 0.002, 0.001))
        np.testing.assert_allclose(volume.frame.origin, (0.007, 0.008, 0.009))


@pytest.mark.parametrize("prefix", ["", "fish.ome.zarr/", "data/fish.ome.zarr/"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_is_read_from_an_archive(prefix, version, tmp_path, zipped):
    """With or without the folder's own name, of either version, beside macOS's leavings."""
    folder = tmp_path / "a.ome.zarr"
    if version == "0.4":
        ome_zarr_04(folder)
    else:
        with create_volume(folder, shape=VOXELS.shape, dtype=VOXELS.dtype, frame=FRAME) as writer:
            writer.write(VOXELS)
    path = zipped(folder, tmp_path / "a.zip", prefix)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._fish", b"x")
    with open_volume(path) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)


def test_ome_zarr_without_unit_asks_for_the_spacing(tmp_path):
    """A scale of numbers alone is no length."""
    path = ome_zarr_04(tmp_path / "a.zarr", unit=None)
    with pytest.raises(SpacingMissing, match="no unit of length"), open_volume(path):
        pass
    with open_volume(path, spacing=Spacing(3.0, 2.0, 1.0)) as volume:
        assert volume.spacing == Spacing(3.0, 2.0, 1.0)


def test_invalid_ome_metadata_is_named_by_field(tmp_path):
    """The field at fault is in the message."""
    path = ome_zarr_04(tmp_path / "a.zarr")
    attributes = json.loads((path / ".zattrs").read_text())
    del attributes["multiscales"][0]["datasets"][0]["path"]
    (path / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(FormatError, match=r"not valid: datasets\.0\.path: Field required"), open_volume(path):
        pass


def test_a_damaged_chunk_is_found_when_it_is_read(tmp_path):
    """The chunk's codec fails; the slabs before are fine."""
    path = ome_zarr_04(tmp_path / "a.zarr")
    (path / "0" / "1.0.0").write_bytes(b"garbage")
    with open_volume(path) as volume:
        np.testing.assert_array_equal(volume.slab(0, 2), VOXELS[:2])
        with pytest.raises(FormatError, match="reading slices 2 to 2"):
            volume.slab(2, 3)


@pytest.mark.parametrize("name", ["../evil.tif", "/etc/evil.tif", "a/../../evil.tif", "..\\evil.tif", "C:\\evil.tif"])
def test_names_that_point_out_of_an_archive_are_refused(name, tmp_path):
    """Nothing is unpacked to disk, and such an archive is not read at all."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"II*\0")
    with pytest.raises(FormatError, match="points outside it"), open_volume(tmp_path / "a.zip"):
        pass


def test_a_zip_bomb_is_refused(tmp_path, monkeypatch, samples):
    """An entry that says it unpacks to more than a slice may take is not unpacked."""
    monkeypatch.setattr(entries, "LARGEST_ENTRY", 1000)
    with (
        pytest.raises(FormatError, match=r"slice_7\.tif' unpacks to \d+ bytes"),
        open_volume(samples["slices.zip"], spacing=Spacing(1.0, 1.0, 1.0)),
    ):
        pass


def test_an_archive_of_something_else_is_refused(tmp_path):
    """A single volume is to be sent as it is, not in an archive."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("fish.docx", b"Dear Sir")
    with pytest.raises(FormatError, match=r"without slices \(fish\.docx\)"), open_volume(tmp_path / "a.zip"):
        pass


def test_an_archive_of_dicom_and_tiff_is_refused(tmp_path, samples, zipped):
    """Which of the two is meant, nobody can know."""
    for name in ("dicom.zip", "slices.zip"):
        with zipfile.ZipFile(samples[name]) as archive:
            archive.extractall(tmp_path / "both")
    path = zipped(tmp_path / "both", tmp_path / "a.zip")
    with pytest.raises(FormatError, match="6 DICOM files among 6 TIFF files"), open_volume(path):
        pass


def test_hdf5_with_two_volumes_lists_them(tmp_path):
    """Which one is meant, nobody can know; tables beside a volume do not matter."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = VOXELS
        file["exchange/theta"] = np.zeros(3)
    with pytest.raises(SpacingMissing, match="element_size_um"), open_volume(tmp_path / "a.h5"):
        pass
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["exchange/data_2"] = VOXELS[:1]
    with pytest.raises(FormatError, match=r"2 data sets.* exchange/data 3 x 4 x 5 uint16, exchange/data_2"):
        open_volume(tmp_path / "a.h5").__enter__()


def test_hdf5_does_not_follow_links_to_other_files(tmp_path):
    """A file that was sent cannot make the server read another."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["scan"] = VOXELS
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("secret.h5", "/scan")
        layout = h5py.VirtualLayout(VOXELS.shape, VOXELS.dtype)
        layout[:] = h5py.VirtualSource("secret.h5", "scan", VOXELS.shape)
        file.create_virtual_dataset("virtual", layout)
    with pytest.raises(FormatError, match="data set virtual lies in other files"), open_volume(tmp_path / "a.h5"):
        pass


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (3, 4, 5, 1), (1, 3, 4, 5, 1)])
def test_hdf5_axes_of_size_one_are_dropped(shape, tmp_path):
    """ilastik writes t and c of size 1 around z, y, x."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["scan"] = VOXELS.reshape(shape)
        file["scan"].attrs["spacing"] = (3.0, 2.0, 1.0)
        file["scan"].attrs["unit"] = "um"
    with open_volume(tmp_path / "a.h5") as volume:
        np.testing.assert_array_equal(volume.slab(1, 3), VOXELS[1:3])
        np.testing.assert_allclose(list(volume.spacing), (0.003, 0.002, 0.001))


NRRD = "NRRD0004\ntype: uint16\ndimension: 3\nsizes: 5 4 3\nencoding: raw\nendian: {endian}\n{more}\n\n"


@pytest.mark.parametrize(
    ("more", "spacing"),
    [
        ("spacings: 1 2 3", (3.0, 2.0, 1.0)),
        ('spacings: 1 2 3\nunits: "um" "um" "um"', (0.003, 0.002, 0.001)),
        ("space: RAS\nspace directions: (1,0,0) (0,2,0) (0,0,3)", (3.0, 2.0, 1.0)),
        ('space dimension: 3\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace units: "cm" "cm" "cm"', (30, 20, 10)),
    ],
)
@pytest.mark.parametrize("endian", ["little", "big"])
def test_nrrd_spacing_unit_and_byte_order(more, spacing, endian, tmp_path):
    """Spacings or directions, with a unit or in mm, voxels of either byte order."""
    path = tmp_path / "a.nrrd"
    order = {"little": "<u2", "big": ">u2"}[endian]
    path.write_bytes(NRRD.format(endian=endian, more=more).encode() + VOXELS.astype(order).tobytes())
    with open_volume(path) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
        np.testing.assert_allclose(list(volume.spacing), spacing)


def test_nrrd_spaces_are_told_apart(tmp_path):
    """The origin (1, 2, 3) in RAS is (-1, -2, 3) in LPS."""
    more = "space: right-anterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (1,2,3)"
    (tmp_path / "a.nrrd").write_bytes(NRRD.format(endian="little", more=more).encode() + VOXELS.tobytes())
    with open_volume(tmp_path / "a.nrrd") as volume:
        assert volume.frame.origin == (-1.0, -2.0, 3.0)


@pytest.mark.parametrize("more", ["", "spacings: nan nan nan", "spacings: 1 0 1"])
def test_nrrd_without_spacing_asks_for_it(more, tmp_path):
    """Neither directions nor usable spacings."""
    more = more or "content: fish"
    (tmp_path / "a.nrrd").write_bytes(NRRD.format(endian="little", more=more).encode() + VOXELS.tobytes())
    with pytest.raises(SpacingMissing), open_volume(tmp_path / "a.nrrd"):
        pass


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_voxels_beside_the_header_are_read(suffix, tmp_path):
    """A header and its raw file, in one folder."""
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(tmp_path / f"a{suffix}"))
    with open_volume(tmp_path / f"a{suffix}") as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)


@pytest.mark.parametrize("name", ["../secret.raw", "/etc/passwd", "LIST", "slice%03d.raw", "missing.raw"])
def test_voxels_in_other_places_are_refused(name, tmp_path):
    """A header that was sent cannot make the server read another file."""
    header = "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementType = MET_USHORT\nElementSpacing = 1 1 1\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.raw").write_bytes(VOXELS.tobytes())
    (tmp_path / "in" / "a.mhd").write_text(f"{header}ElementDataFile = {name}\n")
    with pytest.raises(FormatError, match="voxels in the file itself"), open_volume(tmp_path / "in" / "a.mhd"):
        pass


def test_metaimage_without_spacing_asks_for_it(tmp_path):
    """ITK would take 1 mm; nobody said so."""
    header = "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementType = MET_USHORT\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(header.encode() + VOXELS.tobytes())
    with pytest.raises(SpacingMissing, match="ElementSpacing"), open_volume(tmp_path / "a.mha"):
        pass


def test_an_archive_with_a_folder_of_slices_leaves_nothing_on_disk(tmp_path, samples, voxels):
    """It is read where it is."""
    path = shutil.copy(samples["slices.zip"], tmp_path / "a.zip")
    with open_volume(path, spacing=Spacing(1.0, 1.0, 1.0)) as volume:
        np.testing.assert_array_equal(volume.read(), voxels)
        assert [child.name for child in tmp_path.iterdir()] == ["a.zip"]
