"""Forked: servers and workers forked from one process that has imported them, so that a start takes a fraction of one.

They run what `ricefish serve` and `ricefish worker` run, on the same settings; only the imports are paid once, and the
interpreter is not taken down. A kill that costs two seconds of imports is one that is not made a thousand times.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO

from harness import servers


@dataclass
class ForkedProcess(servers.Process):
    """Like the process that it is made of."""

    @classmethod
    def of(cls, process: servers.Process) -> ForkedProcess:
        """The same command with the same settings."""
        return cls(process.command, dict(process.settings), process.log, process.folder)

    def launched(self, log: IO[str]) -> servers.Running:
        """Forks. Raises the auditing event `harness.forked`, as starting a process otherwise raises one."""
        sys.audit("harness.forked", self.command)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["harness.preload"])
        ours, theirs = context.Pipe(duplex=False)
        arguments = (self.command, self.environment(), self.folder or Path.cwd(), theirs, Path(log.name))
        process = context.Process(target=_run, args=arguments, daemon=True)  # ends with us
        process.start()
        theirs.close()
        said = os.fdopen(os.dup(ours.fileno()), encoding="utf-8")
        ours.close()
        return _Forked(process, said)


def server(folder: Path, *, model: Path | str | None, **settings: object) -> ForkedProcess:
    """As `servers.server`."""
    return ForkedProcess.of(servers.server(folder, model=model, **settings))


def worker(folder: Path, *, name: str, store: Path, **settings: object) -> ForkedProcess:
    """As `servers.worker`."""
    return ForkedProcess.of(servers.worker(folder, name=name, store=store, **settings))


def ran(command: tuple[str, ...], *, log: Path, **settings: object) -> tuple[int, str]:
    """Exit status of `ricefish COMMAND` with these settings, and what it printed; a log gets its errors."""
    process = ForkedProcess(command, {name: str(value) for name, value in settings.items()}, log)
    with log.open("a", encoding="utf-8") as file:
        running = process.launched(file)
    said = running.stdout.read() if running.stdout else ""
    try:
        status = running.wait(servers.STOP_SECONDS)
    except subprocess.TimeoutExpired:
        running.kill()
        status = running.wait()
    if running.stdout:
        running.stdout.close()
    return status, said


@dataclass
class _Forked:
    """A process of multiprocessing, spoken to as one of subprocess."""

    process: BaseProcess
    stdout: IO[str] | None

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        status = self.process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("ricefish", timeout or 0.0)
        return status

    def send_signal(self, sig: int) -> None:
        if self.process.exitcode is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(
    command: tuple[str, ...],
    environment: dict[str, str],
    folder: Path,
    said: multiprocessing.connection.Connection,
    log: Path,
) -> None:
    from ricefish.cli.app import app  # noqa: PLC0415  imported already, where it is forked

    os.setsid()
    os.dup2(said.fileno(), 1)
    with log.open("a", encoding="utf-8") as logged:
        os.dup2(logged.fileno(), 2)
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115  as long as the process
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["ricefish", *command]
    app()
