"""The MLflow store that training writes and serving reads: where it is, and how its client is to behave."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

TRACKING_URI = "MLFLOW_TRACKING_URI"
"""The variable that names the store."""
DATABASE_FILE = Path("mlflow.db")
"""The store in the working directory where the variable names none."""

_SQLITE = "sqlite:///"
_CLIENT_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default tries for minutes
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else the absolute address of mlflow.db in the working directory, be it there or not."""
    return os.environ.get(TRACKING_URI) or f"sqlite:///{DATABASE_FILE.absolute()}"


class NoStore(FileNotFoundError):
    """The store is a file that does not exist; the message names it and says where one might be."""


def require_store() -> None:
    """Raises NoStore where the store is a SQLite file that is not there, which MLflow would make: a look makes none.

    Raises ModuleNotFoundError where there is no MLflow to look with.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")
    database = Path(tracking_uri().removeprefix(_SQLITE))
    if tracking_uri().startswith(_SQLITE) and not database.exists():
        raise NoStore(
            f"{database} does not exist; run this in the folder where the pipeline ran, or set {TRACKING_URI} to the "
            f"store's address"
        )


def set_up_client(settings: Mapping[str, str]) -> None:
    """Puts MLflow's settings into the environment, before it is imported; what stands there already stays.

    `settings` are the caller's own, such as how long to wait for an answer.
    """
    for name, value in {**_CLIENT_SETTINGS, **settings}.items():
        os.environ.setdefault(name, value)
