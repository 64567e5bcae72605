"""The health check of the images: it asks the process beside it, and believes neither silence nor a refusal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.process.healthcheck import address
from tests.serving.models import write_model
from tests.serving.running import RunningServer

EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there: it is what the check is told


def asked(question: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a container engine runs it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RICEFISH_")}
    command = [sys.executable, "-m", "serving.process.healthcheck", question]
    return subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=False)


@pytest.mark.process
def test_a_server_with_tls_is_well_while_it_serves_and_not_after(tmp_path: Path) -> None:
    """With a certificate that nobody signed, for a name that is not loopback's, the answer still counts."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {certificate}"
    subprocess.run(["openssl", *made.split(), "-subj", "/CN=fish.example"], check=True, capture_output=True)
    tls = {"tls_certificate": str(certificate), "tls_key": str(key)}
    server = RunningServer(tmp_path, write_model(tmp_path / "model"), **tls).start()
    port = server.url.rpartition(":")[2]
    settings = {"RICEFISH_PORT": port, "RICEFISH_TLS_CERTIFICATE": str(certificate), "RICEFISH_HOST": EVERYWHERE}
    try:
        assert asked("ready", **settings).returncode == 0
        assert asked("live", **settings).returncode == 0
        in_clear_text = asked("ready", RICEFISH_PORT=port)
        assert in_clear_text.returncode == 1
    finally:
        server.end()
    after = asked("ready", **settings)
    assert after.returncode == 1 and "does not answer" in after.stderr


@pytest.mark.process
def test_a_server_that_is_not_ready_is_not_well(tmp_path: Path) -> None:
    """Its store is gone: alive, but not ready, and the reason is what the engine shows."""
    server = RunningServer(tmp_path, write_model(tmp_path / "model"), scratch=str(tmp_path / "scratch")).start()
    port = server.url.rpartition(":")[2]
    try:
        server.store.rename(tmp_path / "elsewhere")
        server.until(lambda: asked("ready", RICEFISH_PORT=port).returncode == 1)
        refused = asked("ready", RICEFISH_PORT=port)
        assert "answers 503" in refused.stderr and "store" in refused.stderr
        assert asked("live", RICEFISH_PORT=port).returncode == 0
    finally:
        (tmp_path / "elsewhere").rename(server.store)
        server.end()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "http://127.0.0.1:8000/health/ready"),
        ({"RICEFISH_HOST": EVERYWHERE, "RICEFISH_PORT": "81"}, "http://127.0.0.1:81/health/ready"),
        ({"RICEFISH_HOST": "::", "RICEFISH_TLS_CERTIFICATE": "c.pem"}, "https://[::1]:8000/health/ready"),
        ({"RICEFISH_HOST": "10.0.0.5"}, "http://10.0.0.5:8000/health/ready"),
    ],
)
def test_it_asks_where_the_server_listens(environment: dict[str, str], expected: str) -> None:
    """The settings of the server say where; what listens everywhere is asked on loopback."""
    assert address("ready", environment) == expected


@pytest.mark.process
def test_a_worker_is_asked_on_its_metrics_port() -> None:
    """A worker has no other port; without one, the answer says what to set."""
    assert address("metrics", {"RICEFISH_METRICS_PORT": "9100"}) == "http://127.0.0.1:9100/metrics"
    assert "set it, to 9100 say" in asked("metrics").stderr
    assert "give one of live, ready, metrics" in asked("lively").stderr
