"""Entries of zips: names as people gave them, and what cannot be unpacked is named with the way out."""

import struct
import unicodedata
import zipfile

import numpy as np
import pytest
import tifffile

from scans.formats import FormatError, create_volume, open_volume
from scans.geometry import Frame, Spacing

SPACING = Spacing(3.0, 2.0, 1.0)


@pytest.fixture
def slices(tmp_path):
    """Three slices in a plain zip."""
    path = tmp_path / "fish.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3):
            tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), number, np.uint8))
            archive.write(tmp_path / "a.tif", f"s_{number}.tif")
    return path


def marked(path, *, compression, flags=0):
    """The same zip, each entry of which says that it is packed with another compression."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        places = [(entry.header_offset, 6, 8) for entry in archive.infolist()]
    at = -1
    while (at := content.find(b"PK\1\2", at + 1)) >= 0:
        places.append((at, 8, 10))
    for place, flag, method in places:
        struct.pack_into("<H", content, place + flag, flags)
        struct.pack_into("<H", content, place + method, compression)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("compression", "flags", "said"),
    [
        (9, 0, r"compression Deflate64 is not supported \(entry 's_0.tif'\); accepted: .* zip it again with `zip -r"),
        (12, 0, "compression BZIP2 is not supported"),
        (14, 0, "compression LZMA is not supported"),
        (98, 0, "compression PPMd is not supported"),
        (77, 0, "compression number 77 is not supported"),
        (8, 1, r"entry 's_0.tif' is encrypted; accepted: a zip without a password"),
        (99, 1, r"entry 's_0.tif' is encrypted with AES; accepted: a zip without a password"),
    ],
)
def test_what_cannot_be_unpacked_is_named(slices, compression, flags, said):
    """The method, the entry and what to do; it is not called damaged."""
    path = marked(slices, compression=compression, flags=flags)
    with pytest.raises(FormatError, match=said) as raised, open_volume(path, spacing=SPACING):
        pass
    assert "damaged" not in str(raised.value)


class WithoutFlag(zipfile.ZipInfo):
    """An entry whose name is UTF-8 and does not say so, as macOS and older archivers write it."""

    def _encodeFilenameFlags(self):  # noqa: N802 - zipfile's name
        return self.filename.encode("utf-8"), self.flag_bits & ~0x800


@pytest.mark.parametrize("name", ["Größe_1.tif", "龍_1.tif", unicodedata.normalize("NFD", "Å_1.tif")])
@pytest.mark.parametrize("kind", [zipfile.ZipInfo, WithoutFlag])
def test_names_of_entries_are_as_people_gave_them(name, kind, tmp_path):
    """With the flag that says UTF-8, without it, composed or not; a message has them so too."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(kind(name), b"II*\0 no picture")
    with (
        pytest.raises(FormatError, match=unicodedata.normalize("NFC", name)),
        open_volume(path, spacing=SPACING),
    ):
        pass


def test_an_old_name_is_of_code_page_437(tmp_path):
    """What is no UTF-8 is what the format says of old."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Gr#.tif", b"II*\0 no picture")
    path.write_bytes(path.read_bytes().replace(b"Gr#.tif", b"Gr\x94.tif"))
    with pytest.raises(FormatError, match=r"Grö\.tif"), open_volume(path, spacing=SPACING):
        pass


@pytest.mark.parametrize("kind", [zipfile.ZipInfo, WithoutFlag])
def test_an_ome_zarr_in_a_folder_of_another_alphabet_is_read(kind, tmp_path):
    """Its arrays are found below the folder's name, whichever way that is written."""
    voxels = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    with create_volume(
        tmp_path / "a.ome.zarr", shape=voxels.shape, dtype=voxels.dtype, frame=Frame.from_lps(SPACING)
    ) as writer:
        writer.write(voxels)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((tmp_path / "a.ome.zarr").rglob("*")):
            if file.is_file():
                name = f"Größe/{file.relative_to(tmp_path / 'a.ome.zarr').as_posix()}"
                archive.writestr(kind(name), file.read_bytes())
    with open_volume(path) as volume:
        np.testing.assert_array_equal(volume.read(), voxels)
