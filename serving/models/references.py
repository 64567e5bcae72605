"""References: what a server was told to serve, and the notes of which model each meant."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

from serving.models.loaded_model import ModelIdentity
from serving.models.registry import SCHEME, RegisteredVersion
from serving.storage import DataDamaged, replace_text, sync
from serving.storage.sealed import sealed, unsealed

_SCHEMA = 1
_HISTORY = 8
"""Versions that a note names: so many can be gone back to without fetching them, if their copies are there."""


@dataclass(frozen=True)
class KeptVersion:
    """A model in the cache, and what the registry calls it."""

    identity: ModelIdentity
    registered: RegisteredVersion | None
    """None for a model from a folder."""


@dataclass(frozen=True)
class Note:
    """What a reference means, and what it meant before."""

    reference: str
    versions: tuple[KeptVersion, ...]
    """The present one first."""
    confirmed_seconds: float
    """When a server last meant it, seconds since 1970."""
    beside: tuple[str, ...] = ()
    """Names of the other notes that lay beside it, so that one that is lost is missed."""

    def then(self, version: KeptVersion) -> Note:
        """The same, once the reference means that version."""
        others = tuple(other for other in self.versions if other != version)
        return replace(self, versions=(version, *others)[:_HISTORY], confirmed_seconds=time.time())

    def write(self, path: Path) -> None:
        """Durably, as a whole or not at all."""
        content = {"schema": _SCHEMA, **dataclasses.asdict(self)}
        replace_text(path, sealed(content))
        sync(path.parent)

    @classmethod
    def read(cls, path: Path) -> Note | None:
        """From a file that `write` wrote; None if it is not there, or cannot be understood."""
        try:
            content = unsealed(path.read_text(encoding="utf-8"), of=path.name)
            if content["schema"] != _SCHEMA:
                return None
            versions = tuple(_kept(version) for version in content["versions"])
            beside = tuple(map(str, content.get("beside", ())))
            confirmed = float(content["confirmed_seconds"])
            return cls(str(content["reference"]), versions, confirmed, beside) if versions else None
        except (OSError, DataDamaged, ValueError, KeyError, TypeError):
            return None

    @staticmethod
    def filename(reference: str) -> str:
        """Of the note of a reference."""
        return f"{hashlib.sha256(reference.encode()).hexdigest()[:32]}.json"


def is_registered(reference: str) -> bool:
    """True for a reference into the registry, False for a folder."""
    return reference.startswith(SCHEME)


def _kept(content: dict[str, dict[str, str]]) -> KeptVersion:
    registered = content["registered"]
    return KeptVersion(
        ModelIdentity(**content["identity"]),
        None if registered is None else RegisteredVersion(**registered),  # type: ignore[arg-type]  # JSON keeps types
    )
