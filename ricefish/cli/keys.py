"""`ricefish keys`: who may use a server. Imports the server's environment when called."""

# ruff: noqa: PLC0415  a workstation has no server environment, and only these commands need it
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ricefish.cli.options import AsJson
from ricefish.cli.tables import print_whole

if TYPE_CHECKING:
    from serving.auth.keys import Key, Keys

app = typer.Typer(
    no_args_is_help=True,
    help="API keys of the server whose RICEFISH_DATABASE_URL or RICEFISH_STORE is set; else of ./store.",
)

_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@app.command()
def add(  # noqa: PLR0917 - typer passes options by name
    owner: Annotated[str, typer.Option(help="Whose key it is; scans belong to the owner, whichever key they came by.")],
    scope: Annotated[list[str], typer.Option(help="segment, review or admin; may be given several times.")],
    reviews: Annotated[
        list[str] | None,
        typer.Option(help="Owner whose scans it may review beside its own; may be given several times; * for all."),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="For how long it is valid, such as 90d, 12h, 1y.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests, by each server process.")] = None,
    bytes_per_day: Annotated[str | None, typer.Option(help="Bytes that may be sent, such as 500GB.")] = None,
) -> None:
    """Makes a key and prints it, once: the database holds no more than its hash."""
    with _errors(), _keys() as keys:
        key = keys.add(
            owner=owner,
            scopes=scope,
            reviews=reviews or (),
            expires_seconds=None if expires is None else _seconds(expires),
            requests_per_minute=requests_per_minute,
            bytes_per_day=None if bytes_per_day is None else _bytes(bytes_per_day),
        )
    typer.echo(key)
    typer.echo("Keep it now; nobody can show it again.", err=True)


@app.command(name="list")
def list_keys(as_json: AsJson = False) -> None:
    """Shows all keys that ever were, the newest last; no secrets."""
    with _errors(), _keys(make=False) as keys:
        found = keys.all()
    if as_json:
        typer.echo(json.dumps([_row(key) for key in found], indent=2))
        return
    if not found:
        typer.echo("There are no keys: on loopback the server lets everybody do everything.", err=True)
    table = Table(
        "ID", "Owner", "Scopes", "Reviews", "State", "Created", "Expires", "Last used", "Requests/min", "Bytes/day"
    )
    for key in found:
        scopes = ", ".join(sorted(key.identity.scopes))
        times = [_time(seconds) for seconds in (key.created, key.expires, key.last_used)]
        limits = ["" if limit is None else f"{limit:,}" for limit in (key.requests_per_minute, key.bytes_per_day)]
        reviews = ", ".join(sorted(key.identity.reviews))
        table.add_row(key.id, key.identity.owner, scopes, reviews, _state(key), *times, *limits)
    print_whole(table)


@app.command()
def revoke(
    beginning: Annotated[
        str, typer.Argument(metavar="ID", help="As `ricefish keys list` shows it, or as much of it as no other has.")
    ],
) -> None:
    """Ends a key, on running servers within two seconds."""
    with _errors(), _keys(make=False) as keys:
        key_id = keys.revoke(beginning)
    typer.echo(f"{key_id} is revoked.")


@contextmanager
def _keys(*, make: bool = True) -> Iterator[Keys]:
    """The table of keys. Raises FileNotFoundError where there is none, StoreError where none can be made.

    `make` makes the file of a server that has never run, in a folder that nobody else enters.
    """
    from serving.auth.keys import Keys
    from serving.settings import read_settings
    from serving.storage.database import Database
    from serving.storage.locations import database_url
    from serving.storage.private_folder import make_private, unusable

    database = Database(database_url(read_settings(needs_model=False)))
    if database.file is not None and not database.file.exists():
        if not make:
            raise FileNotFoundError(
                f"there is no {database.file}, and so no key; RICEFISH_STORE or RICEFISH_DATABASE_URL must be those of "
                "the server"
            )
        try:
            make_private(database.file.parent)
        except OSError as error:
            raise unusable("the folder", database.file.parent, error) from error
    database.open()
    try:
        yield Keys(database)
    finally:
        database.close()


@contextmanager
def _errors() -> Iterator[None]:
    """What the user can put right is one line, not a traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        typer.echo(f"{error}; `ricefish keys` needs the server environment: pip install 'ricefish[serving]'", err=True)
        raise typer.Exit(1) from error
    except (LookupError, OSError, ValueError) as error:
        typer.echo(f"ricefish keys: {error}", err=True)
        raise typer.Exit(1) from error


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+) ?([hdwy])", text.strip().lower())
    if not found:
        raise ValueError(f"--expires is {text!r}; give a number of hours, days, weeks or years, such as 12h, 90d or 1y")
    if not 0 < (seconds := float(found[1]) * _SECONDS[found[2]]) <= 100 * _SECONDS["y"]:
        raise ValueError(f"--expires is {text!r}; give more than nothing and at most 100y, or leave it out")
    return seconds


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)b?", text.strip().lower())
    if not found:
        raise ValueError(f"--bytes-per-day is {text!r}; give bytes, or kB, MB, GB or TB, such as 500GB")
    return int(float(found[1]) * _BYTES[found[2]])


def _state(key: Key) -> str:
    return "valid" if key.valid else "expired" if key.revoked is None else "revoked"


def _row(key: Key) -> dict[str, Any]:
    """A key in types that JSON can hold; times are in UTC."""
    times = {"created": key.created, "expires": key.expires, "last_used": key.last_used}
    return {
        "id": key.id,
        "owner": key.identity.owner,
        "scopes": sorted(key.identity.scopes),
        "reviews": sorted(key.identity.reviews),
        "state": _state(key),
        **{name: None if at is None else datetime.fromtimestamp(at, UTC).isoformat() for name, at in times.items()},
        "requests_per_minute": key.requests_per_minute,
        "bytes_per_day": key.bytes_per_day,
    }


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Y-%m-%d %H:%M}"
