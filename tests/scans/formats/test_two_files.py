"""A header and its voxels in two files: on disk, in a folder, in a zip."""

import gzip
import unicodedata
import zipfile
import zlib

import nibabel as nib
import numpy as np
import pytest

from scans.formats import FormatError, open_volume

VOXELS = np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8) * 3
META = "ObjectType = Image\nNDims = 3\nDimSize = 8 7 6\nElementType = MET_SHORT\nElementSpacing = 1 2 3\n"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 8 7 6\nspacings: 1 2 3\nendian: little\nunits: mm mm mm\n"


def mhd(folder, name="fish.raw", *, header="fish.mhd", said=None):
    (folder / header).write_text(f"{META}ElementDataFile = {said or name}\n", encoding="utf-8")
    (folder / name).write_bytes(VOXELS.tobytes())


def zraw(folder):
    (folder / "fish.mhd").write_text(f"{META}CompressedData = True\nElementDataFile = fish.zraw\n")
    (folder / "fish.zraw").write_bytes(zlib.compress(VOXELS.tobytes()))


def nhdr(folder):
    (folder / "fish.nhdr").write_text(f"{NRRD}encoding: raw\ndata file: fish.raw\n")
    (folder / "fish.raw").write_bytes(VOXELS.tobytes())


def nhdr_packed(folder):
    (folder / "fish.nhdr").write_text(f"{NRRD}encoding: gzip\ndata file: fish.raw.gz\n")
    (folder / "fish.raw.gz").write_bytes(gzip.compress(VOXELS.tobytes()))


def pair(folder):
    nib.save(nib.Nifti1Pair(VOXELS.T, np.diag([1, 2, 3, 1])), folder / "fish.hdr")


def pair_packed(folder):
    pair(folder)
    (folder / "fish.img.gz").write_bytes(gzip.compress((folder / "fish.img").read_bytes()))
    (folder / "fish.img").unlink()


def pair_2(folder):
    nib.save(nib.Nifti2Pair(VOXELS.T, np.diag([1, 2, 3, 1])), folder / "fish.hdr")


def mhd_here(folder):
    mhd(folder, said="./fish.raw")


SAVERS = (mhd, mhd_here, zraw, nhdr, nhdr_packed, pair, pair_packed, pair_2)


def check(path):
    with open_volume(path) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
        np.testing.assert_array_equal(volume.slab(2, 4), VOXELS[2:4])
        assert tuple(volume.spacing) == pytest.approx((3, 2, 1))
        return volume.notes


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_header_and_voxels_are_found_together(save, packing, tmp_path):
    """By the header, by their folder, and in a zip with or without that folder; what lies beside is said."""
    folder = tmp_path / "scan"
    folder.mkdir()
    save(folder)
    (header,) = (path for path in folder.iterdir() if path.suffix in (".mhd", ".nhdr", ".hdr"))
    assert check(header) == ()
    (folder / "notes.txt").write_text("measured at night")
    (folder / ".DS_Store").write_bytes(b"x")
    assert check(folder) == ("passed over, as no slice: notes.txt",)
    for prefix in ("", "day 1/scan/"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", packing) as archive:
            for file in sorted(folder.iterdir(), reverse=True):
                archive.write(file, prefix + file.name)
        assert check(tmp_path / "a.zip") == (f"passed over, as no slice: {prefix}notes.txt",)


@pytest.mark.parametrize("name", ["fish.nii", "fish.nii.gz", "fish.nrrd", "fish.mha"])
def test_one_volume_in_a_zip_is_read(name, tmp_path):
    """Whole files are wrapped so by many a mail program."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(VOXELS)
    image.SetSpacing((1, 2, 3))
    sitk.WriteImage(image, str(tmp_path / name))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / name, name)
    assert check(tmp_path / "a.zip") == ()


def test_names_need_not_be_written_alike(tmp_path):
    """Composed in the header and decomposed on disk, as macOS has it, or in another case, as on Windows."""
    decomposed = unicodedata.normalize("NFD", "Größe.raw")
    mhd(tmp_path, decomposed, said=unicodedata.normalize("NFC", "GRÖßE.raw"))
    check(tmp_path / "fish.mhd")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / decomposed, decomposed)
        archive.write(tmp_path / "fish.mhd", "fish.mhd")
    check(tmp_path / "a.zip")


def test_what_is_missing_or_cut_in_a_zip_is_named(tmp_path):
    """By the header that names it, or by the file that is too short; and two volumes by their names."""
    mhd(tmp_path)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "fish.mhd", "scan/fish.mhd")
        archive.write(tmp_path / "fish.raw", "fish.raw")
    with pytest.raises(FormatError, match=r"a\.zip/scan/fish\.mhd: voxels in 'fish\.raw', which is not beside it"):
        check(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "fish.mhd", "fish.mhd")
        archive.writestr("fish.raw", VOXELS.tobytes()[:-2])
    with pytest.raises(FormatError, match=r"a\.zip/fish\.raw: truncated: the header announces 672 bytes"):
        check(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(tmp_path / "fish.mhd", "other.mhd")
    with pytest.raises(FormatError, match=r"2 volumes: fish\.mhd, other\.mhd; accepted: one volume"):
        check(path)


def test_a_damaged_entry_is_found(tmp_path):
    """By the archive's checksum, when its last voxel is read."""
    mhd(tmp_path)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "fish.mhd", "fish.mhd")
        archive.write(tmp_path / "fish.raw", "fish.raw")
    content = bytearray(path.read_bytes())
    content[content.find(VOXELS.tobytes()) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match="Bad CRC-32 for file"):
        check(path)
