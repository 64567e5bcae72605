"""Files of a store are flipped, cut and removed: what is handed out is right, or nothing is; a result is made again."""

from __future__ import annotations

import json
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from harness import forked
from tests.serving.intake.test_ways_in import nifti
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process

ASKED = ("segmentation", "segmentation?format=ome-zarr", "segmentation?format=nrrd", "slices/z/5.png", "slices/x/3.png")
OF_THE_RESULT = ASKED[:3]
SENT = (160, 300, 300)
"""Of a scan whose results are larger than what a connection holds."""


def flip(file: Path) -> None:
    """One bit, anywhere."""
    content = bytearray(file.read_bytes())
    place = random.Random(file.name).randrange(8 * len(content))  # noqa: S311 - a place, not a secret
    content[place // 8] ^= 1 << place % 8
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


DAMAGES: dict[str, Callable[[Path], None]] = {"flipped": flip, "emptied": empty, "removed": Path.unlink}


@dataclass
class Stored:
    """A finished scan, its folder in the store, and what it answered when all was whole."""

    server: RunningServer
    scan_id: str
    folder: Path
    answers: dict[str, bytes]

    def ask(self, path: str) -> tuple[int, bytes]:
        answer = self.server.get(f"/v1/scans/{self.scan_id}/{path}")
        return answer.status_code, answer.content

    def state(self) -> dict[str, object]:
        scan: dict[str, object] = self.server.get(f"/v1/scans/{self.scan_id}").json()
        return scan

    def until_whole(self) -> None:
        assert self.server.until_ended(self.scan_id)["state"] == "succeeded"
        for path in ASKED:
            assert self.ask(path) == (200, self.answers[path])


IMAGE_FILES = ("image.ome.zarr/0/c/0/0/0", "image.ome.zarr/0/zarr.json", "image.ome.zarr/zarr.json")
"""Voxels that the pictures show, and what says how they are stored."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Stored]:
    """Both pyramids have levels."""
    server = RunningServer(tmp_path_factory.mktemp("server"), model_dir, slab_slices=8, attempts=1).start()
    try:
        scan_id = server.post(nifti(4, (20, 150, 16)), "fish.nii").json()["id"]
        assert server.until_ended(scan_id)["state"] == "succeeded"
        stored = Stored(server, scan_id, server.store / "scans" / scan_id, {})
        stored.answers = {path: stored.ask(path)[1] for path in ASKED}
        yield stored
    finally:
        server.end()


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_of_a_result_is_missed_and_made_again(stored: Stored, damage: str) -> None:
    """503 before the first byte, with the reason; then the result is made again, byte for byte."""
    files = sorted(file for file in (stored.folder / "segmentation.ome.zarr").rglob("*") if file.is_file())
    assert len(files) == 3 + 3 + 1  # metadata of two levels and the whole; three slabs, in level 1 one shard
    for number, file in enumerate(files):
        whole = file.read_bytes()
        DAMAGES[damage](file)
        status, content = stored.ask(OF_THE_RESULT[number % len(OF_THE_RESULT)])
        assert status == 503, (file, content[:200])
        assert b"result-damaged" in content
        stored.until_whole()
        assert file.read_bytes() == whole


@pytest.mark.parametrize("name", IMAGE_FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_scan_shows_no_picture_and_is_not_segmented_again(stored: Stored, damage: str, name: str) -> None:
    """What was segmented of it before is handed out; pictures are not, nor is it segmented from other voxels."""
    volume = stored.folder / name
    whole = volume.read_bytes()
    DAMAGES[damage](volume)
    for path in OF_THE_RESULT:
        assert stored.ask(path) == (200, stored.answers[path])
    for path in ("slices/z/5.png", "slices/x/3.png"):
        status, content = stored.ask(path)
        assert (status, b"scan-damaged" in content) == (503, True)
    (stored.folder / "segmentation.ome.zarr" / "0" / "c" / "0" / "0" / "0").unlink()
    assert stored.ask("segmentation")[0] == 503
    ended = stored.server.until_ended(stored.scan_id)
    assert ended["state"] == "failed"
    assert "are damaged" in str(ended["error"])
    assert stored.ask("segmentation")[0] == 409
    volume.write_bytes(whole)
    assert stored.server.http.post(f"{stored.server.url}/v1/scans/{stored.scan_id}/retry").status_code in (200, 202)
    stored.until_whole()


def test_a_scan_whose_folder_is_gone_ends_with_the_reason(stored: Stored) -> None:
    """It is not begun for ever."""
    kept = stored.folder.with_name("kept")
    shutil.move(stored.folder, kept)
    assert stored.ask("segmentation")[0] == 503
    ended = stored.server.until_ended(stored.scan_id)
    assert ended["state"] == "failed"
    assert "gone from the store" in str(ended["error"])
    shutil.move(kept, stored.folder)
    assert stored.server.http.post(f"{stored.server.url}/v1/scans/{stored.scan_id}/retry").status_code in (200, 202)
    stored.until_whole()


def _doctor(stored: Stored, *options: str) -> tuple[int, dict[str, str]]:
    """Exit status, and what is damaged with how."""
    url = f"sqlite:///{stored.server.store / 'jobs.sqlite'}"
    command = ("doctor", "--store", "--json", str(stored.server.store), *options)
    status, said = forked.ran(command, log=stored.server.process.log.with_name("doctor.log"), database_url=url)
    findings = json.loads(said)["findings"]
    return status, {found["name"]: found["advice"] for found in findings if found["name"] != "store"}


def test_the_doctor_names_every_damaged_file_and_has_results_made_again(stored: Stored) -> None:
    """Of the result, the scan and the model, whatever the damage; nothing where all is whole."""
    assert _doctor(stored) == (0, {})
    volume = stored.folder / "image.ome.zarr" / "1" / "c" / "0" / "0" / "0"
    shard = stored.folder / "segmentation.ome.zarr" / "0" / "c" / "1" / "0" / "0"
    models = stored.server.store / "models"
    manifest = next(file for file in models.rglob("manifest.json") if "quality" not in str(file))
    note = next((models / "references").glob("*.json"))
    whole = {file: file.read_bytes() for file in (volume, shard, manifest, note)}
    for file, damage in zip(whole, (flip, Path.unlink, flip, flip), strict=True):
        damage(file)
    status, damaged = _doctor(stored)
    names = (volume.relative_to(stored.folder), shard.relative_to(stored.folder))
    assert status == 1
    assert set(damaged) == {
        *(f"scan {stored.scan_id}, {name}" for name in names),
        f"models/{manifest.parent.name}",
        f"models/references/{note.name}",
    }
    for file in (volume, manifest, note):
        file.write_bytes(whole[file])
    assert set(_doctor(stored, "--repair")[1]) == {f"scan {stored.scan_id}, {names[1]}"}
    stored.server.until(shard.exists)
    stored.until_whole()
    assert _doctor(stored) == (0, {})


def _slow_client() -> httpx.Client:
    """Takes in little ahead of what it reads; most of several MB is not made before it is asked for."""
    little = (socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    return httpx.Client(transport=httpx.HTTPTransport(socket_options=[little]), timeout=60)


@pytest.mark.parametrize("change", ["removed", "flipped"])
def test_a_result_that_is_damaged_while_it_is_sent_breaks_off(
    change: str, tmp_path: Path, model_dir: Path, processes: None
) -> None:
    """The scan is deleted, or a shard goes bad, behind the first byte: no client takes what it got for a whole file."""
    server = RunningServer(tmp_path, model_dir, slab_slices=8).start()
    try:
        scan_id = server.post(nifti(5, SENT), "fish.nii").json()["id"]
        assert server.until_ended(scan_id)["state"] == "succeeded"
        result = server.store / "scans" / scan_id / "segmentation.ome.zarr"
        for name, level in {"nrrd": 0, "nii.gz": 0, "ome-zarr": 2}.items():
            slabs = result / str(level) / "c"
            last = max(slabs.iterdir(), key=lambda slab: int(slab.name)) / "0" / "0"
            address = f"{server.url}/v1/scans/{scan_id}/segmentation?format={name}"
            with _slow_client() as http, http.stream("GET", address) as answer:
                assert answer.status_code == 200
                pieces = answer.iter_raw(1 << 16)
                next(pieces)
                flip(last) if change == "flipped" else server.delete(f"/v1/scans/{scan_id}").raise_for_status()
                with pytest.raises(httpx.RemoteProtocolError):
                    for _ in pieces:
                        pass
            if change == "removed":
                return
            assert server.until_ended(scan_id)["state"] == "succeeded"
    finally:
        server.end()
