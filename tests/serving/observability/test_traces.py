"""Traces reach an OpenTelemetry collector, from the request of a client down to each slab; off, nothing is sent."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from serving.observability.tracing import Tracing, TracingError
from tests.serving.conftest import Example
from tests.serving.running import RunningServer

TRACE, SENDER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """An OTLP collector on the loopback; gives its address, and the spans that have arrived."""
    spans: list[Span] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {a.key: a.value.string_value for a in resource.resource.attributes}
                assert names["service.name"] == "ricefish" and self.path == "/v1/traces"
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", spans
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.process
def test_a_scan_is_one_trace_from_its_sender_to_its_slabs(tmp_path: Path, model_dir: Path, example: Example) -> None:
    """The sender's traceparent is honoured; the scan is below the request that brought it, its slabs below the scan."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with collector() as (address, spans):
        server = RunningServer(tmp_path, model_dir, slab_slices=4, otlp_endpoint=address).start()
        answer = server.http.post(
            f"{server.url}/v1/scans",
            params={"filename": "fish.nii.gz"},
            content=example.path.read_bytes(),
            headers={"traceparent": f"00-{TRACE}-{SENDER}-01"},
        )
        scan_id = answer.json()["id"]
        server.until_ended(scan_id)
        assert server.end() == 0
    ours = [span for span in spans if span.trace_id.hex() == TRACE]
    (post,) = (span for span in ours if span.name == "POST /v1/scans")
    (scan,) = (span for span in ours if span.name == "scan")
    assert post.parent_span_id.hex() == SENDER and post.kind == Span.SPAN_KIND_SERVER
    assert scan.parent_span_id == post.span_id
    said = {attribute.key: attribute.value for attribute in post.attributes}
    assert said["http.response.status_code"].int_value == 202
    assert said["ricefish.request"].string_value == answer.headers["x-request-id"]
    for part in ("slab read", "slab infer", "slab write"):
        of_part = [span for span in ours if span.name == part]
        assert [a.value.int_value for span in of_part for a in span.attributes] == [0, 1, 2]
        assert all(span.parent_span_id == scan.span_id for span in of_part)
        assert all(scan.start_time_unix_nano <= span.start_time_unix_nano for span in of_part)
        assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in of_part)
    assert {span.name for span in spans if span.trace_id.hex() != TRACE} == {"GET /v1/scans/{scan_id}"}


@pytest.mark.process
def test_a_collector_that_is_away_harms_nothing(tmp_path: Path, model_dir: Path, example: Example) -> None:
    """Scans are segmented, and the server stops by itself."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    server = RunningServer(tmp_path, model_dir, otlp_endpoint="http://127.0.0.1:9").start()
    assert server.until_ended(server.post(example.path, "a.nii.gz").json()["id"])["state"] == "succeeded"
    assert server.end() == 0


def test_without_a_collector_nothing_is_traced(server: RunningServer, example: Example) -> None:
    """No span, and a scan that says nothing of one."""
    tracing = Tracing.to(None, instance="here")
    with tracing.span("scan", scan="a") as span:
        assert span is None and tracing.traceparent() is None
    headers = {"traceparent": f"00-{TRACE}-{SENDER}-01"}
    assert httpx.get(f"{server.url}/health/live", headers=headers, trust_env=False).status_code == 200


def test_a_missing_exporter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be installed stands in the message."""
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TracingError, match=r"RICEFISH_OTLP_ENDPOINT is set, but .* install ricefish\[telemetry\]"):
        Tracing.to("http://127.0.0.1:9", instance="here")
