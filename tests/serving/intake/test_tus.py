"""Resumable uploads: the tus protocol on a real server, whatever breaks off in between."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import nibabel as nib
import numpy as np
import pytest
import tifffile

from tests.serving.running import RunningServer

TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def content(request: pytest.FixtureRequest) -> bytes:
    """Another scan for each test."""
    seed = int.from_bytes(request.node.name.encode())
    grey = np.random.default_rng(seed).integers(0, 999, (9, 40, 30)).astype(np.int16)
    return bytes(nib.Nifti1Image(grey.T, np.eye(4)).to_bytes())


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("uploads"), model_dir, slab_slices=4, upload_limit_bytes=10**7)
    yield running.start()
    running.end()


def create(server: RunningServer, length: int | None, **headers: str) -> str:
    said = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    name = base64.b64encode(b"fish.nii").decode()
    answer = server.http.post(
        f"{server.url}/v1/uploads", headers={**TUS, **said, "Upload-Metadata": f"filename {name}", **headers}
    )
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def patch(server: RunningServer, place: str, part: bytes, *, offset: int, **headers: str) -> httpx.Response:
    return server.http.patch(
        server.url + place, content=part, headers={**PART, "Upload-Offset": str(offset), **headers}
    )


def offset_of(server: RunningServer, place: str) -> int:
    return int(server.http.head(server.url + place, headers=TUS).headers["upload-offset"])


def as_scan(server: RunningServer, place: str, **more: object) -> httpx.Response:
    return server.http.post(f"{server.url}/v1/scans", json={"source": {"upload": place.rpartition("/")[2]}, **more})


def test_the_server_says_what_it_knows(own_server: RunningServer) -> None:
    """Version, extensions, checksums and the largest size."""
    headers = own_server.http.options(f"{own_server.url}/v1/uploads").headers
    assert headers["tus-version"] == "1.0.0"
    assert set(headers["tus-extension"].split(",")) >= {"creation", "checksum", "expiration", "termination"}
    assert "sha256" in headers["tus-checksum-algorithm"]
    assert headers["tus-max-size"] == "10000000"


def test_parts_become_a_scan(own_server: RunningServer, content: bytes) -> None:
    """Part by part, with the offset in every answer; then its id is a source, once, and again the same scan."""
    place = create(own_server, len(content))
    middle = len(content) // 2
    first = patch(own_server, place, content[:middle], offset=0)
    assert (first.status_code, first.headers["upload-offset"]) == (204, str(middle))
    early = as_scan(own_server, place)
    assert early.status_code == 409 and f"{len(content) - middle} bytes are missing" in early.json()["detail"]
    head = own_server.http.head(own_server.url + place, headers=TUS)
    assert head.headers["upload-length"] == str(len(content)) and "GMT" in head.headers["upload-expires"]
    assert patch(own_server, place, content[middle:], offset=middle).status_code == 204
    scan = as_scan(own_server, place)
    assert scan.status_code == 202, scan.text
    assert scan.json()["filename"] == "fish.nii"
    assert scan.json()["sha256"] == hashlib.sha256(content).hexdigest()
    assert own_server.until_ended(scan.json()["id"])["state"] == "succeeded"
    assert own_server.http.head(own_server.url + place, headers=TUS).status_code == 404
    assert as_scan(own_server, place).json()["id"] == scan.json()["id"]


def test_a_wrong_offset_changes_nothing(own_server: RunningServer, content: bytes) -> None:
    """409, and the upload stands where it stood."""
    place = create(own_server, len(content))
    assert patch(own_server, place, content[:100], offset=50).status_code == 409
    assert offset_of(own_server, place) == 0


def test_a_part_that_arrives_damaged_is_dropped(own_server: RunningServer, content: bytes) -> None:
    """460 for a checksum that does not match, nothing of it kept; with the right one it is."""
    place = create(own_server, len(content))
    for algorithm in ("sha256", "sha1", "md5"):
        at = offset_of(own_server, place)
        part = content[at : at + 100]
        stated = base64.b64encode(hashlib.new(algorithm, part, usedforsecurity=False).digest()).decode()
        wrong = patch(own_server, place, part[::-1], offset=at, **{"Upload-Checksum": f"{algorithm} {stated}"})
        assert (wrong.status_code, offset_of(own_server, place)) == (460, at)
        right = patch(own_server, place, part, offset=at, **{"Upload-Checksum": f"{algorithm} {stated}"})
        assert (right.status_code, offset_of(own_server, place)) == (204, at + 100)
    unknown = patch(own_server, place, b"x", offset=300, **{"Upload-Checksum": "crc32 AAAA"})
    assert unknown.status_code == 400 and "sha256" in unknown.json()["detail"]


def test_a_length_can_follow_later(own_server: RunningServer, content: bytes) -> None:
    """Unknown at first, then said with the last part, and never changed."""
    place = create(own_server, None)
    assert own_server.http.head(own_server.url + place, headers=TUS).headers["upload-defer-length"] == "1"
    patch(own_server, place, content[:1000], offset=0)
    assert "not known" in as_scan(own_server, place).json()["detail"]
    last = patch(own_server, place, content[1000:], offset=1000, **{"Upload-Length": str(len(content))})
    assert last.status_code == 204
    other = patch(own_server, place, b"", offset=len(content), **{"Upload-Length": "5"})
    assert other.status_code == 400
    assert as_scan(own_server, place, fresh=True).status_code == 202


def test_the_first_part_can_come_with_the_creation(own_server: RunningServer, content: bytes) -> None:
    """And the answer says how much of it arrived."""
    answer = own_server.http.post(
        f"{own_server.url}/v1/uploads", content=content[:500], headers={**PART, "Upload-Length": str(len(content))}
    )
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "500")
    assert offset_of(own_server, answer.headers["location"]) == 500


def test_an_upload_can_be_given_up(own_server: RunningServer, content: bytes) -> None:
    """DELETE removes it with its bytes."""
    place = create(own_server, len(content))
    patch(own_server, place, content[:1000], offset=0)
    assert own_server.http.delete(own_server.url + place, headers=TUS).status_code == 204
    assert own_server.http.head(own_server.url + place, headers=TUS).status_code == 404
    assert not (own_server.store / "scratch" / "uploads" / place.rpartition("/")[2]).exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "10"}, 412),
        ({**TUS}, 400),
        ({**TUS, "Upload-Length": "many"}, 400),
        ({**TUS, "Upload-Length": "99999999"}, 413),
    ],
)
def test_a_creation_that_makes_no_sense_is_refused(
    own_server: RunningServer, headers: dict[str, str], status: int
) -> None:
    """Another version, no length, one that is no number, one beyond the limit."""
    assert own_server.http.post(f"{own_server.url}/v1/uploads", headers=headers).status_code == status


def test_more_than_was_announced_is_refused(own_server: RunningServer) -> None:
    """400, and the upload keeps to its length."""
    place = create(own_server, 10)
    assert patch(own_server, place, b"x" * 11, offset=0).status_code == 400
    assert offset_of(own_server, place) <= 10


def test_a_connection_that_breaks_keeps_what_arrived(own_server: RunningServer, content: bytes) -> None:
    """A sender that hangs up in the middle goes on there; one whose old connection lingers is not locked out."""
    place = create(own_server, len(content))
    with _half_a_part(own_server, place, content):
        own_server.until(lambda: _size(own_server, place) > 0)
        assert patch(own_server, place, b"", offset=offset_of(own_server, place)).status_code == 204
    at = offset_of(own_server, place)
    assert 0 < at < len(content)
    assert patch(own_server, place, content[at:], offset=at).status_code == 204
    assert as_scan(own_server, place, fresh=True).json()["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_killed_server_goes_on_where_the_bytes_stand(own_server: RunningServer, content: bytes) -> None:
    """SIGKILL in the middle of a part: after the start the offset is what is on disk."""
    place = create(own_server, len(content))
    with _half_a_part(own_server, place, content):
        own_server.until(lambda: _size(own_server, place) > 0)
        own_server.end(signal.SIGKILL)
    own_server.start()
    at = offset_of(own_server, place)
    assert 0 < at < len(content)
    assert patch(own_server, place, content[at:], offset=at).status_code == 204
    assert as_scan(own_server, place, fresh=True).json()["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_refused_upload_can_be_asked_for_differently(own_server: RunningServer, tmp_path: Path) -> None:
    """A TIFF without spacing is refused, stays, and becomes a scan once the spacing is given."""
    tifffile.imwrite(tmp_path / "a.tif", np.ones((5, 8, 9), np.uint16), photometric="minisblack")
    content = (tmp_path / "a.tif").read_bytes()
    place = create(own_server, len(content))
    patch(own_server, place, content, offset=0)
    assert as_scan(own_server, place, filename="a.tif").status_code == 400
    assert offset_of(own_server, place) == len(content)
    answer = as_scan(own_server, place, filename="a.tif", spacing="1,2,3")
    assert (answer.status_code, answer.json()["spacing_mm"]) == (202, [1, 2, 3])


def test_forgotten_uploads_expire(own_server: RunningServer, content: bytes) -> None:
    """One that nobody went on with for two days is gone, and a newer one is not."""
    old, new = create(own_server, len(content)), create(own_server, len(content))
    data = own_server.store / "scratch" / "uploads" / old.rpartition("/")[2] / "data"
    os.utime(data, (time.time() - 49 * 3600,) * 2)
    assert own_server.http.head(own_server.url + old, headers=TUS).status_code == 404
    assert not data.exists()
    assert offset_of(own_server, new) == 0


def _size(server: RunningServer, place: str) -> int:
    return (server.store / "scratch" / "uploads" / place.rpartition("/")[2] / "data").stat().st_size


def _half_a_part(server: RunningServer, place: str, content: bytes) -> socket.socket:
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    lines = [f"PATCH {place} HTTP/1.1", f"Host: {address.netloc}", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in {**PART, "Upload-Offset": "0"}.items()]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + content[: len(content) // 2])
    return connection
