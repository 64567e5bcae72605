"""`ricefish serve` as the demo runs it: on a free loopback port, with a store of its own, stopped whatever happens."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from demo.parts import DemoError, tool_environment

START_SECONDS = 180
STOP_SECONDS = 20.0


@contextmanager
def running_server(model: str, *, store: Path, log_path: Path, folder: Path) -> Iterator[str]:
    """Starts a server of `model` and gives its address once it is ready; stops it at the end.

    Raises DemoError if the server ends or does not get ready; the message holds the end of its log.
    """
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    command = ["ricefish", "serve", "--model", model, "--port", str(port)]
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        environment = {**tool_environment(), "RICEFISH_STORE": str(store)}
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_until_ready(server, address, log_path)
            yield address
        finally:
            _stop(server)


def is_ready(address: str) -> bool:
    """True where a server answers that scans can be posted to it."""
    try:
        return httpx.get(f"{address}/health/ready", timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _wait_until_ready(server: subprocess.Popen[bytes], address: str, log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready(address):
        if server.poll() is not None:
            raise DemoError(f"the server ended with exit code {server.returncode}; {_end_of(log_path)}")
        if time.monotonic() > deadline:
            raise DemoError(f"the server was not ready after {START_SECONDS} seconds; {_end_of(log_path)}")
        time.sleep(0.2)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end_of(log_path: Path, lines: int = 15) -> str:
    end = log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return f"its log {log_path} ends with\n" + "\n".join(end)
