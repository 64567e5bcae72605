"""Options that every command has which asks a server: where it is, whose key is shown, who is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
