"""`ricefish segment` against a real server: file in, segmentation and table out."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
import tifffile

from harness.offline import run_offline
from ricefish.client.client import Client, RicefishError
from ricefish.client.upload_body import pieces
from scans.formats import DOWNLOADS, download_format, open_volume
from scans.intensity import IntensityRule
from tests.serving.models import write_model
from tests.serving.running import RunningServer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: Path, processes: None) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("server"), model)
    yield running.start()
    running.end()


def _ricefish(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ricefish", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_real_scan_comes_back_as_the_model_gives_it_offline(
    server: RunningServer, model: Path, real_data: Path, tmp_path: Path
) -> None:
    """A patient's CT: same affine, exactly ONNX Runtime's voxels, a table of organs on stdout; on stderr, a pipe, no
    bar, but a warning: the model has only seen voxels of 0.01 mm.
    """
    source = sorted((real_data / "headneck_ct" / "labelled" / "images").glob("*.nii.gz"))[0]
    out = tmp_path / "organs.nii.gz"
    ended = _ricefish("segment", str(source), "-o", str(out), "--server", server.url)
    assert ended.returncode == 0, ended.stderr
    scan, *said = ended.stderr.splitlines()
    assert re.fullmatch("scan [0-9a-f]{32}", scan)
    assert [line.partition(" (")[0] for line in said] == [
        "warning: the model has seen no volume with such a spacing along z and y and x"
    ]
    assert "heart" in ended.stdout
    assert "eye" in ended.stdout
    with open_volume(source) as volume:
        expected = run_offline(model, volume.read(), IntensityRule(0.0, 100.0).window(volume))
    image = nib.load(out)
    np.testing.assert_array_equal(image.affine, nib.load(source).affine)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, expected)


def test_a_tilted_scan_gets_a_warning_and_a_nifti_that_itk_opens(server: RunningServer, tmp_path: Path) -> None:
    """The warning names the format that keeps the shear; NRRD, as ITK reads it, lies where the scan lies."""
    tilted = np.diag([-0.01, -0.01, 0.01, 1.0])
    tilted[1, 2] = 0.003
    scan = np.random.default_rng(3).integers(0, 1000, (16, 16, 6)).astype(np.int16)
    nib.save(nib.Nifti1Image(scan, tilted), tmp_path / "tilted.nii")
    for out in ("out.nii.gz", "out.seg.nrrd"):
        ended = _ricefish("segment", str(tmp_path / "tilted.nii"), "-o", str(tmp_path / out), "--server", server.url)
        assert ended.returncode == 0, ended.stderr
        assert (
            "warning: the axes are 17 degrees off right angles, as of a tilted gantry: nrrd keeps that" in ended.stderr
        )
    assert "ITK-SnAP Label Description File" in (tmp_path / "out_labels.txt").read_text()
    np.testing.assert_allclose(nib.load(tmp_path / "out.nii.gz").affine, tilted, rtol=1e-6)
    axes = np.reshape(sitk.ReadImage(str(tmp_path / "out.nii.gz")).GetDirection(), (3, 3))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    sheared = sitk.ReadImage(str(tmp_path / "out.seg.nrrd"))
    np.testing.assert_allclose(
        np.reshape(sheared.GetDirection(), (3, 3)) * sheared.GetSpacing(),
        np.diag([-1, -1, 1]) @ tilted[:3, :3],
        atol=1e-8,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.nii", "-o", "out.nii.gz"], "missing.nii does not exist"),
        (["letter.nii", "-o", "out.nii.gz"], "letter.nii: an unknown format"),
        (["letter.nii", "-o", "out.docx"], "out.docx: a segmentation is fetched as one of"),
        (["letter.nii", "-o", "out.nii.gz", "--spacing", "1,1"], "--spacing is '1,1'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_status(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """Exit status 1, the server's own reason on one line of stderr, no output file."""
    monkeypatch.chdir(tmp_path)
    Path("letter.nii").write_text("Dear Sir or Madam, " * 50)
    ended = _ricefish("segment", *arguments, "--server", server.url)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letter.nii"]


@pytest.mark.process
def test_help_and_version_need_neither_server_nor_models() -> None:
    """`--version` prints it; importing the command loads no heavy library."""
    heavy = {"torch", "onnxruntime", "mlflow", "fastapi", "sqlalchemy", "numpy", "httpx"}
    program = f"import sys, ricefish.cli.app; print(sorted({heavy!r} & set(sys.modules)))"
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert imported.stdout.strip() == "[]", imported.stderr
    assert _ricefish("--version").stdout.strip() == "0.1.0"


def test_an_unreachable_server_is_an_error_after_some_patience() -> None:
    """The message holds the address that was tried."""
    with Client("http://127.0.0.1:9", patience_seconds=0.1) as client:
        with pytest.raises(RicefishError, match=r"no answer from http://127\.0\.0\.1:9"):
            client.status("0" * 32)
        with pytest.raises(RicefishError, match="no answer"):
            list(client.wait("0" * 32, poll_seconds=0.05))


def test_a_folder_is_sent_as_a_zip(tmp_path: Path) -> None:
    """What goes over the wire is an archive of the folder's files, byte for byte."""
    folder = tmp_path / "series"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.dcm").write_bytes(b"first" * 1000)
    (folder / "deep" / "b.dcm").write_bytes(b"second")
    archive = tmp_path / "sent.zip"
    archive.write_bytes(b"".join(pieces(folder)))
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == {
            "series/a.dcm": b"first" * 1000,
            "series/deep/b.dcm": b"second",
        }


def test_the_client_knows_every_format_of_the_server() -> None:
    """Each suffix that the server writes stands for the format that the server calls so."""
    asked = {
        suffix: download_format(Path(f"organs{suffix}")).name for one in DOWNLOADS.values() for suffix in one.suffixes
    }
    assert asked == {
        **{".nii.gz": "nii.gz", ".nrrd": "nrrd", ".seg.nrrd": "nrrd", ".tif": "tif", ".tiff": "tif"},
        **{".ome.zarr": "ome-zarr", ".ome.zarr.zip": "ome-zarr", ".dcm": "dicom-seg"},
    }


def test_a_folder_and_an_answer_in_another_alphabet(server: RunningServer, tmp_path: Path) -> None:
    """A folder whose files a disk holds in Latin-1 is sent; a terminal in ASCII shows what it can."""
    folder = tmp_path / "Größe"
    folder.mkdir()
    for number in range(3):
        name = os.fsdecode(b"\xf6_%d.tif" % number)
        (folder / name).write_bytes(_tiff(np.full((20, 10), number * 100, np.uint8)))
    out = tmp_path / "organs.nii.gz"
    command = [sys.executable, "-m", "ricefish", "segment", str(folder), "-o", str(out), "--server", server.url]
    ended = subprocess.run(
        [*command, "--spacing", "1,1,1"],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert ended.returncode == 0, ended.stderr
    assert b"volume mm\\xb3" in ended.stdout
    scan = server.get("/v1/scans").json()["scans"][0]
    assert (scan["filename"], scan["shape"]) == ("Größe.zip", [3, 20, 10])


def _tiff(plane: np.ndarray) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, plane)
    return file.getvalue()


def test_a_header_is_sent_with_its_voxels(server: RunningServer, tmp_path: Path) -> None:
    """`ricefish segment fish.mhd` sends the file that the header names, too, and nothing else."""
    grey = np.random.default_rng(4).integers(0, 999, (5, 20, 10)).astype(np.int16)
    fields = "NDims = 3\nDimSize = 10 20 5\nElementType = MET_SHORT\nElementSpacing = 0.1 0.1 0.3\n"
    (tmp_path / "fish.mhd").write_text(f"ObjectType = Image\n{fields}ElementDataFile = voxels.bin\n")
    (tmp_path / "voxels.bin").write_bytes(grey.tobytes())
    (tmp_path / "other.raw").write_bytes(bytes(1000))
    out = tmp_path / "organs.nii.gz"
    ended = _ricefish("segment", str(tmp_path / "fish.mhd"), "-o", str(out), "--server", server.url)
    assert ended.returncode == 0, ended.stderr
    scan = server.get("/v1/scans").json()["scans"][0]
    assert (scan["filename"], scan["shape"], scan["notes"]) == ("fish.mhd.zip", [5, 20, 10], [])


def test_an_ome_zarr_holds_the_scan_too_where_that_is_asked_for(server: RunningServer, tmp_path: Path) -> None:
    """`--with-scan`, of a stack whose slices were saved as frames; other formats have no room for both."""
    grey = np.random.default_rng(6).integers(0, 999, (5, 20, 10)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "fish.tif", grey, imagej=True, metadata={"axes": "TYX"})
    said = [str(tmp_path / "fish.tif"), "--dataset", "frames", "--spacing", "0.01,0.01,0.01", "--server", server.url]
    ended = _ricefish("segment", *said, "--with-scan", "-o", str(tmp_path / "organs.nii.gz"))
    assert (ended.returncode, "fetched as one of .ome.zarr, .ome.zarr.zip" in ended.stderr) == (1, True)
    ended = _ricefish("segment", *said, "--with-scan", "-o", str(tmp_path / "fish.ome.zarr"))
    assert ended.returncode == 0, ended.stderr
    with open_volume(tmp_path / "fish.ome.zarr") as volume:
        np.testing.assert_array_equal(volume.read(), grey)
    assert (tmp_path / "fish.ome.zarr/labels/segmentation/zarr.json").is_file()
