"""compose.yaml as an engine reads it: anchors and merges resolved, variables filled in, one value for each service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE_FILE = REPOSITORY / "compose.yaml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}")


@dataclass(frozen=True)
class Volume:
    """One line of `volumes`."""

    source: str
    """A path that begins with a dot, or the name of a volume."""
    target: str
    read_only: bool

    @property
    def named(self) -> bool:
        return not self.source.startswith(".")


@dataclass(frozen=True)
class Service:
    """What compose.yaml says of a service."""

    name: str
    image: str
    target: str | None
    """Of the Dockerfile; None: the image is somebody else's."""
    entrypoint: tuple[str, ...] | None
    """None: the image's."""
    command: tuple[str, ...] | None
    """None: the image's."""
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    volumes: tuple[Volume, ...]
    tmpfs: tuple[str, ...]
    """Folders, with what mount is told after a colon."""
    shm_size: str
    user: str | None
    """`UID:GID`; None: the image's."""
    read_only: bool
    drops_capabilities: bool
    no_new_privileges: bool
    depends_on: Mapping[str, str]
    """The condition that each of these has to fulfil before this one is started."""
    healthcheck: tuple[str, ...] | None
    stop_grace_seconds: float
    """Between SIGTERM and SIGKILL."""


def read_compose() -> dict[str, Any]:
    """The file as YAML, with its variables as they stand there."""
    content: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
    return content


def interpolated(value: Any, variables: Mapping[str, str] | None = None) -> str:
    """A value with its variables filled in; those that are not given have their defaults."""
    given = variables or {}
    return _VARIABLE.sub(lambda found: given.get(found[1]) or found[2] or "", str(value))


def settings_of(service: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a service, where no variable is set."""
    return {name: interpolated(value) for name, value in service.get("environment", {}).items()}


def services(variables: Mapping[str, str] | None = None) -> dict[str, Service]:
    """Every service, with these variables in `.env`."""
    return {name: _service(name, _filled(given, variables)) for name, given in read_compose()["services"].items()}


def _filled(node: Any, variables: Mapping[str, str] | None) -> Any:
    if isinstance(node, dict):
        return {name: _filled(value, variables) for name, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, variables) for value in node]
    return interpolated(node, variables) if isinstance(node, str) else node


def _service(name: str, given: Mapping[str, Any]) -> Service:
    health = given.get("healthcheck", {}).get("test")
    assert health is None or health[0] == "CMD", f"{name}: {health}"
    return Service(
        name=name,
        image=given["image"],
        target=given.get("build", {}).get("target"),
        entrypoint=_words(given.get("entrypoint")),
        command=_words(given.get("command")),
        environment={variable: str(value) for variable, value in given.get("environment", {}).items()},
        secrets=tuple(given.get("secrets", ())),
        volumes=tuple(_volume(line) for line in given.get("volumes", ())),
        tmpfs=tuple(given.get("tmpfs", ())),
        shm_size=given.get("shm_size", "64mb"),
        user=given.get("user"),
        read_only=given.get("read_only", False),
        drops_capabilities=given.get("cap_drop") == ["ALL"],
        no_new_privileges="no-new-privileges:true" in given.get("security_opt", ()),
        depends_on={other: how["condition"] for other, how in given.get("depends_on", {}).items()},
        healthcheck=None if health is None else tuple(health[1:]),
        stop_grace_seconds=float(given.get("stop_grace_period", "10s").removesuffix("s")),
    )


def _words(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(map(str, given))


def _volume(line: str) -> Volume:
    source, target, *options = line.split(":")
    return Volume(source, target, read_only=options == ["ro"])
