"""Stage prepare reads scans as facilities and programs leave them, and prints what it passed over."""

import logging
import struct
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
import tifffile

from scans.geometry import Frame
from tests.training.stages.test_prepare import grey, labels, params, put
from training.data.raw import RawDataError
from training.stages.prepare import prepare


@pytest.fixture
def raw_dir(tmp_path: Path) -> Path:
    """Two labelled scans."""
    folder = tmp_path / "raw"
    for number, name in enumerate("ab", start=1):
        put(folder / f"labelled/images/{name}.nii.gz", grey(number))
        put(folder / f"labelled/labels/{name}.nii.gz", labels(1, 2))
    (folder / "organs.yaml").write_text("1: heart\n2: liver\n")
    (folder / "spacing.yaml").write_text("{z: 2.0, y: 1.0, x: 1.0}\n")
    (folder / "unlabelled/images").mkdir(parents=True)
    return folder


def header_and_voxels(folder: Path) -> None:
    fields = "NDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementSpacing = 1 1 2\n"
    (folder / "c.d.mhd").write_text(f"ObjectType = Image\n{fields}ElementDataFile = c.d.raw\n")
    (folder / "c.d.raw").write_bytes(grey(7).tobytes())


def slices(folder: Path) -> None:
    (folder / "e").mkdir()
    for number, plane in enumerate(grey(8)):
        tifffile.imwrite(folder / "e" / f"e_{number}.tif", plane)
    (folder / "e" / "e.ctvol").write_bytes(struct.pack("<I", 2))


def synchrotron(folder: Path) -> None:
    with h5py.File(folder / "f.h5", "w") as file:
        for name in ("raw", "filtered"):
            data = file.create_dataset(f"exchange/{name}", data=grey(9), **hdf5plugin.Blosc())
            data.attrs["element_size_um"] = (2000.0, 1000.0, 1000.0)


def test_scans_as_facilities_leave_them_are_prepared(
    raw_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A header with its voxels, slices with settings, a data set that is named; what was passed over is printed."""
    images = raw_dir / "unlabelled/images"
    for save in (header_and_voxels, slices, synchrotron):
        save(images)
    (images / "scan.log").write_text("measured at night")
    (images / "Thumbs.db").write_bytes(b"x")
    (raw_dir / "datasets.yaml").write_text("unlabelled/images/f.h5: filtered\n")
    with caplog.at_level(logging.WARNING):
        catalogue = prepare(params(raw_dir, calibrated=False), tmp_path / "prepared")
    assert [volume.id for volume in catalogue.split("unlabelled")] == ["c.d", "e", "f"]
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "unlabelled/images/e: passed over, as no slice: e.ctvol" in said
    assert "scan.log is passed over" in said
    assert "Thumbs.db" not in said


def test_a_scan_of_a_tilted_gantry_is_said(raw_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its axes are not at right angles: as the server warns, so does the stage, of this scan alone."""
    tilted = np.diag([-1.0, -1.0, 2.0, 1.0])
    tilted[1, 2] = 0.5
    put(raw_dir / "unlabelled/images/tilted.nrrd", grey(5), Frame.from_affine(tilted))
    with caplog.at_level(logging.WARNING):
        prepare(params(raw_dir, calibrated=False), tmp_path / "prepared")
    said = [record.getMessage() for record in caplog.records if "right angles" in record.getMessage()]
    assert [message.partition(" degrees")[0] for message in said] == ["unlabelled/images/tilted.nrrd: the axes are 14"]


def test_a_faulty_slice_is_named_by_its_own_name(raw_dir: Path, tmp_path: Path) -> None:
    """And of an HDF5 file of several data sets, how one is named."""
    images = raw_dir / "unlabelled/images"
    slices(images)
    synchrotron(images)
    tifffile.imwrite(images / "e" / "e_2.tif", np.zeros((2, 2), np.int16))
    with pytest.raises(RawDataError) as refused:
        prepare(params(raw_dir), tmp_path / "prepared")
    first, second = refused.value.problems
    assert first.startswith("unlabelled/images/e/e_2.tif: (2, 2), the first slice (5, 6) int16")
    assert second.startswith("unlabelled/images/f.h5: 2 data sets of three axes: exchange/filtered 4 x 5 x 6 int16")
    assert "a line in datasets.yaml" in second
