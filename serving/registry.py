"""The MLflow registry: which version an alias names, and that version's files. The only file that imports mlflow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from scans.manifest import MANIFEST_FILE

REFERENCE = "NAME@ALIAS or NAME/VERSION"

_MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default tries for minutes
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class RegistryError(ValueError):
    """A model that the registry does not give; the message says what was asked of which registry."""


@dataclass(frozen=True)
class FetchedVersion:
    """A registered version, downloaded."""

    name: str
    version: str
    folder: Path
    """Holds model.onnx and manifest.json."""


def download_version(reference: str, *, into: Path) -> FetchedVersion:
    """Downloads the version that `NAME@ALIAS` or `NAME/VERSION` means into a folder.

    The registry is MLFLOW_TRACKING_URI, by default mlflow.db in the working directory. Raises RegistryError.
    """
    name, alias, version = _parse(reference)
    uri = tracking_uri()
    for variable, value in _MLFLOW_SETTINGS.items():
        os.environ.setdefault(variable, value)
    import mlflow.artifacts  # noqa: PLC0415  mlflow takes seconds to import and only a registry needs it
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        if alias is not None:
            version = str(client.get_model_version_by_alias(name, alias).version)
        downloaded = mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{name}/{version}", dst_path=str(into), tracking_uri=uri, registry_uri=uri
        )
    except (MlflowException, ImportError, OSError) as error:
        raise RegistryError(f"the registry {without_password(uri)} does not give it: {error}") from error
    folder = Path(downloaded)
    if not (folder / MANIFEST_FILE).is_file():
        raise RegistryError(
            f"version {version} of {name} has no {MANIFEST_FILE} beside its model: not registered by this project"
        )
    return FetchedVersion(name=name, version=str(version), folder=folder)


def tag_version(name: str, version: str, key: str, value: str) -> None:
    """Sets a tag of a registered version; `key` holds no @. Raises RegistryError."""
    uri = tracking_uri()
    for variable, setting in _MLFLOW_SETTINGS.items():
        os.environ.setdefault(variable, setting)
    from mlflow import MlflowClient  # noqa: PLC0415  as above
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        MlflowClient(tracking_uri=uri, registry_uri=uri).set_model_version_tag(name, version, key, value)
    except (MlflowException, ImportError, OSError) as error:
        raise RegistryError(
            f"the registry {without_password(uri)} takes no tag of {name} {version}: {error}"
        ) from error


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the absolute address of mlflow.db here. Raises RegistryError if neither is there."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    database = Path("mlflow.db").absolute()
    if not database.is_file():
        raise RegistryError(f"there is no registry: MLFLOW_TRACKING_URI is not set and {database} does not exist")
    return f"sqlite:///{database}"


def _parse(reference: str) -> tuple[str, str | None, str | None]:
    name, at, alias = reference.partition("@")
    if at and name and alias and "/" not in reference:
        return name, alias, None
    name, slash, version = reference.partition("/")
    if slash and name and version.isdigit():
        return name, None, version
    raise RegistryError(f"a registered model is named models:/ and {REFERENCE}, such as models:/ricefish@champion")


def without_password(uri: str) -> str:
    """A registry's address that may be shown."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
