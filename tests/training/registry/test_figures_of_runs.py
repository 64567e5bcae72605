"""Where the figures of a registered model stand: with the run that registers; its parent is for the headline."""

from __future__ import annotations

from pathlib import Path

import pytest

from scans.model.manifest import ModelManifest
from tests.serving.models import write_classifier, write_model
from tests.serving.registries import sqlite_registry
from training.registry.versions import Registry
from training.tracking import runs


def test_figures_of_each_organ_are_not_the_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run of a reproduction shows the model, and keeps the few figures by which runs are compared."""
    sqlite_registry(tmp_path, monkeypatch)
    student, quality = write_model(tmp_path / "student"), write_classifier(tmp_path / "quality")
    (tmp_path / "evaluate.json").write_text("{}")
    client = runs.connect()
    experiment = client.create_experiment("figures", artifact_location=(tmp_path / "runs").as_uri())
    parent, child = (client.create_run(experiment).info.run_id for _ in range(2))
    version = Registry("figures").register(
        student, quality, evaluation=tmp_path / "evaluate.json", run_id=child, parent_id=parent
    )
    shown = client.get_run(parent)
    assert (version.run_id, shown.data.metrics, len(shown.outputs.model_outputs)) == (parent, {}, 1)
    figures = {runs.allowed_name(name): value for name, value in ModelManifest.read(student).metrics.items()}
    assert client.get_run(child).data.metrics == figures
    assert figures
