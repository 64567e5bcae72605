"""What has arrived of an upload changes on the disk before all of it has: no scan is made of that."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.process.diagnosis import Level, audit
from tests.serving.intake.test_tus import TUS, as_scan, create, patch
from tests.serving.intake.test_ways_in import nifti
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process

CONTENT = nifti(11, (9, 40, 30))
MIDDLE = len(CONTENT) // 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("uploads"), model_dir, slab_slices=4)
    yield running.start()
    running.end()


def _folder(server: RunningServer, place: str) -> Path:
    return server.store / "scratch" / "uploads" / place.rpartition("/")[2]


def _flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)


def _gone(server: RunningServer, place: str) -> bool:
    return server.http.head(server.url + place, headers=TUS).status_code == 404


@pytest.mark.parametrize("where", [400, MIDDLE + 5])
def test_a_flipped_bit_is_no_scan(server: RunningServer, where: int) -> None:
    """409 with what to do, and the upload is gone, so that a client begins anew; wherever the bit was."""
    place = create(server, len(CONTENT))
    assert patch(server, place, CONTENT[:MIDDLE], offset=0).status_code == 204
    if where < MIDDLE:
        _flip(_folder(server, place) / "data", where)
    assert patch(server, place, CONTENT[MIDDLE:], offset=MIDDLE).status_code == 204
    if where >= MIDDLE:
        _flip(_folder(server, place) / "data", where)
    answer = as_scan(server, place)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:ricefish:problem:upload-damaged")
    assert "begin it again" in answer.json()["detail"]
    assert _gone(server, place)


def test_bytes_that_vanish_are_missed(server: RunningServer) -> None:
    """The file is cut behind the server's back: the upload does not go on from there as if nothing were."""
    place = create(server, len(CONTENT))
    assert patch(server, place, CONTENT[:MIDDLE], offset=0).status_code == 204
    data = _folder(server, place) / "data"
    data.write_bytes(data.read_bytes()[:500])
    assert patch(server, place, CONTENT[500:], offset=500).status_code == 409
    assert _gone(server, place)


@pytest.mark.parametrize("name", ["data", "upload.json", "arrived.json"])
def test_a_damaged_note_is_not_believed(server: RunningServer, name: str) -> None:
    """Its length, owner and checksum: the upload counts as none, and the doctor names it."""
    place = create(server, len(CONTENT))
    assert patch(server, place, CONTENT, offset=0).status_code == 204
    _flip(_folder(server, place) / name, 12)
    findings = {finding.name: finding.level for finding in audit(store=server.store)}
    assert findings[f"upload {place.rpartition('/')[2]}"] == Level.FAIL
    assert as_scan(server, place).status_code in (404, 409)


def test_a_part_that_a_killed_server_had_taken_counts(server: RunningServer) -> None:
    """No checksum was written for it yet; the upload goes on behind it, and becomes the scan that was sent."""
    place = create(server, len(CONTENT))
    data = _folder(server, place) / "data"
    assert patch(server, place, CONTENT[:MIDDLE], offset=0).status_code == 204
    server.end(signal.SIGKILL)
    data.write_bytes(CONTENT[: MIDDLE + 100])
    server.start(same_port=True)
    assert patch(server, place, CONTENT[MIDDLE + 100 :], offset=MIDDLE + 100).status_code == 204
    scan = as_scan(server, place)
    assert scan.status_code == 202, scan.text
    assert server.until_ended(scan.json()["id"])["state"] == "succeeded"
