"""A scan becomes OME-Zarr when it comes: only a reader unpacks what strangers packed, and it is never read again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from scans.formats import create_volume, open_volume
from scans.geometry import Frame, Spacing
from tests.scans.formats.conftest import write_dicom_series, zip_folder
from tests.serving.in_process import App, running_app

GREY = np.random.default_rng(3).integers(0, 900, (6, 20, 10)).astype(np.int16)
MM = Spacing(1.0, 1.0, 1.0)


def _written(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"fish{suffix}"
        with create_volume(path, shape=(6, 20, 10), dtype=GREY.dtype, frame=Frame.from_lps(MM)) as writer:
            writer.write(GREY)
        return path

    return write


def _tiff(folder: Path, **options: str) -> Path:
    tifffile.imwrite(folder / "fish.tif", GREY, photometric="minisblack", **options)
    return folder / "fish.tif"


def _tiff_slices(folder: Path) -> Path:
    (folder / "fish").mkdir()
    for number, plane in enumerate(GREY):
        tifffile.imwrite(folder / "fish" / f"fish_{number}.tif", plane)
    return folder / "fish"


def _pictures(folder: Path) -> Path:
    (folder / "fish").mkdir()
    for number, plane in enumerate(GREY):
        (folder / "fish" / f"fish_{number}.png").write_bytes(imagecodecs.png_encode(plane.astype(np.uint16)))
    return zip_folder(folder / "fish", folder / "fish.zip")


def _dicom(folder: Path) -> Path:
    return zip_folder(write_dicom_series(folder / "fish", GREY, step=1.0), folder / "fish.zip")


FILES: dict[str, Callable[[Path], Path]] = {
    "Zarr": _written(".ome.zarr.zip"),
    "HDF5": _written(".h5"),
    "NIfTI": _written(".nii.gz"),
    "TIFF": lambda folder: _tiff(folder, compression="zlib"),
    "DICOM": _dicom,
    "pictures": _pictures,
    "a folder": _tiff_slices,
    "plain NIfTI": _written(".nii"),
    "plain MetaImage": _written(".mha"),
    "plain TIFF": _tiff,
}
UNSPACED = ("TIFF", "pictures", "a folder", "plain TIFF")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("instrument")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door")


@pytest.fixture(scope="module")
def app(folder: Path, root: Path, model_dir: Path) -> Iterator[App]:
    with running_app(folder, model_dir, readers=0, source_roots=(root,)) as running:
        yield running


def _segmented(app: App, folder: Path, name: str) -> str:
    """Address of the scan of a file of that kind in a new folder, once it is segmented and shown along every axis."""
    folder.mkdir()
    path = FILES[name](folder)
    spacing = b'"1,1,1"' if name in UNSPACED else b"null"
    body = b'{"source": {"uri": "%b"}, "fresh": true, "spacing": %b}' % (path.as_uri().encode(), spacing)
    posted = app.ask("POST", b"/v1/scans", headers=[(b"content-type", b"application/json")], body=body)
    assert posted.status == 202, posted.body
    place, until = f"/v1/scans/{posted.json()['id']}", time.monotonic() + 60
    while (scan := app.ask("GET", place.encode()).json())["state"] in ("queued", "running"):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert scan["state"] == "succeeded"
    for axis in "zyx":
        assert app.ask("GET", f"{place}/slices/{axis}/2.png".encode()).status == 200
    return place


def _kept(folder: Path, place: str) -> Path:
    return folder / "store" / "scans" / place.rpartition("/")[2]


@pytest.mark.parametrize("name", FILES)
def test_voxels_are_kept_as_ome_zarr(name: str, app: App, folder: Path, root: Path) -> None:
    """Whatever was sent, and nothing else of it; the grey values and the spacing are the file's."""
    kept = _kept(folder, _segmented(app, root / name, name))
    assert not list((kept / "source").rglob("*"))
    with open_volume(kept / "image.ome.zarr") as volume:
        assert volume.spacing == (Spacing(1.0, 0.5, 0.25) if name == "DICOM" else MM)
        np.testing.assert_array_equal(volume.read(), GREY)


def test_another_reader_opens_what_is_kept(app: App, folder: Path, root: Path) -> None:
    """ome-zarr-py finds the image, its axes and the window in which it is shown."""
    kept = _kept(folder, _segmented(app, root / "for another reader", "HDF5"))
    (node,) = Reader(parse_url(kept / "image.ome.zarr"))()
    np.testing.assert_array_equal(np.asarray(node.data[0]), GREY)
    assert [axis["name"] for axis in node.metadata["axes"]] == ["z", "y", "x"]
    lower, upper = node.metadata["contrast_limits"][0]
    assert GREY.min() <= lower < upper <= GREY.max()


def test_what_was_sent_is_kept_where_it_is_wanted(tmp_path: Path, model_dir: Path) -> None:
    """To the last byte, until the scan is removed."""
    with running_app(tmp_path, model_dir, readers=0, source_roots=(tmp_path,), keep_uploads=True) as app:
        place = _segmented(app, tmp_path / "sent", "NIfTI")
        kept = _kept(tmp_path, place)
        assert [file.read_bytes() for file in (kept / "source").iterdir()] == [
            (tmp_path / "sent" / "fish.nii.gz").read_bytes()
        ]
        assert app.ask("DELETE", place.encode()).status == 204
        assert not kept.exists()
