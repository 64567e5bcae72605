"""The registry, a real `mlflow server`, goes and comes back: servers serve on, and start without it."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from harness import servers
from harness.offline import run_offline
from harness.stoppable import Stoppable, stoppable_postgresql
from scans.intensity import Window
from tests.serving.loads import load
from tests.serving.models import write_model
from tests.serving.registries import CHAMPION, RegistryServer, SmallRegistry, free_port
from tests.serving.running import RunningServer
from tests.serving.sites import BOUND_SECONDS, FILES, Site, a_site

GREY = [np.asarray(nib.Nifti1Image.from_bytes(file).dataobj).T for file in FILES]
"""int16 (Z, Y, X)"""
WINDOWS = [Window(float(grey.min()), float(grey.max())) for grey in GREY]
SECRET = "between the registry and its servers"  # noqa: S105 - of these tests alone


@dataclass(frozen=True)
class Registered:
    """A registry of two versions, of which the first is the champion."""

    server: RegistryServer
    registry: SmallRegistry
    models: dict[str, Path]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Registered]:
    folder = tmp_path_factory.mktemp("registry")
    server = RegistryServer(folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        try:
            server.start()
            registry = SmallRegistry(server.url, artifacts=None)
            thresholds = ((0.4, 0.7), (0.2, 0.5))
            folders = [write_model(folder / f"model-{n}", rounds=4, thresholds=t) for n, t in enumerate(thresholds)]
            yield Registered(server, registry, {registry.register(one): one for one in folders})
        finally:
            server.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers give up on the registry after a second."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


def _place(server: RunningServer) -> dict[str, Any]:
    place: dict[str, Any] = server.get("/v1/models").json()["models"][0]
    return place


def _up(server: RunningServer) -> bool:
    up: bool = _place(server)["followed"]["registry_up"]
    return up


def _metric(server: RunningServer, name: str) -> float:
    found = re.search(rf'^{name}{{reference="{re.escape(CHAMPION)}"}} (\S+)$', server.get("/metrics").text, re.M)
    assert found is not None
    return float(found.group(1))


def _doctor(server: RunningServer) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "ricefish", "doctor", "--json", "--model", CHAMPION]
    environment = {**os.environ, "RICEFISH_STORE": str(server.store), "RICEFISH_PORT": "0"}
    done = subprocess.run([*command, "--scan-gb", "0"], capture_output=True, text=True, check=False, env=environment)
    return done.returncode, {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}


@pytest.mark.usefixtures("impatient")
def test_a_registry_that_goes_changes_nothing(registered: Registered, tmp_path: Path) -> None:
    """Under load, over a new start of the server, until the registry is back and names another version."""
    registered.registry.point("1")
    server = RunningServer(tmp_path, CHAMPION, slab_slices=4, follow_seconds=0.3)
    try:
        server.start()
        with load(server.url, registered.models) as clients:
            registered.server.stop()
            server.until(lambda: not _up(server))
            reached = _metric(server, "ricefish_registry_reached_timestamp_seconds")
            clients.until_answered("1", slices=20, scans=2)
        assert clients.faults == []
        assert server.get("/health/ready").status_code == 200
        assert _metric(server, "ricefish_registry_up") == 0
        assert _metric(server, "ricefish_registry_reached_timestamp_seconds") == reached

        assert server.end() == 0
        server.start()
        place = _place(server)
        assert (place["version"], place["from_cache"], place["followed"]["registry_up"]) == ("1", True, False)
        assert place["followed"]["registry_reached"] is None
        assert "does not give it" in place["followed"]["trouble"]
        assert "event=model_served_from_cache" in server.log
        assert server.get("/health/ready").status_code == 200
        with load(server.url, registered.models) as clients:
            clients.until_answered("1", slices=5, scans=1)
        assert clients.faults == []
        status, findings = _doctor(server)
        assert (findings["registry"]["level"], findings["model"]["level"], status) == ("WARN", "WARN", 0)
        assert "in the store there is ricefish version 1" in findings["registry"]["found"]

        registered.server.start()
        server.until(lambda: _up(server))
        assert _metric(server, "ricefish_registry_up") == 1
        server.until(lambda: not _place(server)["from_cache"])
        registered.registry.point("2")
        server.until(lambda: _place(server)["version"] == "2")
    finally:
        server.end()


@pytest.mark.process
@pytest.mark.usefixtures("impatient")
def test_a_server_that_knows_nothing_does_not_start_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty store there is nothing to serve: one line says so, and the doctor agrees."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    server = RunningServer(tmp_path, CHAMPION)
    with pytest.raises(
        servers.DidNotStart,
        match=r"ricefish: models:/ricefish@champion: the registry .* does not give",
    ):
        server.start()
    status, findings = _doctor(server)
    assert (findings["registry"]["level"], findings["model"]["level"], status) == ("FAIL", "FAIL", 1)
    assert "there is no copy in the store" in findings["registry"]["found"]


@pytest.mark.usefixtures("impatient")
def test_a_registry_that_hangs_holds_nobody_up(registered: Registered, tmp_path: Path) -> None:
    """It takes connections and answers nothing: scans and slices go on, and so does the server's end."""
    registered.registry.point("1")
    server = RunningServer(tmp_path, CHAMPION, slab_slices=4, follow_seconds=0.3)
    try:
        server.start()
        registered.server.signal(signal.SIGSTOP)
        with load(server.url, registered.models) as clients:
            server.until(lambda: not _up(server))
            clients.until_answered("1", slices=20, scans=2)
        assert clients.faults == []
        assert server.end() == 0
    finally:
        registered.server.signal(signal.SIGCONT)
        server.end()


def test_the_registry_tells_the_server(registered: Registered, tmp_path: Path) -> None:
    """MLflow's own webhook has the version put in place, by a server that would not have asked for an hour."""
    registered.registry.point("1")
    server = RunningServer(tmp_path, CHAMPION, follow_seconds=3600, webhook_secret=SECRET)
    try:
        registered.registry.announce(f"{server.start().url}/v1/models/webhook", SECRET)
        registered.registry.point("2")
        server.until(lambda: _place(server)["version"] == "2")
        assert "event=registry_event model=ricefish alias=champion followed=True" in server.log
    finally:
        server.end()


@pytest.mark.usefixtures("impatient")
def test_the_registry_and_then_the_database_go_under_load(registered: Registered, tmp_path: Path) -> None:
    """Each comes back while the other may be away: what was accepted ends as the version says that it names, and
    readiness and metrics tell which of the two is missing.
    """
    registered.registry.point("1")
    with (
        stoppable_postgresql() as postgresql,
        a_site(tmp_path, postgresql, model=CHAMPION, follow_seconds=0.3) as site,
    ):
        _go_one_after_the_other(site, registered, postgresql)


def _go_one_after_the_other(site: Site, registered: Registered, postgresql: Stoppable) -> None:
    site.pause_seconds = 2.0  # longer than a scan takes, so that none is left to wait for at the end
    threads = [threading.Thread(target=site.load) for _ in range(2)]
    for thread in threads:
        thread.start()
    site.accept(2)
    registered.server.stop()
    site.until(lambda: site.away() == {"registry"})
    site.accept(2)
    assert site.not_ready() == {}
    postgresql.stop()
    try:
        site.until(lambda: "database" in site.not_ready() and site.away() == {"registry", "database"})
    finally:
        postgresql.start()
    site.until(lambda: not site.not_ready() and site.away() == {"registry"})
    site.accept(2)
    registered.server.start()
    site.until(lambda: site.away() == set())
    registered.registry.point("2")
    site.until(lambda: site.get("/v1/models").json()["models"][0]["version"] == "2")
    site.accept(2)
    site.stopping.set()
    for thread in threads:
        thread.join(BOUND_SECONDS)
    assert site.faults == []
    results: dict[tuple[str, int], set[bytes]] = {}
    with httpx.Client(base_url=site.server.url, headers=site.admin, timeout=BOUND_SECONDS, trust_env=False) as http:
        for scan_id, number in site.accepted.items():
            ended = servers.wait_until_ended(http, scan_id)
            assert (ended["state"], ended["error"]) == ("succeeded", None)
            results.setdefault((ended["model"]["version"], number), set()).add(site.result(scan_id))
    assert {version for version, _ in results} == {"1", "2"}
    for (version, number), found in results.items():
        (content,) = found
        np.testing.assert_array_equal(
            _mask(content), run_offline(registered.models[version], GREY[number], WINDOWS[number])
        )
    assert [process.stop() for process in (site.worker, site.server)] == [0, 0]


def _mask(content: bytes) -> NDArray[np.uint8]:
    """uint8 (Z, Y, X) of a compressed NIfTI file."""
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj).T
