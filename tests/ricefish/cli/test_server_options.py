"""Every command that asks a server takes the same options for it."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from ricefish.cli.app import app

ASKING = (
    "segment", "correct", "atlas", "reviews export", "dataset add", "scans list", "scans show", "scans cancel",
    "scans retry", "scans delete", "scans download",
)  # fmt: skip
WITHOUT_JSON = ("dataset add",)


def options(words: str) -> dict[str, tuple[object, object, str | None]]:
    """Default, environment variable and help of each option of a command."""
    command: Any = typer.main.get_command(app)
    for word in words.split():
        command = command.commands[word]
    found = [one for one in command.params if hasattr(one, "help")]
    return {one.opts[0]: (one.default, one.envvar, one.help) for one in found}


@pytest.mark.parametrize("words", ASKING)
def test_server_key_and_certificate_are_asked_for_alike(words: str) -> None:
    """By the same names, from the same environment, in the same words; JSON, where there is something to be said."""
    had, first = options(words), options("scans list")
    names = ["--server", "--key", "--ca", *(["--json"] if words not in WITHOUT_JSON else [])]
    assert {name: had.get(name) for name in names} == {name: first[name] for name in names}
    assert first["--server"][:2] == ("http://127.0.0.1:8000", "RICEFISH_SERVER")
