"""What is written while it is sent: the same bytes as a file, and no end without the last slice."""

from __future__ import annotations

import gc
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from scans.formats import STREAMED, FormatError, create_volume, open_volume, stream_volume, verify
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


@pytest.mark.parametrize("suffix", sorted(STREAMED))
def test_the_bytes_of_large_slices_do_not_depend_on_the_slabs(suffix: str) -> None:
    """Noise, of which deflate makes other blocks when it is fed other pieces, in slabs of 1, 2 and 9 slices."""
    voxels = np.random.default_rng(0).integers(0, 9000, (9, 160, 200), np.uint16)
    contents = set()
    for depth in (1, 2, 9):
        out = AppendOnly()
        with stream_volume(out, suffix=suffix, shape=voxels.shape, dtype=voxels.dtype, frame=FRAME) as writer:
            for start in range(0, 9, depth):
                writer.write(voxels[start : start + depth])
        contents.add(bytes(out.content))
    assert len(contents) == 1


def give_up(out: AppendOnly, suffix: str, slices: int) -> None:
    with stream_volume(out, suffix=suffix, shape=(7, 9, 11), dtype=np.uint8, frame=FRAME) as writer:
        writer.write(labels()[:slices])
        raise RuntimeError("boom")


@pytest.mark.parametrize("suffix", sorted(STREAMED))
@pytest.mark.parametrize("slices", [0, 1, 4])
def test_a_stream_that_is_given_up_is_no_volume(suffix: str, slices: int, tmp_path: Path) -> None:
    """When slices fail to come, what was sent has no end that would make it look whole."""
    out = AppendOnly()
    with pytest.raises(RuntimeError, match="boom"):
        give_up(out, suffix, slices)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(out.content)
    with pytest.raises(FormatError), open_volume(path) as volume:
        verify(volume)


def test_gunzip_notices_that_a_stream_was_given_up() -> None:
    """What was sent of a gzip member has no checksum and length, not even once everything is garbage collected."""
    out, noise = AppendOnly(), np.random.default_rng(0).integers(0, 255, (4, 300, 300), np.uint8)
    with (
        pytest.raises(ValueError, match="4 slices were written of 7"),
        stream_volume(out, suffix=".nii.gz", shape=(7, 300, 300), dtype=np.uint8, frame=FRAME) as writer,
    ):
        writer.write(noise)
    gc.collect()
    assert len(out.content) > noise.size // 2
    with pytest.raises(EOFError):
        gzip.decompress(out.content)


@pytest.mark.parametrize("suffix", [".h5", ".ome.zarr", ".ome.zarr.zip"])
def test_other_formats_are_refused_as_streams(suffix: str) -> None:
    """By name, with those that can."""
    with (
        pytest.raises(ValueError, match=r"cannot be written as a stream; .mha, .nii"),
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
    with open_volume(path) as volume:
        np.testing.assert_array_equal(volume.read(), voxels)
    with Image.open(path) as image:
        assert image.n_frames == 5  # type: ignore[attr-defined]
        for index, plane in enumerate(voxels):
            image.seek(index)
            np.testing.assert_array_equal(np.asarray(image), plane)


@pytest.mark.parametrize(
    ("shape", "version"), [((4000, 1000, 1000), 42), ((5000, 1000, 1000), 43), ((1_000_000, 64, 64), 43)]
)
def test_a_tiff_is_big_where_four_gigabytes_might_not_do(shape: tuple[int, int, int], version: int) -> None:
    """By its voxels, and by the directories of its pages: a million of 4096 bytes leave no room for them."""
    out = AppendOnly()
    with (
        pytest.raises(ValueError, match="1 slices were written"),
        stream_volume(out, suffix=".tif", shape=shape, dtype=np.uint8, frame=FRAME) as writer,
    ):
        writer.write(np.zeros((1, *shape[1:]), np.uint8))
    assert out.content[:3] == b"II" + bytes([version])


@pytest.mark.parametrize(
    ("suffix", "plain"),
    [(".nii", True), (".nii.gz", False), (".nrrd", False), (".mha", True), (".tif", False), (".h5", False)],
)
def test_what_must_be_decoded_says_so(tmp_path: Path, suffix: str, plain: bool) -> None:
    """Voxels that lie in the file as they are, or packed, be it slice by slice."""
    with create_volume(tmp_path / f"a{suffix}", shape=(3, 4, 5), dtype=np.uint8, frame=FRAME) as writer:
        writer.write(np.zeros((3, 4, 5), np.uint8))
    with open_volume(tmp_path / f"a{suffix}", spacing=None) as volume:
        assert volume.plain is plain


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("plain.nrrd", True), ("plain.tif", True), ("packed.mha", False), ("packed.nrrd", False), ("lzw.tif", False),
        ("scan.h5", False), ("dicom.zip", False), ("slices.zip", False),
    ],
)  # fmt: skip
def test_what_others_packed_says_so_too(samples: dict[str, Path], name: str, plain: bool) -> None:
    """Containers and slices of their own count as packed, whatever is in them."""
    with open_volume(samples[name], spacing=None if name in ("scan.h5", "dicom.zip") else Spacing(1, 1, 1)) as volume:
        assert volume.plain is plain
