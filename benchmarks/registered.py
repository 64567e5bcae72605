"""Registered: models of the benchmarks as versions in an MLflow registry of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scans.tracking import TRACKING_URI
from training.tracking import runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "ricefish"
CHAMPION = f"models:/{NAME}@champion"


@dataclass(frozen=True)
class Registered:
    """A registry with the versions 1, 2, ... of one model."""

    client: MlflowClient
    models: dict[str, Path]
    """Folders by version."""

    def champion(self, version: str) -> None:
        """Moves the alias."""
        self.client.set_registered_model_alias(NAME, "champion", version)


@contextmanager
def registered(folder: Path, models: Sequence[Path]) -> Iterator[Registered]:
    """A registry in a file below `folder`, which MLFLOW_TRACKING_URI names for as long as the context lasts."""
    before = os.environ.get(TRACKING_URI)
    os.environ[TRACKING_URI] = f"sqlite:///{folder}/mlflow.db"
    try:
        client = runs.connect()
        experiment = client.create_experiment("models", artifact_location=(folder / "artifacts").as_uri())
        client.create_registered_model(NAME)
        made = Registered(client, {_version(client, experiment, model): model for model in models})
        made.champion("1")
        yield made
    finally:
        if before is None:
            del os.environ[TRACKING_URI]
        else:
            os.environ[TRACKING_URI] = before


def _version(client: MlflowClient, experiment: str, folder: Path) -> str:
    run = client.create_run(experiment)
    logged = client.create_logged_model(experiment, name=NAME, source_run_id=run.info.run_id)
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    source = f"models:/{logged.model_id}"
    return str(client.create_model_version(NAME, source, model_id=logged.model_id).version)
