"""The MLflow server of compose.yaml, with the very flags and settings that stand there, on real PostgreSQL and S3."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml
from moto.server import ThreadedMotoServer
from sqlalchemy import make_url

from harness.postgresql import new_postgresql_database, postgresql_server

REPOSITORY = Path(__file__).resolve().parents[2]
PASSWORD = "of the test alone"  # noqa: S105
START_SECONDS = 400
pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Places:
    """Where this machine has what compose.yaml names by its services."""

    database: str
    users: str
    s3: str
    port: int


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    s3 = f"http://127.0.0.1:{moto.get_host_and_port()[1]}"
    boto3.client("s3", endpoint_url=s3, region_name="us-east-1").create_bucket(Bucket="mlflow")
    try:
        with postgresql_server() as server:
            databases = [
                make_url(new_postgresql_database(server))
                .set(drivername="postgresql+psycopg")
                .render_as_string(hide_password=False)
                for _ in range(2)
            ]
            yield Places(*databases, s3, free_port())
    finally:
        moto.stop()


def here(text: str, places: Places) -> str:
    """What compose.yaml says, with this machine's addresses in the place of its services'."""
    for there, local in (
        ("postgresql+psycopg://mlflow@postgres/mlflow_users", places.users),
        ("postgresql+psycopg://mlflow@postgres/mlflow", places.database),
        ("http://s3:8333", places.s3),
        ("--host=0.0.0.0", "--host=127.0.0.1"),
        ("--port=5000", f"--port={places.port}"),
    ):
        text = text.replace(there, local)
    assert not re.search(r"@postgres|//s3:", text), text
    return text


@contextmanager
def mlflow_of_compose(places: Places, folder: Path) -> Iterator[str]:
    service: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]["mlflow"]
    users = folder / "basic_auth.ini"
    users.write_text(here((REPOSITORY / "deploy/compose/basic_auth.ini").read_text(), places).replace("%", "%%"))
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    environment = {name: here(value, places) for name, value in service["environment"].items()}
    environment |= {name: str(secret) for name in environment if name.endswith("_FILE")}
    credentials = folder / "s3_credentials"
    credentials.write_text("[default]\naws_access_key_id = of-the-file\naws_secret_access_key = of-the-file\n")
    environment["AWS_SHARED_CREDENTIALS_FILE"] = str(credentials)
    environment["MLFLOW_AUTH_CONFIG_PATH"] = str(users)
    environment["PYTHONWARNINGS"] = "ignore"
    program = [Path(sys.executable).parent / service["entrypoint"][-1]]
    command = [
        "sh",
        REPOSITORY / "deploy/compose/with-secrets",
        *program,
        *(here(c, places) for c in service["command"]),
    ]
    with (folder / "mlflow.log").open("w") as log:
        process = subprocess.Popen(
            command,
            env={**{name: value for name, value in os.environ.items() if not name.startswith("AWS_")}, **environment},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{places.port}"
    try:
        _until_healthy(url, process, folder / "mlflow.log")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


def test_mlflow_wants_its_password_and_keeps_models_in_s3(places: Places, tmp_path: Path) -> None:
    """Nobody reads without it; with it an artifact goes through the server into the bucket; other hosts are refused."""
    with mlflow_of_compose(places, tmp_path) as url:
        found = f"{url}/api/2.0/mlflow/experiments/get-by-name"
        asked = {"experiment_name": "Default"}
        assert httpx.get(found, params=asked).status_code == 401
        assert httpx.get(found, params=asked, auth=("admin", "password1234")).status_code == 401
        with httpx.Client(base_url=url, auth=("admin", PASSWORD), timeout=60) as client:
            assert client.get(found, params=asked).json()["experiment"]["name"] == "Default"
            assert client.get(found, params=asked, headers={"Host": "mlflow:5000"}).status_code == 200
            assert client.get(found, params=asked, headers={"Host": "evil.example"}).status_code == 403
            put = client.put("/api/2.0/mlflow-artifacts/artifacts/0/fish/artifacts/model.onnx", content=b"a model")
            assert put.status_code == 200, (tmp_path / "mlflow.log").read_text()[-5000:]
    s3 = boto3.client("s3", endpoint_url=places.s3, region_name="us-east-1")
    assert s3.get_object(Bucket="mlflow", Key="0/fish/artifacts/model.onnx")["Body"].read() == b"a model"
