"""A version whose files have moved is not shown as a healthy one, nor made the champion."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ricefish.cli.models import app
from scans.model.manifest import ModelManifest
from scans.registry.gate import GateLimits
from serving.models.registry import tag_version
from tests.serving.models import write_classifier, write_model
from tests.serving.registries import NAME, SmallRegistry, sqlite_registry
from training.registry.promotion import promote
from training.registry.versions import ModelRegistryError, Registry

pytestmark = pytest.mark.slow

LIMITS = GateLimits(least_mean_dice=0.0, greatest_mean_loss=0.0, greatest_organ_loss=0.03)


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


def folder_of(folder: Path, content: bytes) -> Path:
    """Where the version lies whose model is that."""
    return next(file.parent for file in (folder / "artifacts").rglob("model.onnx") if file.read_bytes() == content)


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of version 2, the candidate, lie; version 1 was champion before it. Both have a classifier."""
    made = sqlite_registry(tmp_path, monkeypatch)
    for name, thresholds in (("model", (0.4, 0.7)), ("other", (0.2, 0.5))):
        model = write_model(tmp_path / name, thresholds=thresholds)
        quality = write_classifier(model / "quality_classifier")
        tags = {"onnx_sha256": model, "quality_sha256": quality}
        number = made.register(model)
        for tag, folder in tags.items():
            tag_version(NAME, number, tag, ModelManifest.read(folder).model_sha256)
    made.point("2", alias="candidate")
    return folder_of(tmp_path, (tmp_path / "other" / "model.onnx").read_bytes())


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an empty model": (lambda at: (at / "model.onnx").write_bytes(b""), "model.onnx is empty"),
    "half a manifest": (lambda at: (at / "manifest.json").write_text("{"), "manifest.json is not JSON"),
    "no classifier": (lambda at: shutil.rmtree(at / "quality_classifier"), "classifier/manifest.json is not there"),
    "half a classifier": (lambda at: (at / "quality_classifier" / "model.onnx").unlink(), "model.onnx is not there"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_version_that_is_not_whole_is_neither_listed_as_healthy_nor_promoted(whole: Path, damage: str) -> None:
    """Each file of both models is looked at; the reason names it, and force is no way around it."""
    found = Registry(NAME)
    assert [found.missing(version) for version in found.versions()] == [None, None]
    damaging, said = DAMAGES[damage]
    damaging(whole)
    shown = CliRunner().invoke(app, ["list", NAME])
    assert shown.exit_code == 1 and said in shown.output and f"{NAME} version 2 at" in shown.output, shown.output
    for force in (None, "it is urgent"):
        with pytest.raises(ModelRegistryError, match="are not what was registered"):
            promote(found, 2, limits=LIMITS, force=force)
    assert found.at("champion") is None


def test_a_version_of_changed_bytes_is_neither_promoted_nor_gone_back_to(whole: Path) -> None:
    """The hashes are compared where a champion is about to be made of it."""
    found = Registry(NAME)
    promote(found, 2, limits=LIMITS, force="the first")
    promote(found, 1, limits=LIMITS, force="another")
    changed = bytearray((whole / "model.onnx").read_bytes())
    changed[len(changed) // 2] ^= 1
    (whole / "model.onnx").write_bytes(changed)
    for wish in (found.rollback, lambda: promote(found, 2, limits=LIMITS, force="it is urgent")):
        with pytest.raises(ModelRegistryError, match=r"model\.onnx has SHA-256"):
            wish()
    champion = found.at("champion")
    assert champion is not None and champion.number == 1
