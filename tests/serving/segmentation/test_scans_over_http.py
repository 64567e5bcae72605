"""A scan from its post to its segmentation, over HTTP, on a real server."""

from __future__ import annotations

import csv
import io
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from harness.offline import run_offline
from scans.geometry import Spacing
from scans.intensity import IntensityRule
from scans.volume import Volume
from tests.serving.conftest import AFFINE, Example
from tests.serving.running import RunningServer


@pytest.fixture(scope="module")
def finished(server: RunningServer, example: Example) -> dict[str, object]:
    """The example's scan, segmented."""
    answer = server.post(example.path, "fish_7.nii.gz")
    assert answer.status_code == 202, answer.text
    return server.until_ended(answer.json()["id"])


def test_a_posted_scan_is_accepted_with_its_address(server: RunningServer, example: Example) -> None:
    """202, a Location, links, and all that was found out about the file."""
    answer = server.post(example.path, "fish_7.nii.gz")
    scan = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/scans/{scan['id']}" == scan["links"]["self"]
    assert scan["filename"] == "fish_7.nii.gz"
    assert scan["shape"] == [11, 24, 17]
    assert scan["dtype"] == "int16"
    assert scan["spacing_mm"] == pytest.approx([1.5, np.hypot(0.1, 0.75), 0.5])
    assert scan["model"]["name"] == "thresholds"
    assert scan["slices_total"] == 11


def test_a_finished_scan_says_so(finished: dict[str, object]) -> None:
    """State, every slice, a rate, no error, and when it ended."""
    assert finished["state"] == "succeeded"
    assert finished["slices_done"] == 11
    assert finished["error"] is None
    assert finished["eta_seconds"] is None
    assert isinstance(finished["slices_per_second"], float)
    assert finished["finished"] is not None


def test_voxels_are_those_of_the_model_offline(
    server: RunningServer, finished: dict[str, object], example: Example, model_dir: Path, tmp_path: Path
) -> None:
    """The NIfTI that comes back has the affine of the one sent and exactly ONNX Runtime's answer."""
    answer = server.get(f"/v1/scans/{finished['id']}/segmentation?format=nii.gz")
    assert answer.headers["content-type"] == "application/gzip"
    assert 'filename="fish_7_segmentation.nii.gz"' in answer.headers["content-disposition"]
    (tmp_path / "out.nii.gz").write_bytes(answer.content)
    image = nib.load(tmp_path / "out.nii.gz")
    window = IntensityRule(0.0, 100.0).window(Volume.from_array(example.grey, Spacing(1, 1, 1)))
    expected = run_offline(model_dir, example.grey.astype(np.float32), window)
    np.testing.assert_array_equal(image.affine, AFFINE.astype(np.float64))
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, expected)
    assert set(np.unique(expected)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("name", "start"),
    [("nrrd", b"NRRD"), ("tif", (b"II", b"MM")), ("ome-zarr", b"PK\x03\x04")],
)
def test_other_formats_can_be_fetched(
    server: RunningServer, finished: dict[str, object], name: str, start: bytes | tuple[bytes, ...]
) -> None:
    """Each format of the answer begins with its own signature."""
    answer = server.get(f"/v1/scans/{finished['id']}/segmentation?format={name}")
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(start)


def test_an_unknown_download_format_is_refused(server: RunningServer, finished: dict[str, object]) -> None:
    """400, and the message lists what there is."""
    answer = server.get(f"/v1/scans/{finished['id']}/segmentation?format=docx")
    assert answer.status_code == 400
    assert "nii.gz, tif, nrrd, ome-zarr" in answer.json()["detail"]


def test_organs_are_counted(server: RunningServer, finished: dict[str, object], tmp_path: Path) -> None:
    """Voxels, volume and box in JSON are those of the segmentation that is fetched."""
    (tmp_path / "out.nii.gz").write_bytes(server.get(f"/v1/scans/{finished['id']}/segmentation").content)
    voxels = np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj).T
    heart, eye = server.get(f"/v1/scans/{finished['id']}/organs").json()["organs"]
    assert (heart["name"], heart["voxels"]) == ("heart", int((voxels == 1).sum()))
    assert (eye["name"], eye["voxels"]) == ("eye", int((voxels == 2).sum()))
    assert heart["volume_mm3"] == pytest.approx(heart["voxels"] * 1.5 * np.hypot(0.1, 0.75) * 0.5, rel=0.02)
    assert heart["box"] == {"start": [0, 0, 0], "stop": [11, 24, 17]}
    assert heart["touches_border"] is True


def test_organs_come_as_csv_on_request(server: RunningServer, finished: dict[str, object]) -> None:
    """One line per organ, with the same numbers as in JSON."""
    answer = server.get(f"/v1/scans/{finished['id']}/organs?format=csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    organs = server.get(f"/v1/scans/{finished['id']}/organs").json()["organs"]
    assert answer.headers["content-type"].startswith("text/csv")
    assert [row["name"] for row in rows] == ["heart", "eye"]
    assert [int(row["voxels"]) for row in rows] == [organ["voxels"] for organ in organs]
    assert float(rows[0]["centroid_y"]) == pytest.approx(organs[0]["centroid_voxels"][1])


@pytest.mark.parametrize(("axis", "size"), [("z", (17, 36)), ("y", (17, 33)), ("x", (24, 22))])
def test_slices_are_pictures(
    server: RunningServer, finished: dict[str, object], example: Example, axis: str, size: tuple[int, int]
) -> None:
    """A PNG as wide and high as the slice is in mm; without overlay it is the grey value through the window."""
    answer = server.get(f"/v1/scans/{finished['id']}/slices/{axis}/2.png?opacity=0")
    picture = Image.open(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == "image/png"
    assert picture.size == size
    grey = example.grey.take(2, axis="zyx".index(axis)).astype(np.float64)
    rows, columns = (
        (2 * np.arange(pixels) + 1) * voxels // (2 * pixels)
        for pixels, voxels in zip(size[::-1], grey.shape, strict=True)
    )
    grey = grey[rows][:, columns]
    low, high = float(example.grey.min()), float(example.grey.max())
    np.testing.assert_allclose(np.asarray(picture)[..., 0], (grey - low) / (high - low) * 255, atol=1)


def test_a_picture_has_bar_and_legend_where_they_are_wished(server: RunningServer, finished: dict[str, object]) -> None:
    """The slice stays where it is; a wish that is neither yes nor no is refused by name."""
    here = f"/v1/scans/{finished['id']}/slices/y/2.png"
    plain, wished = (
        np.asarray(Image.open(io.BytesIO(server.get(here + query).content)))
        for query in ("", "?scale_bar=yes&legend=true")
    )
    assert wished.shape[0] > plain.shape[0]
    assert wished.shape[1] > plain.shape[1]
    np.testing.assert_array_equal(wished[: plain.shape[0], : plain.shape[1]], plain)
    answer = server.get(f"{here}?legend=big")
    assert (answer.status_code, answer.json()["field"]) == (400, "legend")


def test_a_slab_without_organs_is_a_slab_like_any_other(server: RunningServer, tmp_path: Path) -> None:
    """A scan that is dark but for its last slice succeeds, and only that slice holds an organ."""
    grey = np.zeros((9, 6, 5), dtype=np.uint8)
    grey[8, 2:4, 1:4] = 200
    nib.save(nib.Nifti1Image(grey.T, np.eye(4)), tmp_path / "dark.nii.gz")
    scan_id = server.post(tmp_path / "dark.nii.gz", "dark.nii.gz").json()["id"]
    assert server.until_ended(scan_id)["state"] == "succeeded"
    heart, eye = server.get(f"/v1/scans/{scan_id}/organs").json()["organs"]
    assert (heart["voxels"], heart["box"], heart["centroid_mm"]) == (0, None, None)
    assert (eye["voxels"], eye["box"]) == (6, {"start": [8, 2, 1], "stop": [9, 4, 4]})


def test_a_slice_beyond_the_scan_is_not_there(server: RunningServer, finished: dict[str, object]) -> None:
    """404, and the message says which slices there are."""
    answer = server.get(f"/v1/scans/{finished['id']}/slices/z/11.png")
    assert answer.status_code == 404
    assert "z=0 to z=10" in answer.json()["detail"]


def test_a_removed_scan_is_gone(server: RunningServer, example: Example) -> None:
    """After DELETE: 404, and neither folder nor entry in the list."""
    scan_id = server.post(example.path, "gone.nii.gz").json()["id"]
    server.until_ended(scan_id)
    assert server.delete(f"/v1/scans/{scan_id}").status_code == 204
    answer = server.get(f"/v1/scans/{scan_id}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:ricefish:problem:no-such-scan"
    assert scan_id not in [scan["id"] for scan in server.get("/v1/scans").json()["scans"]]
    assert not (server.store / "scans" / scan_id).exists()


def test_the_same_key_and_file_is_the_same_scan(server: RunningServer, example: Example) -> None:
    """A repeated post with its Idempotency-Key does nothing new; another file or spacing under that key is refused."""
    first = server.post(example.path, "fish.nii.gz", key="abc")
    second = server.post(example.path, "fish.nii.gz", key="abc")
    other = server.post(example.path.read_bytes()[:-1] + b"!", "fish.nii.gz", key="another")
    clash = server.post(_renumbered(example), "fish.nii.gz", key="abc")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert other.status_code == 422
    assert clash.status_code == 409
    assert clash.json()["type"] == "urn:ricefish:problem:key-reused"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("../../etc/passwd", "passwd"), ("C:\\scans\\fish 7.nii", "fish 7.nii"), ("größe.nii.gz", "größe.nii.gz")],
)
def test_a_filename_never_leads_out_of_the_store(server: RunningServer, example: Example, sent: str, kept: str) -> None:
    """Folders in the filename are dropped; the rest is kept as it is. Nothing of that name is anywhere afterwards."""
    scan = server.post(bytes(nib.Nifti1Image(example.grey.T, AFFINE).to_bytes()), sent).json()
    assert scan["filename"] == kept
    assert not list(server.store.parent.rglob(f"*{kept}"))


def test_an_upload_cut_off_leaves_nothing(server: RunningServer, example: Example) -> None:
    """A sender that hangs up in the middle of the body leaves no scan and no file."""
    before = {folder.name for folder in (server.store / "scans").iterdir()}
    with _half_a_post(server, example.path.read_bytes()):
        server.until(lambda: any(server.incoming.iterdir()))
    server.until(lambda: not any(server.incoming.iterdir()))
    assert {folder.name for folder in (server.store / "scans").iterdir()} == before


def test_an_upload_that_falls_silent_is_dropped(server: RunningServer, example: Example) -> None:
    """A sender that sends nothing for the time allowed gets 408, and nothing of it stays."""
    with _half_a_post(server, example.path.read_bytes()) as connection:
        answer = connection.recv(1000)
    assert b" 408 " in answer
    server.until(lambda: not any(server.incoming.iterdir()))


def test_the_server_describes_itself(server: RunningServer) -> None:
    """Health, model and the OpenAPI document."""
    assert server.get("/health/live").json()["status"] == "live"
    assert server.get("/health/ready").json()["status"] == "ready"
    model = server.get("/v1/model").json()
    assert [organ["name"] for organ in model["organs"]] == ["heart", "eye"]
    assert model["provider"] == "CPUExecutionProvider"
    assert model["metrics"] == {"mean_dice": 0.5}
    assert "/v1/scans/{scan_id}/organs" in server.get("/openapi.json").json()["paths"]
    assert server.get("/docs").status_code == 200


def _renumbered(example: Example) -> bytes:
    image = nib.Nifti1Image(example.grey.T + 1, AFFINE)
    return bytes(image.to_bytes())


def _half_a_post(server: RunningServer, body: bytes) -> socket.socket:
    place = urlsplit(server.url)
    connection = socket.create_connection((place.hostname, place.port), timeout=30)
    head = (
        f"POST /v1/scans?filename=half.nii.gz HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body[: len(body) // 2])
    time.sleep(0.1)
    return connection


def test_the_interface_page_loads_nothing_from_elsewhere(server: RunningServer) -> None:
    """`/docs` works on a machine without a way out: every script and style it names is the server's own."""
    page = server.get("/docs").text
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert any(path.endswith(".js") for path in named)
    for path in named:
        assert path.startswith("/")
        assert server.get(path).status_code == 200
