"""What is known of a registered model: with which run its figures stand, and how a version is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ricefish.cli.models import app
from scans.model.manifest import ModelManifest
from scans.registry.gate import GateLimits
from tests.serving.models import write_classifier, write_model
from tests.serving.registries import sqlite_registry
from training.registry.versions import Registry
from training.tracking import runs

LIMITS = GateLimits(least_mean_dice=0.0, greatest_mean_loss=0.0, greatest_organ_loss=0.03)


@pytest.mark.slow
def test_figures_are_not_the_parents_and_a_version_shows_whence_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of a reproduction shows the model, and keeps the few figures by which runs are compared."""
    sqlite_registry(tmp_path, monkeypatch)
    student, quality = write_model(tmp_path / "student"), write_classifier(tmp_path / "quality")
    (tmp_path / "evaluate.json").write_text("{}")
    client = runs.connect()
    experiment = client.create_experiment("figures", artifact_location=(tmp_path / "runs").as_uri())
    parent, child = (client.create_run(experiment).info.run_id for _ in range(2))
    version = Registry("figures").register(
        student, quality, evaluation=tmp_path / "evaluate.json", run_id=child, parent_id=parent, limits=LIMITS
    )
    shown = client.get_run(parent)
    assert (version.run_id, shown.data.metrics, len(shown.outputs.model_outputs)) == (parent, {}, 1)
    figures = {runs.allowed_name(name): value for name, value in ModelManifest.read(student).metrics.items()}
    assert client.get_run(child).data.metrics == figures
    assert figures
    narrow = CliRunner(env={"COLUMNS": "30"})
    for arguments in ([], ["--version", "1"]):
        said = narrow.invoke(app, ["show", "figures", *arguments]).output
        known = ("figures version 1", "candidate", parent, *version.tags.values())
        assert [what for what in known if what not in said] == []
    found = json.loads(narrow.invoke(app, ["show", "figures", "--json"]).output)
    assert (found["version"], found["run"], found["mean_dice"]) == (1, parent, 0.5)
    assert "has no version 7; there are 1" in narrow.invoke(app, ["show", "figures", "--version", "7"]).output
