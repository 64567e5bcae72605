"""A bad network: stands between a client and a server, counts what goes up, slows it, breaks it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

_CHUNK_BYTES = 64 << 10
_REQUEST = re.compile(rb"([A-Z]+) (/\S*) HTTP/1\.1\r\n")


class Relay:
    """Passes connections on to the server that `target` names at the time."""

    def __init__(self, target: Callable[[], str]) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.bytes_per_second: float | None = None
        self.answers: list[bytes | None] = []
        """Given to the next PATCH requests in place of the server's own; None: that one goes to the server."""
        self.damages = 0
        """So many parts to come are changed on their way."""
        self.forget()
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        """Counts from nothing again."""
        self.sent_bytes = 0
        self.heads: list[bytes] = []

    def asked(self, method: str, path: str) -> int:
        """How many requests went there."""
        return sum(head.startswith(f"{method} {path} ".encode()) for head in self.heads)

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        address = urlsplit(self._target())
        with client, contextlib.suppress(OSError), socket.create_connection((address.hostname, address.port)) as server:
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()
            self._up(client, server)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        damaging = False
        while chunk := client.recv(_CHUNK_BYTES):
            self.sent_bytes += len(chunk)
            if request := _REQUEST.match(chunk):
                self.heads.append(chunk[:4096])
                answer = self.answers.pop(0) if request[1] == b"PATCH" and self.answers else None
                if answer is not None:
                    client.sendall(answer + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
                    return
                if request[1] == b"PATCH" and self.damages:
                    self.damages -= 1
                    damaging = True
            elif damaging:
                chunk, damaging = chunk[:-1] + bytes([chunk[-1] ^ 1]), False
            server.sendall(chunk)
            if self.bytes_per_second:
                time.sleep(len(chunk) / self.bytes_per_second)
        client.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _down(server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(_CHUNK_BYTES):
                client.sendall(chunk)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
