"""A full queue: who is refused, before a byte is read, with which estimate, and who gets in all the same."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from ricefish.client import Client
from tests.serving.intake.test_ways_in import nifti
from tests.serving.models import write_model
from tests.serving.observability.test_prometheus_metrics import Metrics
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process

TUS = {"Tus-Resumable": "1.0.0"}
Serve = Callable[..., RunningServer]


@pytest.fixture
def serve(tmp_path: Path, model_dir: Path) -> Iterator[Serve]:
    """Servers that leave the work to workers that there are none of, so that what is accepted waits."""
    made: list[RunningServer] = []

    def start(**settings: object) -> RunningServer:
        given = {"concurrent_scans": 0, "slab_slices": 4, "source_roots": f'["{tmp_path}"]', **settings}
        made.append(RunningServer(tmp_path, model_dir, **given).start())
        return made[-1]

    yield start
    for server in made:
        server.end()


def fill(server: RunningServer, scans: int, **query: str) -> list[str]:
    return [str(server.post(nifti(n), f"{n}.nii", **query).raise_for_status().json()["id"]) for n in range(scans)]


def tus_create(server: RunningServer, size: int, **metadata: str) -> httpx.Response:
    said = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in metadata.items())
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": said}
    return server.http.post(f"{server.url}/v1/uploads", headers=headers)


def assert_full(answer: httpx.Response, **said: object) -> None:
    problem = answer.json()
    assert answer.status_code == 429, answer.text
    assert problem["type"] == "urn:ricefish:problem:queue-full"
    assert {name: problem[name] for name in said} == said
    assert 1 <= int(answer.headers["retry-after"]) <= 3600
    assert f"come back in about {answer.headers['retry-after']} s" in problem["detail"]


def test_a_full_queue_refuses_every_way_in_and_keeps_what_was_uploaded(serve: Serve, tmp_path: Path) -> None:
    """Body, form, source and upload get 429 that says what waits; the upload becomes a scan once there is room.

    A scan that somebody waits for has room of its own, which is refused when that is full.
    """
    server = serve(queue_scans=2)
    content = nifti(9)
    (tmp_path / "fish.nii").write_bytes(content)
    place = tus_create(server, len(content), filename="up.nii").headers["location"]
    part = {**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert server.http.patch(server.url + place, content=content, headers=part).status_code == 204
    upload = {"source": {"upload": place.rpartition("/")[2]}}
    waiting = fill(server, 2)
    said = {"limit": "scans", "waiting": 2, "most": 2}

    def ask(source: dict[str, object]) -> httpx.Response:
        return server.http.post(f"{server.url}/v1/scans", json=source)

    assert_full(server.post(content, "a.nii"), **said)
    assert_full(server.http.post(f"{server.url}/v1/scans", files={"scan": ("a.nii", content)}), **said)
    assert_full(ask({"source": {"uri": (tmp_path / "fish.nii").as_uri()}}), **said)
    assert_full(ask(upload), **said)
    assert_full(tus_create(server, 10), **said)
    assert tus_create(server, 10, priority="interactive").status_code == 201
    assert not any(server.incoming.iterdir())
    assert Metrics.of(server.url)("requests_refused_total", status="429", reason="queue-full") == 5

    first = server.post(content, "now.nii", priority="interactive")
    assert first.status_code == 202
    server.post(content, "now.nii", priority="interactive").raise_for_status()
    assert_full(server.post(content, "now.nii", priority="interactive"), **said)
    server.delete(f"/v1/scans/{first.json()['id']}")
    for scan_id in waiting:
        server.delete(f"/v1/scans/{scan_id}")
    server.until(lambda: ask(upload).status_code == 202, seconds=10)


def test_what_is_accepted_already_is_no_new_scan(serve: Serve) -> None:
    """The same Idempotency-Key, and a file whose stated checksum is known, get their scan from a full queue."""
    server = serve(queue_scans=1)
    content = nifti(1)
    scan_id = server.post(content, "a.nii", key="k").json()["id"]
    assert_full(server.post(content, "a.nii", key="other"))
    assert server.post(content, "a.nii", key="k").json()["id"] == scan_id
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    found = server.http.post(
        f"{server.url}/v1/scans",
        params={"filename": "b.nii"},
        content=content,
        headers={"Content-Digest": f"sha-256=:{digest}:"},
    )
    assert (found.status_code, found.json()["id"]) == (202, scan_id)
    sha256 = hashlib.sha256(content).hexdigest()
    assert server.post(content, "b.nii", fresh="false", sha256=sha256).json()["id"] == scan_id
    assert_full(server.post(content, "b.nii", fresh="true", sha256=sha256))


def test_it_is_refused_before_a_byte_of_it_is_read(serve: Serve) -> None:
    """A client that sends `Expect: 100-continue` hears 429 and no 100; one that was let in hears 100 first."""
    server = serve(queue_scans=1)
    host, _, port = server.url.removeprefix("http://").partition(":")

    def answered() -> bytes:
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(
                b"POST /v1/scans?filename=a.nii HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n"
                b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
            )
            return connection.recv(4096)

    assert answered().startswith(b"HTTP/1.1 100 ")
    server.until(lambda: server.post(nifti(1), "1.nii").status_code == 202)  # once it is seen to have gone
    assert answered().startswith(b"HTTP/1.1 429 ")


def test_bytes_and_age_are_limits_too(serve: Serve) -> None:
    """A file that makes too many bytes wait is refused, alone it is not; so is any while one has waited for too long.

    A scan that waits behind what is more urgent, as a backlog scan does, keeps no other out.
    """
    server = serve(queue_bytes=3000, queue_age_seconds=1.0)
    size = len(nifti(0))
    assert 1500 < size < 3000
    fill(server, 1, priority="backlog")
    assert_full(server.post(nifti(1), "a.nii", priority="backlog"), limit="bytes", waiting=size, most=3000)
    time.sleep(1.1)
    assert_full(server.post(b"tiny", "a.nii", priority="backlog"), limit="age", most=1)
    assert server.post(nifti(2), "a.nii", priority="normal").status_code == 202


def test_many_at_once_do_not_slip_in_together(serve: Serve) -> None:
    """Eight posts at the same moment, and room for three: three are accepted."""
    server = serve(queue_scans=3)
    together = threading.Barrier(8)

    def post(number: int) -> int:
        with httpx.Client(trust_env=False, timeout=60) as http:
            together.wait()
            query = {"filename": f"{number}.nii", "fresh": "true"}
            return http.post(f"{server.url}/v1/scans", params=query, content=nifti(number)).status_code

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(post, range(8)))
    assert sorted(answers) == [202] * 3 + [429] * 5
    assert len(server.get("/v1/scans").json()["scans"]) == 3


def test_a_retry_needs_room_as_well(serve: Serve) -> None:
    """A cancelled scan cannot be queued again while others wait in its place."""
    server = serve(queue_scans=1)
    (cancelled,) = fill(server, 1)
    server.http.post(f"{server.url}/v1/scans/{cancelled}/cancel").raise_for_status()
    server.until(lambda: server.post(nifti(5), "b.nii").status_code == 202, seconds=10)
    assert_full(server.http.post(f"{server.url}/v1/scans/{cancelled}/retry"))
    assert server.get(f"/v1/scans/{cancelled}").json()["state"] == "cancelled"


@pytest.mark.parametrize("resumable_bytes", [64_000_000, 100], ids=["at once", "resumably"])
def test_the_client_waits_for_room(
    serve: Serve,
    tmp_path: Path,
    resumable_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says why it waits, comes back when the server said, and is through once there is room."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    server = serve(queue_scans=1)
    pauses: list[float] = []
    (waiting,) = fill(server, 1)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        server.delete(f"/v1/scans/{waiting}")
        threading.Event().wait(1.1)

    monkeypatch.setattr("ricefish.client.connection.time.sleep", pause)
    path = tmp_path / "fish.nii"
    path.write_bytes(nifti(4))
    with Client(server.url, resumable_bytes=resumable_bytes) as client:
        assert client.submit(path).state == "queued"
    assert 30 <= pauses[0] <= 36, "the server knows no rate: half a minute, and a little more"
    (said,) = [record.getMessage() for record in caplog.records]
    assert "queue is full" in said and "1 scans wait already, and 1 may (RICEFISH_QUEUE_SCANS)" in said


def test_single_slices_are_refused_where_too_many_wait(tmp_path: Path) -> None:
    """Sixteen at once for a slow model and a queue of two: some are answered, the others told when to come back."""
    model = write_model(tmp_path / "slow", rounds=60)
    server = RunningServer(tmp_path, model, batch_size=1, queue_slices=2).start()
    try:
        slices = {"name": "slices", "datatype": "FP32", "shape": [1, 64, 64], "data": [0.5] * 4096}
        window = {"name": "window", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 1.0]}
        body = json.dumps({"inputs": [slices, window]})

        def infer(_: int) -> httpx.Response:
            return httpx.post(f"{server.url}/v2/models/thresholds/infer", content=body, trust_env=False, timeout=60)

        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(infer, range(16)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 1 <= len(refused) <= 14 and len(refused) + sum(a.status_code == 200 for a in answers) == 16
        assert all(1 <= int(answer.headers["retry-after"]) <= 3600 for answer in refused)
        assert "slices wait already, and 2 may (RICEFISH_QUEUE_SLICES)" in refused[0].json()["error"]
        refusals = Metrics.of(server.url)("requests_refused_total", status="429", reason="slice-queue-full")
        assert refusals == len(refused)
    finally:
        server.end()
