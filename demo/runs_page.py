"""Where to look at the runs: the MLflow page of the pipeline that made the Student. Prints it when run by itself."""

from __future__ import annotations

from pathlib import Path

from scans.model.manifest import ModelManifest
from scans.tracking import tracking_uri
from training.tracking import runs

LOCAL_PAGE = "http://127.0.0.1:5000"
STUDENT_DIR = Path("models/student")


def runs_page() -> str:
    """The address of the run that the Student is from, and the command that serves it where MLflow is a local file."""
    uri = tracking_uri()
    remote = uri.startswith(("http://", "https://"))
    address = f"{uri.rstrip('/') if remote else LOCAL_PAGE}/#/{_run_path()}"
    return address if remote else f"{address}   (served by: make mlflow)"


def _run_path() -> str:
    client = runs.connect()
    run = client.get_run(ModelManifest.read(STUDENT_DIR).mlflow_run)
    parent = run.data.tags.get("mlflow.parentRunId", run.info.run_id)
    return f"experiments/{run.info.experiment_id}/runs/{parent}"


if __name__ == "__main__":
    print(runs_page())
