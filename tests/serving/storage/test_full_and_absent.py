"""A full disk is said to be one, and removing works on it; a store that is away is no failure of the server."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.intake.test_ways_in import nifti
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process

DISK_BYTES = 48 << 20
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def server(disk: Path, tmp_path: Path, model_dir: Path) -> Iterator[RunningServer]:
    """Store, scratch folder and queue on a small disk, with two finished scans."""
    running = RunningServer(tmp_path, model_dir, store=disk / "store", slab_slices=4).start()
    yield running
    running.end()


def finished(server: RunningServer) -> str:
    scan_id: str = server.post(nifti(7), "a.nii").json()["id"]
    assert server.until_ended(scan_id)["state"] == "succeeded"
    return scan_id


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            pass
    return ballast


def unready(server: RunningServer) -> str:
    content = server.get("/health/ready").json()
    return " ".join(f"{check['name']}: {check['reason']}" for check in content["checks"] if not check["ok"])


def test_a_full_disk_is_said_to_be_one_and_scans_can_be_removed(server: RunningServer, disk: Path) -> None:
    """Not a byte left: 507 by every way in, readiness says why, results are still there, and DELETE makes room."""
    kept, removed = finished(server), finished(server)
    upload = server.http.post(f"{server.url}/v1/uploads", headers={**TUS, "Upload-Length": "1000"}).headers["location"]
    ballast = fill(disk)
    server.until(lambda: "No space left on device" in unready(server))
    posted = server.post(nifti(8), "b.nii")
    assert (posted.status_code, posted.json()["type"]) == (507, "urn:ricefish:problem:disk-full"), posted.text
    form = server.http.post(f"{server.url}/v1/scans", files={"scan": ("c.nii", nifti(9))})
    part = server.http.patch(server.url + upload, content=bytes(1000), headers={**PART, "Upload-Offset": "0"})
    begun = server.http.post(f"{server.url}/v1/uploads", headers={**TUS, "Upload-Length": "1000"})
    tried = server.http.post(f"{server.url}/v1/scans/{kept}/cancel")
    assert [answer.status_code for answer in (form, part, begun)] == [507, 507, 507]
    assert tried.status_code in (409, 507)
    assert server.get(f"/v1/scans/{kept}/segmentation").status_code == 200
    assert server.delete(f"/v1/scans/{removed}").status_code == 204
    assert server.http.delete(server.url + upload, headers=TUS).status_code == 204
    assert server.get(f"/v1/scans/{removed}").status_code == 404
    ballast.unlink()
    server.until(lambda: unready(server) == "", seconds=60)
    assert server.post(nifti(8), "b.nii").status_code == 202


@pytest.mark.parametrize("way", ["tus", "body"])
def test_what_does_not_say_how_long_it_is_leaves_the_reserve_alone(server: RunningServer, disk: Path, way: str) -> None:
    """An upload of deferred length and a chunked body end where the rest of the disk is for what was accepted."""
    spare = DISK_BYTES // 20

    def pieces() -> Iterator[bytes]:
        for _ in range(DISK_BYTES >> 16):
            yield bytes(1 << 16)

    if way == "body":
        answer = server.http.post(f"{server.url}/v1/scans?filename=a.nii", content=pieces())
    else:
        begun = server.http.post(f"{server.url}/v1/uploads", headers={**TUS, "Upload-Defer-Length": "1"})
        where = server.url + begun.headers["location"]
        answer = server.http.patch(where, content=pieces(), headers={**PART, "Upload-Offset": "0"})
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:ricefish:problem:disk-full"), answer.text
    if way == "tus":
        with contextlib.closing(httpx.Client()) as http:
            arrived = int(http.head(where, headers=TUS).headers["upload-offset"])
        assert arrived > DISK_BYTES // 2
        free = int(subprocess.check_output(["stat", "-f", "-c", "%a", str(disk)])) * 4096
        assert spare * 0.9 < free < spare * 2


def asks(server: RunningServer, scan: str) -> dict[str, Callable[[], httpx.Response]]:
    """Every call that touches the store."""
    here = f"/v1/scans/{scan}"
    tus = {**TUS, "Upload-Length": "1000"}
    return {
        **{f"as {kind}": lambda kind=kind: server.get(f"{here}/segmentation?format={kind}") for kind in FORMATS},
        "picture": lambda: server.get(f"{here}/slices/z/1.png"),
        "across": lambda: server.get(f"{here}/slices/x/1.png"),
        "organs": lambda: server.get(f"{here}/organs"),
        "post": lambda: server.post(nifti(11), "d.nii"),
        "form": lambda: server.http.post(f"{server.url}/v1/scans", files={"scan": ("c.nii", nifti(9))}),
        "upload": lambda: server.http.post(f"{server.url}/v1/uploads", headers=tus),
        "part": lambda: server.http.patch(
            f"{server.url}/v1/uploads/{'0' * 32}", headers={**PART, "Upload-Offset": "0"}
        ),
        "models": lambda: server.get("/v1/models"),
        "delete": lambda: server.delete(here),
    }


FORMATS = ("nii.gz", "nrrd", "tif", "ome-zarr")


@pytest.mark.parametrize("fault", ["read-only", "gone", "forbidden"])
def test_a_store_that_is_away_is_no_failure_of_the_server(server: RunningServer, fault: str) -> None:
    """Its disk read-only, its folders elsewhere, or a file in their place: 503 or 507 or what is still true."""
    scan = finished(server)
    scans = server.store / "scans"
    if fault == "read-only":
        subprocess.run(["mount", "--bind", str(scans), str(scans)], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(scans)], check=True)
    else:
        scans.rename(server.store / "elsewhere")
        if fault == "forbidden":
            scans.write_bytes(b"")
    server.until(lambda: "store" in unready(server))
    for name, ask in asks(server, scan).items():
        answer = ask()
        failed = answer.status_code >= 500
        assert not failed or answer.status_code in (503, 507), (name, answer.status_code, answer.text[:300])
        if failed:
            assert answer.json()["status"] == answer.status_code
    assert "internal_error" not in server.log
    if fault == "read-only":
        subprocess.run(["umount", str(scans)], check=True)
