"""What is wrong with a registry is said with where it looked and what to do; nothing else escapes."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from serving.models.registry import (
    RegistryError,
    RegistryUnreachable,
    download_version,
    find_version,
    prepare,
    tag_version,
)
from tests.serving.models import write_model
from tests.serving.registries import CHAMPION, NAME, SmallRegistry, sqlite_registry


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallRegistry:
    made = sqlite_registry(tmp_path, monkeypatch)
    made.point(made.register(write_model(tmp_path / "model")))
    return made


def test_files_that_have_moved_are_looked_for_and_named(registry: SmallRegistry, tmp_path: Path) -> None:
    """It says where it looked and what to do; put back, they are fetched."""
    version = find_version(CHAMPION)
    (tmp_path / "artifacts").rename(tmp_path / "elsewhere")
    with pytest.raises(RegistryUnreachable) as raised:
        download_version(version, into=tmp_path / "first")
    said = str(raised.value)
    assert f"version 1 of {NAME} are not at {(tmp_path / 'artifacts').as_uri()}" in said
    assert "Put them back there, or register the model anew (`dvc repro register`)" in said
    (tmp_path / "elsewhere").rename(tmp_path / "artifacts")
    assert (download_version(version, into=tmp_path / "second") / "model.onnx").is_file()


def test_a_manifest_that_has_gone_is_named_with_its_place(registry: SmallRegistry, tmp_path: Path) -> None:
    """The rest of the version is there."""
    (manifest,) = (tmp_path / "artifacts").rglob("manifest.json")
    manifest.unlink()
    with pytest.raises(RegistryError, match=r"are not at .*artifacts.*: there is no manifest\.json"):
        download_version(find_version(CHAMPION), into=tmp_path / "fetched")


def test_the_password_of_a_registry_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by us nor by its client, which quotes the address: owners of keys read this in /v1/models."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:s3cret@127.0.0.1:1")
    with pytest.raises(RegistryUnreachable, match=r"the registry http://ada:\*\*\*@127\.0\.0\.1:1 does not") as raised:
        find_version(CHAMPION)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("library", ["mlflow.artifacts", "mlflow.exceptions", "mlflow"])
@pytest.mark.parametrize("error", [ImportError("cannot import name 'a'"), AttributeError("half installed")])
def test_a_client_that_cannot_be_imported_is_told(
    registry: SmallRegistry, monkeypatch: pytest.MonkeyPatch, library: str, error: Exception
) -> None:
    """Whichever part of it, and whatever that raises."""
    whole = builtins.__import__

    def broken(name: str, *args: Any, **named: Any) -> Any:
        if name == library:
            raise error
        return whole(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", broken)
    for ask in (prepare, lambda: find_version(CHAMPION), lambda: tag_version(NAME, "1", "key", "value")):
        with pytest.raises(RegistryError, match="mlflow-skinny"):
            ask()


def test_a_library_that_the_registry_needs_is_told(
    registry: SmallRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That of a bucket, say, which MLflow imports when it first needs it: no new try helps, but installing it."""
    import mlflow.artifacts

    def needs_boto3(**_: object) -> str:
        raise ModuleNotFoundError("No module named 'boto3'")

    version = find_version(CHAMPION)
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", needs_boto3)
    with pytest.raises(RegistryError, match=r"boto3.*install ricefish\[tracking\]") as raised:
        download_version(version, into=tmp_path / "fetched")
    assert not isinstance(raised.value, RegistryUnreachable)
