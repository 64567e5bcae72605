"""What is written while it is sent: the same bytes as a file, and zips that are never a file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scans.formats import STREAMED, create_volume, open_volume, stream_volume
from scans.formats.pyramid import Pyramid
from scans.formats.zip_stream import ZipEntry, folder_entries, zip_bytes, zip_stream
from scans.geometry import Frame, Spacing
from scans.organs import OrganMap

FRAME = Frame.from_lps(Spacing(0.3, 0.2, 0.1))
ORGANS = OrganMap.from_mapping({1: "heart", 2: "eye"})


class AppendOnly(io.RawIOBase):
    """Takes bytes, and nothing else."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, piece: Any) -> int:
        self.content += piece
        return len(piece)

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")


def labels(shape: tuple[int, int, int] = (7, 9, 11)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)


@pytest.mark.parametrize("suffix", sorted(STREAMED))
@pytest.mark.parametrize("organs", [ORGANS, None])
def test_a_stream_has_the_bytes_of_the_file(tmp_path: Path, suffix: str, organs: OrganMap | None) -> None:
    """However the slabs are cut, and without ever going back."""
    voxels, out = labels(), AppendOnly()
    about: dict[str, Any] = {"shape": voxels.shape, "dtype": voxels.dtype, "frame": FRAME, "organs": organs}
    with create_volume(tmp_path / f"a{suffix}", **about) as writer:
        writer.write(voxels)
    with stream_volume(out, suffix=suffix, **about) as writer:
        for start in range(0, 7, 3):
            writer.write(voxels[start : start + 3])
    assert bytes(out.content) == (tmp_path / f"a{suffix}").read_bytes()
    with open_volume(tmp_path / f"a{suffix}") as volume:
        np.testing.assert_array_equal(volume.read(), voxels)
        np.testing.assert_allclose(tuple(volume.spacing), tuple(FRAME.spacing), rtol=1e-6)


@pytest.mark.parametrize("suffix", [".h5", ".ome.zarr", ".mha"])
def test_other_formats_are_refused_as_streams(suffix: str) -> None:
    """By name, with those that can."""
    with (
        pytest.raises(ValueError, match=r"cannot be written as a stream; .nii"),
        stream_volume(AppendOnly(), suffix=suffix, shape=(1, 1, 1), dtype=np.uint8, frame=FRAME),
    ):
        pass


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_our_tiff_is_everybodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type, big: bool) -> None:
    """TIFF and BigTIFF: tifffile sees an ImageJ stack with its spacing, ITK the same voxels."""
    if big:
        monkeypatch.setattr("scans.formats.tiff_writing._CLASSIC_BYTES", 10)
    voxels = (np.random.default_rng(1).normal(0, 50, (5, 8, 6)) + 100).astype(dtype)
    path = tmp_path / "a.tif"
    with create_volume(path, shape=voxels.shape, dtype=dtype, frame=FRAME) as writer:
        writer.write(voxels)
    with tifffile.TiffFile(path) as tiff:
        assert (tiff.is_bigtiff, tiff.is_imagej, len(tiff.pages)) == (big, True, 5)
        assert tiff.imagej_metadata is not None and tiff.imagej_metadata["spacing"] == 0.3
        np.testing.assert_array_equal(tiff.asarray(), voxels)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), voxels)


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


@given(
    voxels=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 200), st.integers(1, 9))),
    power=st.integers(0, 4),
    order=st.randoms(use_true_random=False),
)
def test_a_pyramid_is_the_same_in_whatever_order_it_is_filled(
    tmp_path_factory: pytest.TempPathFactory, voxels: np.ndarray, power: int, order: Any
) -> None:
    """Every level holds every 2^k-th voxel; a slab fills files that no other slab touches."""
    folder, slab = tmp_path_factory.mktemp("pyramid") / "a.ome.zarr", 2**power
    pyramid = Pyramid.create(folder, shape=voxels.shape, dtype=np.uint8, frame=FRAME, organs=ORGANS, slab_slices=slab)
    numbers = list(range(-(-len(voxels) // slab)))
    order.shuffle(numbers)
    seen: set[str] = set()
    for number in numbers:
        files = pyramid.write(number, voxels[number * slab : (number + 1) * slab])
        assert not seen & set(files) and all((folder / file).is_file() for file in files)
        seen |= set(files)
    assert {entry.name for entry in folder_entries(folder) if not entry.name.endswith("zarr.json")} == seen
    for level, (_, array) in enumerate(sorted(zarr.open_group(folder, mode="r").arrays())):
        stride = 2**level
        np.testing.assert_array_equal(array[:], voxels[::stride, ::stride, ::stride])
    np.testing.assert_array_equal(np.concatenate(list(Pyramid.open(folder).slabs())), voxels)


def test_a_slab_that_is_no_power_of_two_is_refused(tmp_path: Path) -> None:
    """Its coarser levels would not be whole."""
    with pytest.raises(ValueError, match="power of two"):
        Pyramid.create(tmp_path / "a", shape=(9, 9, 9), dtype=np.uint8, frame=FRAME, organs=None, slab_slices=6)


@pytest.mark.parametrize(
    ("suffix", "direct"), [(".nii", True), (".nii.gz", False), (".nrrd", False), (".tif", True), (".h5", True)]
)
def test_what_must_be_decoded_from_the_start_says_so(tmp_path: Path, suffix: str, direct: bool) -> None:
    """Compressed in one stream, or readable slab by slab."""
    with create_volume(tmp_path / f"a{suffix}", shape=(3, 4, 5), dtype=np.uint8, frame=FRAME) as writer:
        writer.write(np.zeros((3, 4, 5), np.uint8))
    with open_volume(tmp_path / f"a{suffix}", spacing=None) as volume:
        assert volume.random_access is direct
