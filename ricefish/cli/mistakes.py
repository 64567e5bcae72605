"""Mistakes: what a user of the training environment can put right is one line, not a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from scans.addresses import without_passwords


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
