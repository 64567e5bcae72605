"""A server says whether it can work, and why not, at once; told to stop, it loses nothing and says so first."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import nibabel as nib
import numpy as np
import pytest

from harness.postgresql import new_postgresql_database
from harness.stoppable import Stoppable, stoppable_postgresql
from serving.observability.probes import Probe, Unanswered
from tests.serving.conftest import AFFINE, Example
from tests.serving.models import write_model
from tests.serving.running import RunningServer

DRAIN_SECONDS = 4
"""In which a server that was told to stop still answers."""


@pytest.fixture(scope="module")
def postgresql(processes: None) -> Iterator[Stoppable]:
    with stoppable_postgresql() as stoppable:
        yield stoppable


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("slow_model"), rounds=60)


@pytest.fixture(scope="module")
def long_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 slices, some seconds of work for the slow model."""
    path = tmp_path_factory.mktemp("long") / "long.nii"
    grey = np.random.default_rng(5).integers(0, 999, (60, 40, 48)).astype(np.int16)
    nib.save(nib.Nifti1Image(grey.T, AFFINE), path)
    return path


def not_ready(url: str) -> dict[str, str]:
    """Reasons by check; nothing where the server is ready."""
    answer = httpx.get(f"{url}/health/ready", trust_env=False, timeout=10)
    content = answer.json()
    assert (answer.status_code, content["status"]) in ((200, "ready"), (503, "not ready")), content
    failed = {check["name"]: check["reason"] for check in content["checks"] if not check["ok"]}
    assert bool(failed) == (answer.status_code == 503)
    return failed


def test_a_ready_server_says_what_it_looked_at(server: RunningServer) -> None:
    """Every check by name, however often it is asked; that a look counts for a while is shown below."""
    content = server.get("/health/ready").json()
    assert [check["name"] for check in content["checks"]] == [
        "accepting", "model", "batching", "janitor", "follower", "shadow", "worker", "database", "store", "scratch",
    ]  # fmt: skip
    assert all(check["ok"] and check["reason"] is None for check in content["checks"])
    for _ in range(100):
        assert server.get("/health/ready").status_code == 200


@pytest.mark.process
def test_a_store_that_is_gone_is_told_and_forgotten(tmp_path: Path, model_dir: Path) -> None:
    """Its folder renamed away as if it were not mounted: 503 with the reason; renamed back: ready again."""
    server = RunningServer(tmp_path, model_dir).start()
    try:
        assert not_ready(server.url) == {}
        (server.store / "scans").rename(server.store / "elsewhere")
        server.until(lambda: bool(not_ready(server.url)))
        (reason,) = not_ready(server.url).values()
        assert "FileNotFoundError" in reason and "scans" in reason
        assert server.get("/health/live").status_code == 200
        (server.store / "elsewhere").rename(server.store / "scans")
        server.until(lambda: not not_ready(server.url))
    finally:
        assert server.end() == 0


def test_a_database_that_hangs_holds_nobody_up(tmp_path: Path, model_dir: Path, postgresql: Stoppable) -> None:
    """PostgreSQL frozen: not ready while it is, alive, and the scrape goes on and says so; thawed: all well."""
    url = new_postgresql_database(postgresql.uri)
    server = RunningServer(tmp_path, model_dir, database_url=url, metrics_open=True).start()
    try:
        assert not_ready(server.url) == {}
        postgresql.freeze()
        server.until(lambda: "database" in not_ready(server.url))
        assert "no answer for" in not_ready(server.url)["database"]
        assert httpx.get(f"{server.url}/health/live", trust_env=False).status_code == 200
        server.until(lambda: "ricefish_database_up 0.0" in server.get("/metrics").text)
        text = server.get("/metrics").text
        assert "ricefish_scans{" not in text and "ricefish_disk_free_bytes{" in text
        assert "ricefish_http_requests_total{" in text
    finally:
        postgresql.thaw()
    server.until(lambda: not not_ready(server.url))
    server.until(lambda: "ricefish_database_up 1.0" in server.get("/metrics").text)
    assert server.end() == 0


@pytest.mark.process
def test_told_to_stop_it_drains(tmp_path: Path, slow_model: Path, long_scan: Path) -> None:
    """SIGTERM: not ready at once, still answering; the scan is parked; exit 0; started again, it goes on there."""
    settings = {"batch_size": 1, "slab_slices": 1, "drain_seconds": DRAIN_SECONDS}
    server = RunningServer(tmp_path, slow_model, **settings).start()
    scan_id = server.post(long_scan, "long.nii").json()["id"]
    server.until(lambda: server.get(f"/v1/scans/{scan_id}").json()["slices_done"] >= 3)
    told = time.monotonic()
    server.process.send(signal.SIGTERM)
    server.until(lambda: not_ready(server.url) == {"accepting": "the server was told to stop"})
    assert server.get("/health/live").status_code == 200
    server.until(lambda: server.get(f"/v1/scans/{scan_id}").json()["state"] == "queued")
    assert server.process.wait() == 0
    assert time.monotonic() - told >= DRAIN_SECONDS
    assert f"event=scan_parked scan={scan_id}" in server.log
    server.end()
    done = len(server.slabs_logged(scan_id))
    assert 3 <= done < 60
    server.start()
    try:
        assert server.until_ended(scan_id)["state"] == "succeeded"
        assert server.slabs_logged(scan_id) == list(range(60))
    finally:
        server.end()


@pytest.mark.process
def test_streams_of_events_do_not_hold_the_end_up(tmp_path: Path, model_dir: Path, example: Example) -> None:
    """Somebody follows a scan that nobody works on: the stream ends with the server, not after its grace period."""
    server = RunningServer(tmp_path, model_dir, concurrent_scans=0).start()
    scan_id = server.post(example.path, "fish.nii.gz").json()["id"]
    lines: list[str] = []
    first = threading.Event()

    def follow() -> None:
        with httpx.stream("GET", f"{server.url}/v1/scans/{scan_id}/events", trust_env=False, timeout=60) as answer:
            for line in answer.iter_lines():
                lines.append(line)
                first.set()

    following = threading.Thread(target=follow)
    following.start()
    assert first.wait(60)
    assert server.end() == 0
    following.join(60)
    assert "event: queued" in lines
    assert "Cancel" not in server.log, "which uvicorn says of what it cuts off after the grace period"


@pytest.mark.process
def test_a_second_signal_ends_the_wait(tmp_path: Path, model_dir: Path) -> None:
    """Whoever cannot wait for RICEFISH_DRAIN_SECONDS signals again; the last line, as JSON, says that it stopped."""
    server = RunningServer(tmp_path, model_dir, drain_seconds=3600, log_format="json").start()
    server.process.send(signal.SIGTERM)
    server.until(lambda: '"message": "draining"' in server.log)
    assert server.end() == 0
    *_, last = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    assert (last["level"], last["message"]) == ("info", "stopped")
    assert last["seconds"] > 0


def test_a_probe_looks_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen counts for a while; a look that hangs is not begun a second time, and holds nobody longer."""
    looks, go_on, now = [], threading.Event(), [time.monotonic()]
    monkeypatch.setattr("serving.observability.probes.time", SimpleNamespace(monotonic=lambda: now[0]))

    def look() -> int:
        looks.append(1)
        go_on.wait(60)
        return len(looks)

    probe = Probe(look, most_age_seconds=2, limit_seconds=0.1)
    for _ in range(3):
        with pytest.raises(Unanswered, match="no answer for"):
            probe.ask()
    assert len(looks) == 1
    go_on.set()
    (hanging,) = (thread for thread in threading.enumerate() if thread.name == "probe")
    hanging.join(60)
    assert probe.ask() == 1 == probe.ask()
    now[0] += 3
    assert _answer(probe) == 2


def _answer(probe: Probe[int]) -> int:
    while True:
        with contextlib.suppress(Unanswered):
            return probe.ask()
