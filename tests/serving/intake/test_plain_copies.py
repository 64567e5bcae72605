"""Only a reader unpacks what strangers packed: what the server keeps, and reads again, is plain voxels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

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


PACKED: dict[str, Callable[[Path], Path]] = {
    "Zarr": _written(".ome.zarr.zip"),
    "HDF5": _written(".h5"),
    "NIfTI": _written(".nii.gz"),
    "TIFF": lambda folder: _tiff(folder, compression="zlib"),
    "DICOM": _dicom,
    "pictures": _pictures,
    "a folder": _tiff_slices,
}
UNSPACED = ("TIFF", "pictures", "a folder")
PLAIN: dict[str, Callable[[Path], Path]] = {"NIfTI": _written(".nii"), "MetaImage": _written(".mha"), "TIFF": _tiff}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("instrument")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plain")


@pytest.fixture(scope="module")
def app(folder: Path, root: Path, model_dir: Path) -> Iterator[App]:
    with running_app(folder, model_dir, readers=0, source_roots=(root,)) as running:
        yield running


def _kept(app: App, folder: Path, path: Path) -> Path:
    """What the store has of a scan when it has been segmented, and shown."""
    spacing = b'"1,1,1"' if path.parent.name.split(maxsplit=1)[1] in UNSPACED else b"null"
    body = b'{"source": {"uri": "%b"}, "fresh": true, "spacing": %b}' % (path.as_uri().encode(), spacing)
    posted = app.ask("POST", b"/v1/scans", headers=[(b"content-type", b"application/json")], body=body)
    assert posted.status == 202, posted.body
    place, until = f"/v1/scans/{posted.json()['id']}", time.monotonic() + 60
    while (scan := app.ask("GET", place.encode()).json())["state"] in ("queued", "running"):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert scan["state"] == "succeeded"
    assert app.ask("GET", f"{place}/slices/z/2.png".encode()).status == 200
    return folder / "store" / "scans" / scan["id"]


@pytest.mark.parametrize("name", PACKED)
def test_packed_voxels_are_kept_plain(name: str, app: App, folder: Path, root: Path) -> None:
    """Beside them nothing is kept of what was sent, be it a file or a folder; the scan is segmented, and shown."""
    (root / f"packed {name}").mkdir()
    path = PACKED[name](root / f"packed {name}")
    kept = _kept(app, folder, path)
    assert not list((kept / "source").rglob("*"))
    assert (kept / "voxels.nii").stat().st_size < GREY.nbytes + 1000
    with open_volume(kept / "voxels.nii") as volume:
        assert volume.spacing == (Spacing(1.0, 0.5, 0.25) if name == "DICOM" else MM)
        np.testing.assert_array_equal(volume.read(), GREY)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_voxels_stay_as_they_came(name: str, app: App, folder: Path, root: Path) -> None:
    """To the last byte."""
    (root / f"plain {name}").mkdir()
    path = PLAIN[name](root / f"plain {name}")
    kept = _kept(app, folder, path)
    assert [file.read_bytes() for file in (kept / "source").iterdir()] == [path.read_bytes()]
    assert not (kept / "voxels.nii").exists()
