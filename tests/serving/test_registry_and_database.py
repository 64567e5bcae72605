"""The registry and then the database are stopped, and come back, under load: nothing accepted is lost."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import servers
from scans.intensity import Window
from tests.serving.databases import Stoppable, stoppable_postgresql
from tests.serving.models import run_offline, write_model
from tests.serving.registries import CHAMPION, RegistryServer, SmallRegistry
from tests.serving.sites import BOUND_SECONDS, FILES, Site, a_site

GREY = [np.asarray(nib.Nifti1Image.from_bytes(file).dataobj).T for file in FILES]
"""int16 (Z, Y, X)"""
WINDOWS = [Window(float(grey.min()), float(grey.max())) for grey in GREY]


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stoppable]:
    with stoppable_postgresql(tmp_path_factory.mktemp("postgresql")) as stoppable:
        yield stoppable


def test_the_registry_and_then_the_database_go_under_load(
    tmp_path: Path, postgresql: Stoppable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each comes back while the other may be away: what was accepted ends as the version says that it names, and
    readiness and metrics tell which of the two is missing.
    """
    registry = RegistryServer(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    try:
        versions = SmallRegistry(registry.start().url, artifacts=None)
        folders = [
            write_model(tmp_path / f"model-{number}", rounds=20, thresholds=thresholds)
            for number, thresholds in enumerate(((0.4, 0.7), (0.2, 0.5)))
        ]
        models = {versions.register(folder): folder for folder in folders}
        versions.point("1")
        with a_site(tmp_path, postgresql, model=CHAMPION, follow_seconds=0.3) as site:
            _go_one_after_the_other(site, registry, postgresql, versions, models)
    finally:
        registry.stop()


def _go_one_after_the_other(
    site: Site, registry: RegistryServer, postgresql: Stoppable, versions: SmallRegistry, models: dict[str, Path]
) -> None:
    threads = [threading.Thread(target=site.load) for _ in range(2)]
    for thread in threads:
        thread.start()
    site.accept(2)
    registry.stop()
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
    registry.start()
    site.until(lambda: site.away() == set())
    versions.point("2")
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
        np.testing.assert_array_equal(_mask(content), run_offline(models[version], GREY[number], WINDOWS[number]))
    assert [process.stop() for process in (site.worker, site.server)] == [0, 0]


def _mask(content: bytes) -> NDArray[np.uint8]:
    """uint8 (Z, Y, X) of a compressed NIfTI file."""
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj).T
