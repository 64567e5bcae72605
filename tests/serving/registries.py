"""Registries: MLflow's in a SQLite file or behind a real `mlflow server`, with tiny models and no torch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from scans.registry.champion import EVALUATION_FILE, EVALUATION_RUN, HISTORY, evaluation_folder
from scans.registry.gate import GateLimits
from tests.tracking_stores import write_store

NAME = "ricefish"
CHAMPION = f"models:/{NAME}@champion"
LIMITS = GateLimits(least_mean_dice=0.5, greatest_mean_loss=0.0, greatest_organ_loss=0.03)
_MLFLOW = "mlflow.server.fastapi_app:app"


class SmallRegistry:
    """Registers model folders as versions of one model, and moves its aliases."""

    def __init__(self, uri: str, *, artifacts: Path | None) -> None:
        """`artifacts` is where files go; None: where the server says."""
        self.uri = uri
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's and SQLAlchemy's own
            import mlflow
            from mlflow import MlflowClient

            mlflow.set_tracking_uri(uri)  # where it looks for models that are registered by their own address
            mlflow.set_registry_uri(uri)
            self._client: Any = MlflowClient(tracking_uri=uri, registry_uri=uri)
            location = None if artifacts is None else artifacts.as_uri()
            self._experiment = self._client.create_experiment("models", artifact_location=location)
            self._client.create_registered_model(NAME)

    def register(self, folder: Path) -> str:
        """The number of the new version."""
        run = self._client.create_run(self._experiment)
        logged = self._client.create_logged_model(self._experiment, name=NAME, source_run_id=run.info.run_id)
        self._client.log_model_artifacts(logged.model_id, str(folder))
        self._client.finalize_logged_model(logged.model_id, "READY")
        source = f"models:/{logged.model_id}"
        return str(self._client.create_model_version(NAME, source, model_id=logged.model_id).version)

    def evaluate(
        self,
        version: str,
        *volumes: Mapping[str, float],
        limits: GateLimits = LIMITS,
        data: str = "first data",
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Notes with a version what `register` notes: Dice of each organ in each validation volume, and limits."""
        organs = [{organ: {"dice": dice, "iou": dice} for organ, dice in one.items()} for one in volumes]
        content = {"student": {"volumes": {f"fish_{at}": {"organs": one} for at, one in enumerate(organs)}}}
        run = self._client.create_run(self._experiment).info.run_id
        self._client.log_dict(run, content, f"{evaluation_folder(int(version))}/{EVALUATION_FILE}")
        for key, value in {EVALUATION_RUN: run, "data_sha256": data, **limits.tags, **tags}.items():
            self._client.set_model_version_tag(NAME, version, key, value)

    def tags(self, version: str) -> dict[str, str]:
        """Of a version."""
        return dict(self._client.get_model_version(NAME, version).tags)

    def untag(self, version: str, key: str) -> None:
        """Removes a tag of a version."""
        self._client.delete_model_version_tag(NAME, version, key)

    def log_parameters(self, run: str, **values: object) -> None:
        """Of a run, as the stage that registers logs its section of params.yaml."""
        for key, value in values.items():
            self._client.log_param(run, key, value)

    def model_tags(self) -> dict[str, str]:
        """Of the model, whichever version."""
        return dict(self._client.get_registered_model(NAME).tags)

    def forget_history(self) -> None:
        """Nothing was champion before."""
        self._client.set_registered_model_tag(NAME, HISTORY, "[]")

    def at(self, alias: str = "champion") -> str | None:
        """The version that an alias points at."""
        found = self._client.get_registered_model(NAME).aliases.get(alias)
        return None if found is None else str(found)

    def point(self, version: str, *, alias: str = "champion") -> None:
        """Moves an alias."""
        self._client.set_registered_model_alias(NAME, alias, version)

    def forget(self, *, alias: str = "champion") -> None:
        """Removes an alias."""
        self._client.delete_registered_model_alias(NAME, alias)

    def announce(self, url: str, secret: str) -> None:
        """Has the registry tell a server of moved aliases."""
        events = ["model_version_alias.created", "model_version_alias.deleted"]
        self._client.create_webhook("server", url, events, secret=secret)


def sqlite_registry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> SmallRegistry:
    """One in a file of its own, which MLFLOW_TRACKING_URI names from now on: MLflow looks there as well."""
    uri = f"sqlite:///{write_store(folder / 'mlflow.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return SmallRegistry(uri, artifacts=folder / "artifacts")


class RegistryServer:
    """What `mlflow server` runs, as a process of its own, on a port that it keeps; stop it and start it again.

    Its command would import all of MLflow once more, only to start this process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        database = write_store(folder / "mlflow.db")
        self._environment = {
            **os.environ,
            # as `mlflow server` tells it
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{database}",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
            "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # a new webhook is seen at once
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "3fkR4dq1n8xr3E4cRZo0kS3s0wq1oQyN1m1sJx0bJ2Q=",
        }

    def start(self) -> RegistryServer:
        command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(self._port), _MLFLOW]
        with (self._folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 300
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, (
                self._folder / "mlflow.log"
            ).read_text()
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        """At once, with the processes that it has started."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait(60)
            self._process = None

    def signal(self, number: int) -> None:
        """To all of its processes."""
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


def free_port() -> int:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
