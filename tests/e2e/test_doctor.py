"""`ricefish doctor` finds what would keep a server from its work, says what to do, and leaves nothing behind."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from harness.postgresql import new_postgresql_database, postgresql_server
from ricefish.cli.app import app
from scans.model.manifest import MODEL_FILE
from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.served import Models
from serving.process.diagnosis.machine import disks, open_files
from tests.serving.models import write_model
from tests.serving.running import RunningServer

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[2]


Doctor = Callable[..., tuple[int, Any]]
OPTIONS = ("doctor", "--json", "--scan-gb", "0.01")


def environment_of(folder: Path) -> dict[str, str]:
    return {"RICEFISH_DEVICE": "cpu", "RICEFISH_STORE": str(folder / "store"), "RICEFISH_PORT": "0"}


def doctor(folder: Path, *options: str) -> tuple[int, Mapping[str, dict[str, Any]]]:
    """Exit status, and the findings by name, of the command as a process."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RICEFISH_")},
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
        **environment_of(folder),
    }
    command = [sys.executable, "-m", "ricefish", *OPTIONS, *options]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, findings_of(done.stdout, ok=done.returncode == 0)


@pytest.fixture
def doctor_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """The same in this process, which has imported MLflow and ONNX Runtime once; with settings."""
    monkeypatch.setattr("serving.observability.logs.configure", lambda _level: None)
    monkeypatch.chdir(tmp_path)
    outside = {name: None for name in os.environ if name.startswith("RICEFISH_")}

    def run(*options: str, **settings: str) -> tuple[int, Any]:
        runner = CliRunner(env={**outside, **environment_of(tmp_path), **settings})
        ended = runner.invoke(app, [*OPTIONS, *options])
        return ended.exit_code, findings_of(ended.stdout, ok=ended.exit_code == 0)

    return run


def findings_of(printed: str, *, ok: bool) -> Mapping[str, dict[str, Any]]:
    report = json.loads(printed)
    assert report["ok"] == ok
    return {finding["name"]: finding for finding in report["findings"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def test_a_sound_installation_passes(tmp_path: Path, model: Path) -> None:
    """Every look says what it found, and nothing is made where there is no store yet; the table says it too."""
    status, findings = doctor(tmp_path, "--model", str(model))
    assert status == 0, findings
    assert list(findings) == [
        "settings", "open files", "device", "ONNX Runtime", "disk", "port", "certificate", "store",
        "database", "clock", "registry", "model",
    ]  # fmt: skip
    assert findings["model"]["found"].endswith(
        "hash and golden slice agree, on CPUExecutionProvider in float32 by onnxruntime (not measured)"
    )
    assert "fsync" in findings["store"]["found"] and "commit" in findings["database"]["found"]
    assert "0.0 s" in findings["clock"]["found"]
    assert list(tmp_path.iterdir()) == []
    assert "which a server makes" in findings["store"]["found"]
    command = [sys.executable, "-m", "ricefish", "doctor", "--model", str(model), str(tmp_path / "store")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", "RICEFISH_PORT": "0"}
    shown = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert "golden slice agree" in shown and shown.count("OK") >= 7


def test_what_was_measured_is_told(
    tmp_path: Path, model: Path, doctor_here: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server that was started here has chosen, and among what; the golden slice is compared by that very one."""
    rates = {"onnxruntime": 20.0, "openvino": 31.0}
    monkeypatch.setattr("serving.inference.tuning._slices_per_second", lambda runtime, *_: rates[runtime.engine])
    tuner = Tuner(tmp_path / "store" / "scratch", overrides=TuningOverrides(threads=1, batch_size=0))
    (tmp_path / "store" / "scratch").mkdir(parents=True)
    Models(tmp_path / "store" / "models", device="cpu", tuner=tuner).serve(str(model))
    _, findings = doctor_here("--model", str(model), RICEFISH_THREADS="1")
    assert findings["model"]["found"].endswith(
        "in float32 by openvino, 1 x 1 threads (float32 by onnxruntime: 20/s; float32 by openvino: 31/s)"
    )


def test_it_may_look_while_a_server_runs(tmp_path: Path, model: Path) -> None:
    """On the very store and database of a server, which goes on undisturbed."""
    server = RunningServer(tmp_path, model).start()
    try:
        status, findings = doctor(tmp_path, "--model", str(model))
        assert status == 0, findings
        assert server.get("/health/ready").status_code == 200
    finally:
        assert server.end() == 0


def test_what_is_wrong_fails_with_advice(tmp_path: Path, doctor_here: Doctor) -> None:
    """A setting's slip; a damaged model; a store that is a file; a database and a registry that do not answer."""
    status, findings = doctor_here(RICEFISH_SLAB_SLICE="8")
    assert status == 1 and "did you mean RICEFISH_SLAB_SLICES" in findings["settings"]["found"]
    damaged = write_model(tmp_path / "damaged")
    with (damaged / MODEL_FILE).open("ab") as file:
        file.write(b"\0")
    (tmp_path / "file").write_bytes(b"")
    status, findings = doctor_here(
        "--model",
        str(damaged),
        RICEFISH_STORE=str(tmp_path / "file" / "store"),
        RICEFISH_SCRATCH=str(tmp_path),
        RICEFISH_DATABASE_URL="postgresql://nobody:secret@127.0.0.1:9/none",
    )
    assert status == 1
    failed = {name for name, finding in findings.items() if finding["level"] == "FAIL"}
    assert failed == {"store", "database", "clock", "model"}
    assert "SHA-256" in findings["model"]["found"]
    assert "cannot be written" in findings["store"]["found"]
    assert "RICEFISH_DATABASE_URL" in findings["database"]["advice"]
    assert "secret" not in json.dumps(findings)
    assert all(finding["advice"] for name, finding in findings.items() if name in failed)
    status, findings = doctor_here("--model", "models:/ricefish@champion", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert status == 1 and findings["registry"]["level"] == "FAIL"
    assert "MLFLOW_TRACKING_URI" in findings["registry"]["advice"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_postgresql_and_s3_are_looked_at_as_well(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, doctor_here: Doctor
) -> None:
    """Latencies of both, and that the bucket keeps to the conditions that fences rest on."""
    with postgresql_server() as uri, bucket(monkeypatch) as endpoint:
        status, findings = doctor_here(
            "--model",
            str(model),
            RICEFISH_DATABASE_URL=new_postgresql_database(uri),
            RICEFISH_STORE="s3://fish/prefix",
            RICEFISH_SCRATCH=str(tmp_path / "scratch"),
            RICEFISH_S3_ENDPOINT=endpoint,
        )
    assert status == 0, findings
    assert "conditional put" in findings["store"]["found"]
    assert "postgresql://" in findings["database"]["found"] and "the database's clock" in findings["clock"]["found"]


@pytest.mark.parametrize(("ahead", "level"), [(0, "OK"), (20, "WARN"), (-3600, "FAIL")])
def test_the_registrys_clock_is_compared(doctor_here: Doctor, ahead: int, level: str) -> None:
    """By the Date header of what answers at MLFLOW_TRACKING_URI."""
    with registry(ahead=ahead) as uri:
        _, findings = doctor_here("--model", "models:/ricefish@champion", MLFLOW_TRACKING_URI=uri)
    assert findings["registry"]["level"] == level, findings["registry"]
    assert findings["model"]["level"] == "FAIL"


def test_a_full_disk_and_few_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk by the size of a scan; the limit of open files by what a server needs."""
    assert disks({"store": tmp_path}, scan_bytes=1).level.value == "OK"
    full = disks({"store": tmp_path / "not" / "there"}, scan_bytes=10**15)
    assert full.level.value == "FAIL" and "free" in full.found and full.advice
    for limit, level in ((100, "FAIL"), (1024, "WARN"), (65536, "OK")):
        monkeypatch.setattr("resource.getrlimit", lambda _, limit=limit: (limit, 1 << 20))
        assert open_files().level.value == level


@contextmanager
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 with the bucket `fish`; gives its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    address = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="fish")
    try:
        yield address
    finally:
        server.stop()


@contextmanager
def registry(*, ahead: int) -> Iterator[str]:
    """Something that answers /health like MLflow, with a clock that is off, and knows no model."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + ahead, usegmt=True)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
