"""Options of commands that ask a server, and how its refusals end them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

Server = Annotated[str, typer.Option(envvar="RICEFISH_SERVER", help="Address of the server.")]
Key = Annotated[str | None, typer.Option(envvar="RICEFISH_API_KEY", help="API key of a server that wants one.")]
Authority = Annotated[
    Path | None,
    typer.Option("--ca", envvar="RICEFISH_CA", help="Certificate (PEM) of who signed the server's, if private."),
]


@contextmanager
def refused() -> Iterator[None]:
    """Ends the command with 1 and the reason where the server refuses what is asked within, or a file is not right."""
    import httpx  # noqa: PLC0415

    from ricefish.client.connection import RicefishError  # noqa: PLC0415

    try:
        yield
    except (RicefishError, OSError, ValueError, httpx.InvalidURL) as error:
        print(f"ricefish: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
