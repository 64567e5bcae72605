"""Where the MLflow store is, for both who write it and who read it."""

import os
from pathlib import Path

import pytest

from scans.tracking import TRACKING_URI, set_up_client, tracking_uri


def test_the_store_is_what_the_variable_names_or_a_file_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address is taken as it is; without one, or with an empty one, it is mlflow.db in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRACKING_URI, "http://127.0.0.1:9")
    assert tracking_uri() == "http://127.0.0.1:9"
    monkeypatch.setenv(TRACKING_URI, "")
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_settings_of_the_environment_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has set counts more than ours; what the caller says more than what all clients have."""
    monkeypatch.setattr(os, "environ", {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3"})
    set_up_client({"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"})
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
