"""Zips that are made while they are sent: as long as announced, and read by everyone."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import ZipStore

from scans.formats import create_volume
from scans.formats.zip_stream import ZipEntry, zip_bytes, zip_stream
from scans.geometry import Frame, Spacing
from scans.organs import OrganMap

FRAME = Frame.from_lps(Spacing(0.3, 0.2, 0.1))
ORGANS = OrganMap.from_mapping({1: "heart", 2: "eye"})


@given(
    files=st.dictionaries(
        st.text("abc/é", min_size=1, max_size=9).filter(lambda n: "//" not in n and n[0] != "/" and n[-1] != "/"),
        st.binary(max_size=300),
        max_size=8,
    )
)
def test_a_zip_is_as_long_as_it_says_and_holds_what_it_was_given(files: dict[str, bytes]) -> None:
    """Whatever the names and sizes; the same files give the same bytes."""
    entries = [ZipEntry(name, len(content), lambda c=content: io.BytesIO(c)) for name, content in files.items()]  # type: ignore[misc]
    packed = b"".join(zip_stream(entries))
    assert len(packed) == zip_bytes(entries)
    assert packed == b"".join(zip_stream(reversed(entries)))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files


@pytest.mark.process
def test_an_ome_zarr_zip_is_read_by_zarr_and_unzip(tmp_path: Path) -> None:
    """Its root is the archive's root, its metadata come first."""
    path, voxels = tmp_path / "a.ome.zarr.zip", np.random.default_rng(0).integers(0, 3, (40, 9, 300), np.uint8)
    with create_volume(path, shape=voxels.shape, dtype=np.uint8, frame=FRAME, organs=ORGANS) as writer:
        writer.write(voxels)
    with ZipStore(path, mode="r") as store:
        level = zarr.open_group(store, mode="r")["1"]
        assert isinstance(level, zarr.Array)
        np.testing.assert_array_equal(level[:], voxels[::2, ::2, ::2])
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[:3] == ["zarr.json", "0/zarr.json", "1/zarr.json"]
    if unzip := shutil.which("unzip"):
        assert subprocess.run([unzip, "-tq", path], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_a_zip_may_hold_more_files_than_16_bits_count() -> None:
    """65,535 and more are counted in 64 bits."""
    entries = [ZipEntry(str(number), 0, io.BytesIO) for number in range(0xFFFF)]
    packed = b"".join(zip_stream(entries))
    assert len(packed) == zip_bytes(entries)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert len(archive.namelist()) == 0xFFFF


def test_a_zip_may_be_beyond_four_gigabytes(tmp_path: Path) -> None:
    """Sizes and offsets that need 64 bits; the large file is a hole in a file, so that it takes no room."""

    class Zeros(io.RawIOBase):
        left = (1 << 32) + 7

        def read(self, size: int = -1) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    entries = [ZipEntry("a", Zeros.left, Zeros), ZipEntry("b", 3, lambda: io.BytesIO(b"xyz"))]
    with (tmp_path / "big.zip").open("wb") as file:
        for piece in zip_stream(entries):
            file.seek(len(piece), 1) if len(piece) == 1 << 20 else file.write(piece)
    assert (tmp_path / "big.zip").stat().st_size == zip_bytes(entries)
    with zipfile.ZipFile(tmp_path / "big.zip") as archive:
        assert archive.getinfo("a").file_size == (1 << 32) + 7
        assert archive.read("b") == b"xyz"


def test_a_file_that_changes_while_it_is_zipped_is_noticed() -> None:
    """The length that was promised cannot be kept."""
    with pytest.raises(OSError, match="5 were announced"):
        list(zip_stream([ZipEntry("a", 5, lambda: io.BytesIO(b"xyz"))]))
