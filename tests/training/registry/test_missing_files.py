"""A version whose files have moved is not shown as a healthy one, nor made the champion."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ricefish.cli.models import app
from tests.serving.models import write_model
from tests.serving.registries import NAME, SmallRegistry, sqlite_registry
from training.params import Register
from training.registry.promotion import promote
from training.registry.versions import ModelRegistryError, Registry

LIMITS = Register(model=NAME, least_mean_dice=0.0, greatest_mean_loss=0.0, greatest_organ_loss=0.03)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallRegistry:
    made = sqlite_registry(tmp_path, monkeypatch)
    made.register(write_model(tmp_path / "model"))
    made.register(write_model(tmp_path / "other", thresholds=(0.2, 0.5)))
    made.point("2", alias="candidate")
    return made


def gone(folder: Path) -> str:
    """Where the files of version 2 were; they are moved away."""
    other = (folder / "other" / "model.onnx").read_bytes()
    files = (folder / "artifacts").rglob("model.onnx")
    place = next(file.parent for file in files if file.read_bytes() == other)
    place.rename(folder / "elsewhere")
    return place.as_uri()


@pytest.mark.usefixtures("registry")
def test_a_list_says_which_files_are_missing(tmp_path: Path) -> None:
    """Status 1, where it looked, what to do, and for which version; with all files there, status 0 and no word."""
    shown = CliRunner().invoke(app, ["list", NAME])
    assert shown.exit_code == 0 and "missing" not in shown.output, shown.output
    place = gone(tmp_path)
    shown = CliRunner().invoke(app, ["list", NAME])
    assert shown.exit_code == 1
    assert f"the files of {NAME} version 2 are not at {place}" in shown.output
    assert "dvc repro register" in shown.output and "version 1 are not" not in shown.output


@pytest.mark.usefixtures("registry")
def test_a_version_without_files_is_not_promoted(tmp_path: Path) -> None:
    """Not as the first champion either, and not by force."""
    found = Registry(NAME)
    gone(tmp_path)
    for force in (None, "it is urgent"):
        with pytest.raises(ModelRegistryError, match=r"version 2 are not at .*dvc repro register"):
            promote(found, None, limits=LIMITS, force=force)
    assert found.at("champion") is None
    with pytest.raises(ModelRegistryError, match="are not at"):
        found.fetch(found.version(2), tmp_path / "fetched")
