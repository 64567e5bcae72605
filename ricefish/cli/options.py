"""Options that several commands have: where a server is, whose key is shown, who is believed, how scans are spaced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scans.geometry import Spacing

DEFAULT_SERVER = "http://127.0.0.1:8000"

Server = Annotated[str, typer.Option("--server", envvar="RICEFISH_SERVER", help="Address of the server.")]
ApiKey = Annotated[
    str | None, typer.Option("--key", envvar="RICEFISH_API_KEY", help="API key of a server that wants one.")
]
Authority = Annotated[
    Path | None,
    typer.Option("--ca", envvar="RICEFISH_CA", help="Certificate (PEM) of who signed the server's, if private."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SpacingText = Annotated[
    str | None, typer.Option("--spacing", help="Z,Y,X in mm, for files that do not state their voxel spacing.")
]


def read_spacing(text: str | None) -> Spacing | None:
    """What --spacing says. Raises ValueError that says how to write it."""
    from scans.geometry import Spacing  # noqa: PLC0415  help is there without numpy

    if text is None:
        return None
    try:
        z, y, x = (float(part) for part in text.split(","))
        return Spacing(z, y, x)
    except ValueError as error:
        raise ValueError(f"--spacing is {text!r}; give Z,Y,X in mm, such as 0.01,0.005,0.005 ({error})") from None
