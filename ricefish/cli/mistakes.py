"""Mistakes: what a user can put right is one line, not a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from scans.addresses import without_passwords


def fail(error: object) -> NoReturn:
    """Ends the command with 1 and a line."""
    typer.echo(f"ricefish: {error}", err=True)
    raise typer.Exit(1)


@contextmanager
def of_a_server() -> Iterator[None]:
    """Ends the command with 1 and a line where a server refuses or does not answer, or what it is to have is wrong."""
    import httpx  # noqa: PLC0415  help does without it

    from ricefish.client.connection import RicefishError  # noqa: PLC0415

    try:
        yield
    except (RicefishError, OSError, ValueError, httpx.InvalidURL) as error:
        fail(error)


@contextmanager
def in_one_line(command: str) -> Iterator[None]:
    """Ends `ricefish COMMAND` with 1 and a line where what is within finds something wrong."""
    try:
        yield
    except ImportError as error:
        needed = f"`ricefish {command}` needs the training environment: pip install 'ricefish[training]'"
        typer.echo(f"{error}; {needed}", err=True)
        raise typer.Exit(1) from error
    except (OSError, RuntimeError, ValueError) as error:
        typer.echo(without_passwords(f"ricefish {command}: {error}"), err=True)
        raise typer.Exit(1) from error
    except Exception as error:
        if not type(error).__module__.startswith("mlflow."):
            raise
        typer.echo(without_passwords(f"ricefish {command}: MLflow does not answer as it should: {error}"), err=True)
        raise typer.Exit(1) from error
