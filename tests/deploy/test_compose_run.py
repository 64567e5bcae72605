"""compose.yaml, run: every service that needs no engine, with the settings that stand there, and what may befall it.

Each is a process in namespaces of its own, started as compose.yaml and the Dockerfile say; `images.py` says what stands
in for the images of others.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import yaml

from tests.deploy.clients import BOUND_SECONDS
from tests.deploy.compose_file import REPOSITORY
from tests.deploy.containers import impossible_here
from tests.deploy.sites import Site, a_site, until

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Site]:
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
    limits = ["register.greatest_mean_loss=1.0", "register.greatest_organ_loss=1.0"]
    changes = [word for change in ("train_student.alpha=0.9", *limits) for word in ("-S", change)]
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


def test_an_upgrade_loses_nothing(site: Site) -> None:
    """Under load, as docs/deployment.md has it: MLflow's tables, then each is stopped gently and started anew."""
    composition = site.composition
    with site.clients() as clients:
        site.busy_worker()
        composition.stop("mlflow")
        composition.run("mlflow", *documented("docker compose run --rm mlflow (.+)`"))
        composition.up("mlflow")
        for service in ("worker", "server"):
            ends = composition.stop(service)
            assert set(ends) == {0}, (service, ends)
            composition.up(service, scale=len(ends))
            clients.until_ended(1)
        clients.until_ended(2)
    site.check(clients)


def documented(pattern: str) -> list[str]:
    """The words of a command in docs/deployment.md."""
    (found,) = re.findall(pattern, (REPOSITORY / "docs/deployment.md").read_text(encoding="utf-8"))
    return shlex.split(found)


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
    found = s3_of(site).list_objects_v2(Bucket="scans", Prefix=f"scans/{scan_id}/").get("Contents", [])
    return {one["Key"]: (one["ETag"], one["LastModified"]) for one in found}


def test_a_backup_makes_empty_volumes_what_they_were(site: Site) -> None:
    """Dump and buckets, as docs/deployment.md has it; then only the secrets are left, and all of it comes back."""
    composition = site.composition
    (database,) = composition["postgres"]
    with site.clients() as clients:
        clients.until_ended(2)
    kept = {scan_id: (site.get(f"/v1/scans/{scan_id}"), site.result(scan_id)) for scan_id in clients.accepted}
    champion = site.champion()
    dumped = database.execute(*documented(r"exec -T postgres (pg_dumpall .+) \|"), seconds=BOUND_SECONDS)
    assert dumped.returncode == 0, dumped.stderr
    buckets = fetched(site)

    for service in ("server", "worker", "mlflow", "postgres", "s3"):
        composition.stop(service)
    composition.empty("postgres")
    composition.up("postgres")
    composition.up("s3")  # whose stand-in keeps nothing when it ends
    put_back(site, buckets)
    restored = database.execute(*documented(r"exec -T postgres (psql .+)`"), given=dumped.stdout, seconds=BOUND_SECONDS)
    assert restored.returncode == 0, restored.stderr
    composition.up("server")
    composition.up("worker", scale=2)

    assert site.champion() == champion
    assert {i: (site.get(f"/v1/scans/{i}"), site.result(i)) for i in kept} == kept
    with site.clients() as clients:
        clients.until_ended(1)
    site.check(clients)


def fetched(site: Site) -> dict[str, dict[str, bytes]]:
    """Every object of every bucket."""
    s3 = s3_of(site)
    found: dict[str, dict[str, bytes]] = {}
    for bucket in (one["Name"] for one in s3.list_buckets()["Buckets"]):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
        found[bucket] = {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
    return found


def put_back(site: Site, buckets: dict[str, dict[str, bytes]]) -> None:
    s3 = s3_of(site)
    for bucket, contents in buckets.items():
        s3.create_bucket(Bucket=bucket)
        for key, content in contents.items():
            s3.put_object(Bucket=bucket, Key=key, Body=content)


def s3_of(site: Site) -> Any:
    return boto3.client("s3", endpoint_url=site.composition.url("s3", 8333), region_name="us-east-1")
