"""Connections: held open, fed slowly, filled with what nobody asked for; health is answered meanwhile."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import httpx

from attack import specimens
from attack.prober import watching
from attack.tally import Arena, Tally
from harness import servers
from harness.forked import ForkedProcess

Address = tuple[str, int]
_GET = b"GET /v1/scans HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_POST = b"POST /v1/scans?filename=a.nii HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000000\r\n\r\n"


def attack(arena: Arena, *, number: int, seconds: float) -> Tally:
    """So many connections of each kind, held for so long."""
    tally = Tally("connections")
    process = ForkedProcess.of(servers.server(arena.folder, model=arena.model, threads=1, batch_size=4))
    process.start()
    address = _address(process.url)
    try:
        for name, kind in _KINDS.items():
            with watching(process.url, process.pid) as watched:
                _hold(tally, name, kind, address, number=number, seconds=seconds)
                _asked(tally, arena, process.url, name)
            watched.note(tally, f"{number} connections: {name}")
            arena.say(f"{tally.counts['connections']} connections, {tally.found} findings")
    finally:
        process.stop()
    return tally


def _hold(
    tally: Tally, name: str, kind: Callable[[socket.socket], bytes], address: Address, *, number: int, seconds: float
) -> None:
    with ExitStack() as stack:
        held = []
        for _ in range(number):
            with suppress(OSError):
                held.append(stack.enter_context(_connected(address)))
        tally.count("connections", len(held))
        dribbles = [(one, kind(one)) for one in held]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for connection, dribble in dribbles:
                with suppress(OSError):
                    connection.sendall(dribble)
            time.sleep(min(1.0, seconds))
        tally.count(f"{name}: closed by the server", sum(_is_closed(one) for one in held))


def _asked(tally: Tally, arena: Arena, url: str, name: str) -> None:
    """A whole scan goes through afterwards."""
    scan = specimens.write_scan(arena.folder / "small.nii.gz", seed=arena.seed)
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        try:
            state = specimens.wait(http, specimens.post(http, scan))
        except (httpx.HTTPError, TimeoutError) as error:
            state = type(error).__name__
    if state != "succeeded":
        tally.find(f"a small post ended as {state or 'refused'} after {name}", name)


def _address(url: str) -> Address:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


@contextmanager
def _connected(address: Address) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=10) as connection:
        yield connection


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _idle(connection: socket.socket) -> bytes:
    """Says nothing."""
    return b""


def _kept_alive(connection: socket.socket) -> bytes:
    """Asks once, and stays."""
    with suppress(OSError):
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return b""


def _slow_request_line(connection: socket.socket) -> bytes:
    """A byte a second of a path that never ends."""
    with suppress(OSError):
        connection.sendall(b"GET /")
    return b"a"


def _slow_headers(connection: socket.socket) -> bytes:
    """A header a second."""
    with suppress(OSError):
        connection.sendall(_GET)
    return b"X-A: b\r\n"


def _slow_body(connection: socket.socket) -> bytes:
    """A byte of a scan a second."""
    with suppress(OSError):
        connection.sendall(_POST)
    return b"\0"


def _silent_body(connection: socket.socket) -> bytes:
    """A scan is announced, and does not come."""
    with suppress(OSError):
        connection.sendall(_POST)
    return b""


def _half_closed(connection: socket.socket) -> bytes:
    """Asks, and closes its own half before the answer."""
    with suppress(OSError):
        connection.sendall(_GET + b"\r\n")
        connection.shutdown(socket.SHUT_WR)
    return b""


def _large_headers(connection: socket.socket) -> bytes:
    """Headers of a megabyte, in one go."""
    with suppress(OSError):
        connection.sendall(_GET + b"X-A: " + b"b" * 1_000_000)
    return b""


def _many_headers(connection: socket.socket) -> bytes:
    """Twenty thousand headers."""
    with suppress(OSError):
        connection.sendall(_GET + b"X-A: b\r\n" * 20_000)
    return b""


def _garbage(connection: socket.socket) -> bytes:
    """Nothing of HTTP."""
    with suppress(OSError):
        connection.sendall(b"\x16\x03\x01" + bytes(range(256)) * 8)
    return b""


_KINDS: Mapping[str, Callable[[socket.socket], bytes]] = {
    "idle": _idle,
    "kept alive": _kept_alive,
    "slow request line": _slow_request_line,
    "slow headers": _slow_headers,
    "slow body": _slow_body,
    "silent body": _silent_body,
    "half closed": _half_closed,
    "large headers": _large_headers,
    "many headers": _many_headers,
    "garbage": _garbage,
}
