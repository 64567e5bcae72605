"""The MLflow registry: which version an alias names, and that version's files. The only file that imports mlflow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scans.addresses import without_passwords
from scans.model.manifest import MANIFEST_FILE
from scans.tracking import DATABASE_FILE, TRACKING_URI, set_up_client, tracking_uri

SCHEME = "models:/"
REFERENCE = "NAME@ALIAS or NAME/VERSION"

_MLFLOW_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds of silence; the default is two minutes
}
_NOT_THERE = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
"""MLflow's codes for a model, a version or an alias that there is not."""


class RegistryError(ValueError):
    """A model that the registry does not give; the message says what was asked of which registry."""


class RegistryUnreachable(RegistryError):
    """The registry does not answer, or not to this process: it may later."""


@dataclass(frozen=True)
class Reference:
    """What a server is told to serve: the version that an alias names, now and whenever it moves, or one version."""

    name: str
    alias: str | None = None
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """From NAME@ALIAS or NAME/VERSION, with or without models:/ before it. Raises RegistryError."""
        text = text.removeprefix(SCHEME)
        name, at, alias = text.partition("@")
        if at and name and alias and "/" not in text:
            return cls(name, alias=alias)
        name, slash, version = text.partition("/")
        if slash and name and version.isdigit():
            return cls(name, version=version)
        raise RegistryError(f"a registered model is named models:/ and {REFERENCE}, such as models:/ricefish@champion")


@dataclass(frozen=True)
class RegisteredVersion:
    """A version in the registry."""

    name: str
    version: str
    created_ms: int
    """When it was registered, ms since 1970: a number that was given anew, after a removal, is another version."""


@dataclass(frozen=True)
class ListedVersion:
    """What the registry says of a version."""

    number: int
    created_ms: int
    """When it was registered, ms since 1970."""
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


def prepare() -> None:
    """Imports the client, which takes seconds that are not the registry's. Raises RegistryError without it."""
    set_up_client(_MLFLOW_SETTINGS)
    try:
        import mlflow.artifacts  # noqa: F401, PLC0415  only a registry needs it
        from mlflow import MlflowClient  # noqa: F401, PLC0415
        from mlflow.exceptions import MlflowException  # noqa: F401, PLC0415
    except Exception as error:  # what is half installed raises more than ImportError
        raise RegistryError(f"a registry needs mlflow-skinny, which cannot be imported: {error}") from error


def find_version(reference: str) -> RegisteredVersion:
    """The version that `NAME@ALIAS` or `NAME/VERSION` means now; one small request.

    The registry is MLFLOW_TRACKING_URI, by default mlflow.db in the working directory. Raises RegistryError where it
    knows none, RegistryUnreachable where it cannot be asked.
    """
    asked = Reference.parse(reference)
    with connected() as (client, _):
        if asked.alias is not None:
            found = client.get_model_version_by_alias(asked.name, asked.alias)
        else:
            found = client.get_model_version(asked.name, asked.version)
        return RegisteredVersion(asked.name, str(found.version), int(found.creation_timestamp or 0))


def list_versions(name: str) -> list[ListedVersion]:
    """All versions of a registered model, the newest first. Raises RegistryError, RegistryUnreachable."""
    with connected() as (client, _):
        aliases: dict[int, list[str]] = {}
        for alias, number in client.get_registered_model(name).aliases.items():
            aliases.setdefault(int(number), []).append(alias)
        found = client.search_model_versions(f"name = '{name}'")
        listed = [
            ListedVersion(
                int(one.version),
                int(one.creation_timestamp or 0),
                tuple(sorted(aliases.get(int(one.version), ()))),
                dict(one.tags),
            )
            for one in found
        ]
    return sorted(listed, key=lambda one: -one.number)


def download_version(version: RegisteredVersion, *, into: Path) -> Path:
    """Downloads a version's files; gives the folder that holds model.onnx and manifest.json.

    Raises RegistryError where there is no such model in it, RegistryUnreachable, also where its files are not where the
    registry says: they may be put back.
    """
    with connected() as (client, uri):
        import mlflow.artifacts  # noqa: PLC0415  as in `prepare`

        place = _place(client, version)
        try:
            downloaded = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{SCHEME}{version.name}/{version.version}",
                dst_path=str(into),
                tracking_uri=uri,
                registry_uri=uri,
            )
        except OSError as error:
            raise RegistryUnreachable(_not_there(version, place, str(error))) from error
    folder = Path(downloaded)
    if not (folder / MANIFEST_FILE).is_file():
        raise RegistryUnreachable(_not_there(version, place, f"there is no {MANIFEST_FILE} beside a model"))
    return folder


def fetch(uri: str, *, into: Path) -> Path:
    """Downloads `models:/NAME/VERSION/FILE` or `runs:/RUN/FILE`; gives where it lies. Raises RegistryUnreachable."""
    with connected(f"does not give {uri}") as (_, registry):
        import mlflow.artifacts  # noqa: PLC0415  as in `prepare`

        into.mkdir(parents=True, exist_ok=True)
        return Path(
            mlflow.artifacts.download_artifacts(
                artifact_uri=uri, dst_path=str(into), tracking_uri=registry, registry_uri=registry
            )
        )


def _place(client: Any, version: RegisteredVersion) -> str:
    """Where the registry says that a version's files are."""
    found = client.get_model_version(version.name, version.version)
    if found.model_id:
        return str(client.get_logged_model(found.model_id).artifact_location)
    return str(client.get_model_version_download_uri(version.name, version.version))


def _not_there(version: RegisteredVersion, place: str, why: str) -> str:
    return without_passwords(
        f"the files of version {version.version} of {version.name} are not at {place}, where the "
        f"registry says they are: {why}. Put them back there, or register the model anew (`dvc repro register`)"
    )


@contextmanager
def connected(failing: str = "does not give it") -> Iterator[tuple[Any, str]]:
    """A client of the registry, and the registry's address; what goes wrong becomes a RegistryError that says so."""
    uri = registry_uri()
    prepare()
    from mlflow import MlflowClient  # noqa: PLC0415  as there
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    def failed(why: str) -> str:  # MLflow's own words hold the address as well
        return without_passwords(f"the registry {uri} {failing}: {why}")

    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri), uri
    except RegistryError:
        raise
    except ImportError as error:
        missing = f"a library is missing for it: {error}; install ricefish[tracking]"
        raise RegistryError(failed(f"{missing}, which has those of databases and buckets")) from error
    except MlflowException as error:
        kind = RegistryError if error.error_code in _NOT_THERE else RegistryUnreachable
        raise kind(failed(str(error))) from error
    except Exception as error:  # a database's, a bucket's or a network library's own
        raise RegistryUnreachable(failed(f"{type(error).__name__}: {error}")) from error


def tag_version(name: str, version: str, key: str, value: str) -> None:
    """Sets a tag of a registered version; `key` holds no @. Raises RegistryError."""
    with connected(f"takes no tag of {name} {version}") as (client, _):
        client.set_model_version_tag(name, version, key, value)


def registry_uri() -> str:
    """MLFLOW_TRACKING_URI, or the absolute address of mlflow.db here. Raises RegistryUnreachable without either."""
    database = DATABASE_FILE.absolute()
    if not os.environ.get(TRACKING_URI) and not database.is_file():
        raise RegistryUnreachable(f"there is no registry: {TRACKING_URI} is not set and {database} does not exist")
    return tracking_uri()
