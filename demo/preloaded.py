"""One process that has imported what the stages import, and forks for each of them: imports are paid once, not tenfold.

`preloaded` starts it. Inside, `python -m MODULE` that DVC starts for a stage is `demo.stand_in`, which hands the
command over; the fork runs it with the streams, the folder and the environment of whoever asked. Neither dvc.yaml nor
the stages know of it, and a `dvc repro` by hand does without. Where a process cannot be forked safely (not Linux),
each command imports for itself.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from demo import stand_in

MODULES = (
    "torch",
    "torch._dynamo",
    "segmentation_models_pytorch",
    "scipy.ndimage",
    "zarr",
    "matplotlib.figure",
    "dvc.repo",
    "mlflow.system_metrics.system_metrics_monitor",
    "training.learning.loop",
    "training.learning.sampling",
    "training.tracking.runs",
)
"""Libraries that most stages import, and nothing that starts a thread: a fork takes only one along."""


@contextmanager
def preloaded(
    environment: Mapping[str, str], *, folder: Path, modules: tuple[str, ...] = MODULES
) -> Iterator[dict[str, str]]:
    """The environment for commands that shall not import anew: it begins as `environment`, and ends with the block.

    Our own modules come from `folder`, which is a checkout.
    """
    if sys.platform != "linux":
        yield dict(environment)
        return
    with tempfile.TemporaryDirectory(prefix="ricefish-demo-") as temporary:
        address = Path(temporary) / "socket"
        _write_stand_in(Path(temporary) / "bin" / "python")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
            listener.listen()
            command = [sys.executable, "-m", "demo.preloaded", str(listener.fileno()), *modules]
            process = subprocess.Popen(
                command, cwd=folder, env=dict(environment), stdin=subprocess.PIPE, pass_fds=(listener.fileno(),)
            )
        try:
            path = f"{temporary}/bin{os.pathsep}{environment['PATH']}"
            yield {**environment, "PATH": path, stand_in.ADDRESS: str(address)}
        finally:
            process.communicate()  # the end of its standard input is what it waits for


def _write_stand_in(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S -E '{stand_in.__file__}' \"$@\"\n", encoding="utf-8")
    path.chmod(0o755)


def main() -> None:
    """Imports, then forks for each command until standard input ends: python -m demo.preloaded DESCRIPTOR MODULE..."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the commands
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            with listener.accept()[0] as connection:
                _answer(connection, _received(connection))
    os._exit(0)  # there is nothing to save, and to take all modules down again takes a second


@dataclass(frozen=True)
class _Command:
    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    streams: list[int]
    """Descriptors of standard input, output and error."""

    def run(self) -> None:
        """Makes this process `python -m MODULE ARGUMENTS`."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a fork of `multiprocessing` begins without
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv[1:] = self.arguments
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)


def _received(connection: socket.socket) -> _Command:
    header, streams, _, _ = socket.recv_fds(connection, stand_in.HEADER.size, 3)
    content = connection.recv(stand_in.HEADER.unpack(header)[0], socket.MSG_WAITALL)
    return _Command(**json.loads(content), streams=streams)


def _answer(connection: socket.socket, command: _Command) -> None:
    """Runs a command in a fork, and says how it ended; ends it where nobody waits for it any more."""
    fork = multiprocessing.get_context("fork").Process(target=command.run)
    fork.start()
    for stream in command.streams:
        os.close(stream)
    if fork.sentinel not in wait([fork.sentinel, connection]):
        fork.terminate()
    fork.join()
    code = fork.exitcode or 0
    with suppress(OSError):
        connection.sendall(stand_in.ANSWER.pack(code if code >= 0 else 128 - code))


if __name__ == "__main__":
    main()
