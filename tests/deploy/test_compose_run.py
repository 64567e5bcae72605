"""compose.yaml, run: every service that needs no engine, with the settings that stand there, and what may befall it.

Each is a process in namespaces of its own, started as compose.yaml and the Dockerfile say; `images.py` says what stands
in for the images of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import yaml

from tests.deploy.compose_file import REPOSITORY
from tests.deploy.containers import impossible_here
from tests.deploy.sites import Site, a_site, until

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if why := impossible_here():
        pytest.skip(why)
    with pytest.MonkeyPatch.context() as environment:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            environment.delenv(name, raising=False)
        with a_site(tmp_path_factory.mktemp("compose")) as site:
            credentials = site.project / "deploy/compose/secrets/s3_credentials"
            environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
            yield site


@pytest.fixture
def prometheus(site: Site) -> Site:
    if not site.composition.has("prometheus"):
        pytest.skip("Prometheus is not installed here")
    return site


def of_prometheus(site: Site, question: str) -> Any:
    return site.get(f"/api/v1/{question}", service="prometheus", port=9090)["data"]


def test_prometheus_finds_the_server_and_both_workers(prometheus: Site) -> None:
    """By the names that it is given; all answer, and every shipped rule can be evaluated on what they say."""
    site = prometheus

    def up() -> dict[str, str]:
        return {
            target["labels"]["instance"].partition(":")[0]: target["health"]
            for target in of_prometheus(site, "targets")["activeTargets"]
        }

    addresses = {one.address for one in site.composition["worker"]}
    until(lambda: up() == dict.fromkeys({"server"} | addresses, "up"))
    shipped = yaml.safe_load((REPOSITORY / "deploy/prometheus/rules.yaml").read_text())["groups"]

    def healthy() -> set[str]:
        groups = of_prometheus(site, "rules")["groups"]
        return {rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "ok"}

    until(lambda: healthy() == {rule["alert"] for group in shipped for rule in group["rules"]})


def test_a_new_champion_is_followed_under_load(site: Site) -> None:
    """The pipeline is run again with another weight and a gate that lets it pass; scans before and after the swap."""
    gate = "profiles.demo.register."
    limits = [f"{gate}greatest_mean_loss=1.0", f"{gate}greatest_organ_loss=1.0"]
    changes = [word for change in ("profiles.demo.train_student.alpha=0.9", *limits) for word in ("-S", change)]
    version = site.train("dvc", "exp", "run", *changes)
    with site.clients() as clients:
        clients.until_ended(2)
        assert f"version {version} is the champion." in site.promote()
        clients.until(lambda: site.champion() == version)
        before = clients.ended[version]
        clients.until(lambda: clients.ended[version] >= before + 2)
    site.check(clients)


def test_a_killed_worker_comes_back_and_nothing_is_lost(site: Site) -> None:
    """SIGKILL in the middle of a scan, and again a start under the same name."""
    with site.clients() as clients:
        worker, _ = site.busy_worker()
        worker.kill()
        clients.until_ended(1)
        worker.start()
        site.composition.until_healthy("worker", worker)
        clients.until_ended(2)
    site.check(clients)


def test_postgresql_is_killed_and_comes_back_and_nothing_is_lost(site: Site) -> None:
    """The server says that it is not ready and refuses what it cannot keep; then scans go on where they were."""
    (database,) = site.composition["postgres"]
    with site.clients() as clients:
        site.busy_worker()
        database.kill()
        clients.until(lambda: not site.ready())
        refused = site.post()
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1, refused.text
        if site.composition.has("prometheus"):
            clients.until(lambda: "RicefishDatabaseDown" in alerts(site))
        site.composition.up("postgres")
        clients.until(site.ready)
        clients.until_ended(4)
    site.check(clients)


def alerts(site: Site) -> set[str]:
    """The names of those that fire, or will if it goes on."""
    return {alert["labels"]["alertname"] for alert in of_prometheus(site, "alerts")["alerts"]}


def test_a_worker_that_is_cut_off_can_do_no_harm(site: Site) -> None:
    """One of three loses its network in the middle of a scan: another ends that, once. Back, it changes nothing."""
    site.composition.up("worker", scale=3)
    network = site.composition.network
    with site.clients() as clients:
        worker, scan_id = site.busy_worker()
        network.cut(worker.address)
        try:
            clients.until(lambda: site.get(f"/v1/scans/{scan_id}")["state"] == "succeeded")
            said, files = site.get(f"/v1/scans/{scan_id}"), objects(site, scan_id)
            assert not said["worker"].startswith(worker.spec.name)
        finally:
            network.mend(worker.address)
        until(lambda: re.search(f"(scan_let_go|doing=end) scan={scan_id}", worker.log()) is not None)
        site.composition.until_healthy("worker", worker)
        clients.until_ended(2)
    assert site.get(f"/v1/scans/{scan_id}") == said
    assert objects(site, scan_id) == files
    site.check(clients)


def objects(site: Site, scan_id: str) -> dict[str, tuple[str, Any]]:
    """Every object of a scan in the bucket, with its hash and the time of its last change."""
    s3 = boto3.client("s3", endpoint_url=site.composition.url("s3", 8333), region_name="us-east-1")
    found = s3.list_objects_v2(Bucket="scans", Prefix=f"scans/{scan_id}/").get("Contents", [])
    return {one["Key"]: (one["ETag"], one["LastModified"]) for one in found}
