"""What an image of the Dockerfile brings to a container: environment, user, folder, command, volumes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from tests.deploy.compose_file import REPOSITORY

BASE_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""That of the image of Python which all targets begin with."""


@dataclass(frozen=True)
class Image:
    """What a container has that nobody tells otherwise."""

    environment: Mapping[str, str]
    user: str
    """`UID:GID`."""
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    """Folders that keep what is written, whatever becomes of the container's root."""
    account: str = ""
    """The line of /etc/passwd that it adds."""


def image(target: str) -> Image:
    """The image that `docker build --target` makes."""
    environment = dict(BASE_ENVIRONMENT)
    said: dict[str, str] = {}
    account = ""
    for instruction, rest in _instructions(target):
        if instruction == "ENV":
            for word in shlex.split(rest):
                name, _, value = word.partition("=")
                environment[name] = re.sub(r"\$(\w+)", lambda found: environment[found[1]], value)
        elif added := re.search(r"useradd --uid (\d+) ([^&]*?)(\w+) *(?:&&|$)", rest):
            uid, options, name = added.groups()
            home = re.search(r"--home-dir (\S+)", options)
            account = f"{name}:x:{uid}:{uid}::{home[1] if home else f'/home/{name}'}:/usr/sbin/nologin\n"
        else:
            said[instruction] = rest
    return Image(
        environment=environment,
        user=said["USER"],
        workdir=said["WORKDIR"],
        entrypoint=tuple(json.loads(said.get("ENTRYPOINT", "[]"))),
        command=tuple(json.loads(said.get("CMD", "[]"))),
        volumes=tuple(json.loads(said.get("VOLUME", "[]"))),
        account=account,
    )


def _instructions(target: str) -> list[tuple[str, str]]:
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    stage = re.search(rf"^FROM \S+ AS {target}\n(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL)
    assert stage, f"the Dockerfile has no target {target}"
    found = re.findall(r"^([A-Z]+) +(.*)$", stage[1], re.MULTILINE)
    return [(instruction, rest) for instruction, rest in found]
