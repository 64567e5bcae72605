"""What /metrics says, read as Prometheus reads it, changes as what it counts does."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from harness import forked, servers
from harness.postgresql import new_postgresql_database
from scans.model.drift import Departure
from scans.model.judgement import Judgement
from serving.app import create_app
from serving.inference.scheduling import Urgency
from serving.process.wiring import telemetry_of_process
from serving.settings import Settings
from tests.serving.conftest import Example
from tests.serving.models import write_model
from tests.serving.running import RunningServer

REPOSITORY = Path(__file__).resolve().parents[3]

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


class Metrics:
    """One scrape."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.types = {family.name: family.type for family in families}
        self.samples: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    @classmethod
    def of(cls, url: str) -> Metrics:
        return cls(httpx.get(f"{url}/metrics", trust_env=False).raise_for_status().text)

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples.get((f"ricefish_{name}", frozenset(labels.items())), 0.0)

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for found, labels in self.samples if found == f"ricefish_{name}"]


def test_the_exposition_keeps_to_the_rules_of_the_field(server: RunningServer) -> None:
    """It parses, says its type, and its names have the prefix, base units and `_total` where they count."""
    answer = server.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    metrics = Metrics(answer.text)
    ours = {name: kind for name, kind in metrics.types.items() if name.startswith("ricefish_")}
    assert len(ours) > 25 and "unknown" not in ours.values()
    others = {name.split("_")[0] for name in metrics.types.keys() - ours.keys()}
    assert others == {"process", "python"}
    for family in text_string_to_metric_families(answer.text):
        assert not family.name.startswith("ricefish_") or family.documentation.endswith(".")
        for sample in family.samples:
            assert not re.search(r"_(ms|milliseconds|minutes|mb|percent)(_|$)", sample.name), sample.name
            assert family.type != "counter" or sample.name.endswith("_total"), sample.name


def up_to_date(server: RunningServer) -> Metrics:
    """A scrape that knows of all scans: the database is counted every few seconds."""

    def succeeded() -> int:
        scans = server.get("/v1/scans?limit=1000").json()["scans"]
        return sum(scan["state"] == "succeeded" for scan in scans)

    server.until(lambda: Metrics.of(server.url)("scans", state="succeeded") == succeeded())
    return Metrics.of(server.url)


def test_a_scan_moves_every_number_that_it_should(server: RunningServer, example: Example) -> None:
    """Requests, bytes, batches, slices, voxels, activities, outcome and state, by exactly what was done."""
    before = up_to_date(server)
    body = example.path.read_bytes()
    scan_id = server.post(body, "fish.nii.gz").json()["id"]
    assert server.until_ended(scan_id)["state"] == "succeeded"
    ended = before("scans_ended_total", outcome="succeeded")
    server.until(lambda: Metrics.of(server.url)("scans_ended_total", outcome="succeeded") > ended)
    after = up_to_date(server)

    def more(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    posted = {"method": "POST", "route": "/v1/scans"}
    assert more("http_requests_total", **posted, status="202") == 1
    assert more("http_request_duration_seconds_count", **posted) == 1
    assert more("http_received_bytes_total") == len(body)
    assert more("http_sent_bytes_total") > 1000
    assert more("slices_segmented_total") == len(example.grey)
    assert more("voxels_segmented_total") == example.grey.size
    assert more("slabs_segmented_total") == 3
    assert more("inference_requests_total", urgency="normal") == 3
    assert more("inference_batch_slices_sum", urgency="normal") == len(example.grey)
    assert more("inference_batch_duration_seconds_count", urgency="normal") == 3
    assert more("inference_batch_slices_bucket", urgency="normal", le="4.0") == 3
    assert all(more("slab_stage_seconds_total", activity=name) > 0 for name in ("read", "infer", "write"))
    assert more("scans_ended_total", outcome="succeeded") == 1
    assert more("scan_duration_seconds_count", priority="normal") == 1
    assert more("scans", state="succeeded") == 1
    assert after("scan_queue_depth", priority="normal") == 0 == after("scan_queue_oldest_seconds", priority="normal")
    assert after("database_up") == 1


def test_templates_and_not_addresses_are_labels(server: RunningServer) -> None:
    """A thousand scans make one series; what nothing answers is one series too, and methods are a closed list."""
    for _ in range(3):
        server.get(f"/v1/scans/{uuid.uuid4().hex}")
        server.get(f"/{uuid.uuid4().hex}")
        server.http.request(f"X{uuid.uuid4().hex[:5].upper()}", server.url + "/v1/scans")
    metrics = Metrics.of(server.url)
    assert metrics("http_requests_total", method="GET", route="/v1/scans/{scan_id}", status="404") >= 3
    assert metrics("http_requests_total", method="GET", route="unmatched", status="404") >= 3
    assert {label["method"] for label in metrics.labels("http_requests_total")} <= {
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other",
    }  # fmt: skip


@pytest.mark.process
def test_refusals_are_counted_by_reason(tmp_path: Path, model_dir: Path, example: Example) -> None:
    """Too large, of no known format, unknown: each by the slug of its problem."""
    server = RunningServer(tmp_path, model_dir, upload_limit_bytes=100).start()
    try:
        assert server.post(example.path, "fish.nii.gz").status_code == 413
        assert server.post(b"no scan", "fish.nii").status_code == 415
        metrics = Metrics.of(server.url)
        assert metrics("requests_refused_total", status="413", reason="too-large") == 1
        assert metrics("requests_refused_total", status="415", reason="unknown-format") == 1
    finally:
        server.end()


@pytest.mark.process
def test_what_waits_and_what_the_server_is(tmp_path: Path, model_dir: Path, example: Example) -> None:
    """Without a worker, scans wait: their number and age by priority; the model, disks and uploads are there too."""
    server = RunningServer(tmp_path, model_dir, concurrent_scans=0).start()
    try:
        server.post(example.path, "a.nii.gz", priority="backlog")
        server.post(example.path, "b.nii.gz", priority="backlog")
        cancelled = server.post(example.path, "c.nii.gz").json()["id"]
        server.http.post(f"{server.url}/v1/scans/{cancelled}/cancel").raise_for_status()
        tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "10"}
        assert server.http.post(f"{server.url}/v1/uploads", headers=tus).status_code == 201
        server.until(lambda: Metrics.of(server.url)("scan_queue_oldest_seconds", priority="backlog") > 1)
        metrics = Metrics.of(server.url)
        assert metrics("scan_queue_depth", priority="backlog") == 2
        assert metrics("scans", state="queued") == 2 and metrics("scans", state="cancelled") == 1
        assert metrics("scans_ended_total", outcome="cancelled") == 1
        assert metrics("uploads_in_progress", kind="resumable") == 1
        (model,) = metrics.labels("model_info")
        ran = (model["name"], model["provider"], model["engine"])
        assert ran == ("thresholds", "CPUExecutionProvider", "onnxruntime")
        assert model["sha256"] == server.get("/v1/model").json()["sha256"]
        for folder in ("store", "scratch"):
            assert 0 < metrics("disk_free_bytes", folder=folder) < metrics("disk_size_bytes", folder=folder)
    finally:
        server.end()


def test_a_worker_has_metrics_of_its_own(tmp_path: Path, model_dir: Path, example: Example, postgresql: str) -> None:
    """What a worker segments is counted where it is asked, on a port of its own; the queue by every process."""
    common = {"database_url": new_postgresql_database(postgresql), "threads": 1, "batch_size": 4}
    server = forked.server(tmp_path, model=model_dir, concurrent_scans=0, **common)
    worker = forked.worker(tmp_path, name="gpu-1", store=tmp_path / "store", metrics_port=0, **common)
    try:
        server.start()
        worker.start()
        found = re.search(r"event=metrics address=(http://\S+)/metrics", worker.log.read_text())
        assert found, worker.log.read_text()
        with httpx.Client(base_url=server.url, trust_env=False) as http:
            posted = http.post("/v1/scans", params={"filename": "a.nii.gz"}, content=example.path.read_bytes())
            servers.wait_until_ended(http, posted.json()["id"])
        assert Metrics.of(found.group(1))("slices_segmented_total") == len(example.grey)
        assert Metrics.of(server.url)("slices_segmented_total") == 0
        assert Metrics.of(server.url)("scans", state="succeeded") == 1
        taken = {**common, "metrics_port": server.url.rpartition(":")[2]}
        with pytest.raises(servers.DidNotStart, match=r"RICEFISH_METRICS_PORT is .* already in use"):
            forked.worker(tmp_path, name="gpu-2", store=tmp_path / "store", **taken).start()
        assert worker.stop() == 0
        assert re.search(r"event=stopped worker=gpu-1 seconds=\S+$", worker.log.read_text().rstrip())
    finally:
        worker.kill()
        server.kill()


def test_two_applications_in_one_process_count_apart(tmp_path: Path, model_dir: Path) -> None:
    """create_app can be called again: nothing is registered for the whole process."""
    first, second = (create_app(Settings(model=str(model_dir), store=str(tmp_path / name))) for name in "ab")
    first.state.telemetry.model_swapped("student")
    expected = 'ricefish_model_swaps_total{model="student"} 1.0'
    assert expected in first.state.telemetry.exposition().decode()
    assert expected not in second.state.telemetry.exposition().decode()


def test_what_models_report_is_counted() -> None:
    """Swaps, refusals, drift, quality and the agreement of a shadow."""
    telemetry = telemetry_of_process()
    telemetry.model_swapped("ricefish")
    telemetry.model_refused("ricefish", reason="golden")
    telemetry.departed(Departure("spacing", "Too wide.", "0.2", "0.1"), model="ricefish")
    telemetry.slab_judged(replace(Judgement.empty(1), good=(0.55, 0.1), organ_voxels=(7, 0)), model="ricefish")
    telemetry.shadow_agreed("heart", 0.93, model="ricefish")
    metrics = Metrics(telemetry.exposition().decode())
    assert metrics("model_swaps_total", model="ricefish") == 1
    assert metrics("model_refusals_total", model="ricefish", reason="golden") == 1
    assert metrics("drift_warnings_total", model="ricefish", code="spacing") == 1
    assert metrics("slice_good_probability_bucket", model="ricefish", le="0.6") == 1
    assert metrics("slice_good_probability_bucket", model="ricefish", le="0.5") == 0
    assert metrics("shadow_agreement_dice_sum", model="ricefish", organ="heart") == pytest.approx(0.93)
    assert {label["urgency"] for label in metrics.labels("inference_requests_total")} == {
        urgency.name.lower() for urgency in Urgency
    }


def test_a_request_has_an_id_that_the_log_of_its_scan_begins_with(server: RunningServer, example: Example) -> None:
    """The sender's id comes back and stands in the lines that the request caused; one that is no id is replaced."""
    named = f"facility:{uuid.uuid4().hex}"
    answer = server.http.post(
        f"{server.url}/v1/scans",
        params={"filename": "fish.nii.gz", "fresh": "true"},
        content=example.path.read_bytes(),
        headers={"X-Request-ID": named},
    )
    assert answer.headers["x-request-id"] == named
    scan_id = answer.json()["id"]
    server.until_ended(scan_id)
    lines = [line for line in server.log.splitlines() if f"request={named}" in line]
    assert [re.search(r"event=(\S+)", line).group(1) for line in lines] == [
        "upload_received", "scan_accepted", "request",
    ]  # fmt: skip
    assert f"scan={scan_id}" in lines[1]
    for refused in ("a b", "x" * 200, 'a"b', "ü"):
        own = server.http.get(f"{server.url}/v1/scans", headers={"X-Request-ID": refused.encode()})
        assert re.fullmatch(r"[0-9a-f]{32}", own.headers["x-request-id"])


@pytest.mark.process
def test_the_slow_model_shows_in_the_queue(tmp_path: Path, example: Example) -> None:
    """Slices that wait for the device are counted while they do."""
    server = RunningServer(tmp_path, write_model(tmp_path / "slow", rounds=60), batch_size=1).start()
    try:
        for name in "ab":
            server.post(example.path, f"{name}.nii.gz")
        server.until(lambda: Metrics.of(server.url)("inference_queue_slices", urgency="normal") > 0)
    finally:
        server.end()


def test_alerts_and_the_page_for_who_is_woken_name_what_there_is(server: RunningServer, example: Example) -> None:
    """Each metric of a rule or of docs/on-call.md is exported, each of ours is explained, each alert has a section."""
    server.until_ended(server.post(example.path, "fish.nii.gz").json()["id"])  # some are known from the first scan on
    server.until(lambda: "ricefish_scan_queue_work_seconds" in server.get("/metrics").text)
    exported = {family.name for family in text_string_to_metric_families(server.get("/metrics").text)}
    exported |= {f"{name}_total" for name in exported}
    page = (REPOSITORY / "docs" / "on-call.md").read_text(encoding="utf-8")
    rules = yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    used = {name for rule in alerts for name in re.findall(r"ricefish_[a-z_]+", rule["expr"])}
    explained = set(re.findall(r"`(ricefish_[a-z_]+)`", page))
    gpus = {name for name in explained | used if name.startswith("ricefish_device_")}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} - exported - gpus == set()
    assert explained - exported - gpus == set()
    ours = {name for name in exported if name.startswith("ricefish_")}
    assert {name for name in ours if not {name, f"{name}_total", name.removesuffix("_total")} & explained} == set()
    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in alerts]
    assert all(rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"] for rule in alerts)
