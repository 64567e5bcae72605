"""A model reaches the server through the MLflow registry, by alias and by version."""

from __future__ import annotations

from pathlib import Path

import pytest

from scans.model.manifest import MODEL_FILE, file_sha256
from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.served import ModelError, Models
from tests.serving.models import write_model
from tests.tracking_stores import write_store


@pytest.mark.filterwarnings("default")  # MLflow's and SQLAlchemy's own
def test_an_alias_and_a_version_name_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both load the registered file, byte for byte, and know its version; what is not there is named."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{write_store(tmp_path / 'mlflow.db')}")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.chdir(tmp_path)
    from mlflow import MlflowClient

    client = MlflowClient()
    run = client.create_run("0")
    client.create_registered_model("ricefish")
    logged = client.create_logged_model("0", name="ricefish", source_run_id=run.info.run_id)
    folder = write_model(tmp_path / "model")
    (folder / "quality").mkdir()
    (folder / "quality" / "manifest.json").write_text("{}")  # the Quality Classifier's, which is no business of ours
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.create_model_version("ricefish", f"models:/{logged.model_id}", model_id=logged.model_id)
    client.set_registered_model_alias("ricefish", "champion", "1")
    models = Models(
        tmp_path / "kept", device="cpu", tuner=Tuner(tmp_path, overrides=TuningOverrides(threads=1, batch_size=1))
    )
    for reference in ("models:/ricefish@champion", "models:/ricefish/1"):
        identity = models.serve(reference).identity
        assert (identity.name, identity.version) == ("ricefish", "1")
        assert identity.sha256 == file_sha256(folder / MODEL_FILE)
    with pytest.raises(ModelError, match=r"models:/ricefish@nobody: .*alias nobody not found"):
        models.serve("models:/ricefish@nobody")
    assert models.current.identity.version == "1"
