"""A candidate runs beside the champion on a server, and the gate says what came of it: a real server and registry."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from ricefish.cli.models import app
from scans.model.shadow_agreement import TAG, ShadowAgreement
from tests.serving.models import write_model
from tests.serving.running import RunningServer
from tests.tracking_stores import write_store

pytestmark = pytest.mark.process

if TYPE_CHECKING:
    from mlflow import MlflowClient

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Version 1 of `fish` is the champion, version 2 the candidate."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{write_store(tmp_path / 'mlflow.db')}")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.chdir(tmp_path)
    from mlflow import MlflowClient

    client = MlflowClient()
    run = client.create_run("0")
    client.create_registered_model("fish")
    for alias, thresholds in (("champion", (0.4, 0.7)), ("candidate", (0.5, 0.8))):
        logged = client.create_logged_model("0", name="fish", source_run_id=run.info.run_id)
        client.log_model_artifacts(logged.model_id, str(write_model(tmp_path / alias, thresholds=thresholds)))
        client.finalize_logged_model(logged.model_id, "READY")
        version = client.create_model_version("fish", f"models:/{logged.model_id}", model_id=logged.model_id)
        client.set_registered_model_alias("fish", alias, version.version)
    return client


@pytest.mark.filterwarnings("default")  # MLflow's and SQLAlchemy's own
def test_what_a_shadow_found_stands_in_the_verdict(registry: MlflowClient, tmp_path: Path) -> None:
    """One scan, by hand: heart 2 x 20 / (30 + 26) = 0.7143, eye 2 x 14 / (20 + 14) = 0.8235, mean 0.7689.

    The tag comes while the server runs; the line decides nothing: the gate says no for want of an evaluation.
    """
    grey = np.zeros(4 * 8 * 8, np.int16)
    grey[:50] = np.repeat([45, 60, 75, 90, 100], [10, 20, 6, 12, 2])
    scan = tmp_path / "fish.nii.gz"
    nib.save(nib.Nifti1Image(grey.reshape(4, 8, 8).T, np.eye(4)), scan)
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    server = RunningServer(
        tmp_path, "models:/fish@champion", shadow="models:/fish@candidate", shadow_share=1, slab_slices=2
    )
    server.start()
    try:
        server.post(scan, "fish.nii.gz")
        server.until(lambda: "event=shadow_published model=fish version=2 compared=1" in server.log)
        found = ShadowAgreement.from_tag(registry.get_model_version("fish", "2").tags[TAG])
        assert (found.champion_name, found.champion_version, found.scans) == ("fish", "1", 1)
        assert found.dice == {"heart": pytest.approx(0.7143), "eye": pytest.approx(0.8235)}
        assert TAG not in registry.get_model_version("fish", "1").tags
        (pair,) = server.get("/v1/models/shadow").json()["comparisons"]
        assert [pair[model]["version"] for model in ("champion", "shadow")] == ["1", "2"]
    finally:
        server.end(signal.SIGTERM)
    line = "shadow: agreement with champion version 1 over 1 scan: mean Dice 0.7689, worst organ heart 0.7143"
    refused = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["promote", "fish"])
    assert (refused.exit_code, line in refused.output) == (1, True), refused.output
    assert "fish version 2 was not promoted" in refused.output
    forced = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["promote", "fish", "--force", "it is better"])
    assert (forced.exit_code, line in forced.output) == (0, True), forced.output
