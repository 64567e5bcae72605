"""The one client that every server is asked by: keep-alive connections in one thread, requests encoded beforehand.

Client and server share the cores, so what the client costs is taken from every server alike. It therefore does as
little as can be done: it sends bytes that lie ready, and reads an answer to its end without looking into it.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_END_OF_HEAD = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_LONGEST_ANSWER_SECONDS = 120.0


class BadAnswer(RuntimeError):
    """An answer that is none; the message is its status, or what became of the connection."""


@dataclass(frozen=True)
class Measured:
    """What one server did under one load."""

    seconds: float
    """From the first request sent to the last answer read."""
    latencies: tuple[float, ...]
    """Seconds from sending a request to the end of its answer, of those answered with 200."""
    errors: Counter[str] = field(default_factory=Counter)
    """What went wrong instead, counted."""

    @property
    def rate(self) -> float:
        """Requests answered per second."""
        return len(self.latencies) / self.seconds


def request(url: str, path: str, content: bytes, headers: dict[str, str]) -> bytes:
    """A POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + content


def ask(url: str, sent: bytes) -> bytes:
    """The body of the answer to one request. Raises BadAnswer, OSError."""

    async def once() -> bytes:
        connection = await _Connection.to(url)
        try:
            async with asyncio.timeout(_LONGEST_ANSWER_SECONDS):
                return await connection.ask(sent)
        finally:
            connection.close()

    return asyncio.run(once())


def measure(url: str, requests: Sequence[bytes], *, clients: int, seconds: float, least: int) -> Measured:
    """Clients that each wait for their answer before they ask again, for so long and until `least` are answered.

    Nobody begins after that, and what is under way is waited for. The requests are sent in turn, from the first again
    after the last.
    """
    return asyncio.run(_Load(url, itertools.cycle(requests), seconds, least).run(clients))


@dataclass
class _Load:
    url: str
    requests: Iterator[bytes]
    duration: float
    least: int
    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    began: float = 0.0

    async def run(self, clients: int) -> Measured:
        connections = [await _Connection.to(self.url) for _ in range(clients)]
        self.began = time.perf_counter()
        await asyncio.gather(*(self._client(connection) for connection in connections))
        return Measured(time.perf_counter() - self.began, tuple(self.latencies), self.errors)

    def _goes_on(self) -> bool:
        enough = len(self.latencies) + self.errors.total() >= self.least
        return not enough or time.perf_counter() - self.began < self.duration

    async def _client(self, connection: _Connection) -> None:
        while self._goes_on():
            sent, began = next(self.requests), time.perf_counter()
            try:
                async with asyncio.timeout(_LONGEST_ANSWER_SECONDS):
                    await connection.ask(sent)
            except (BadAnswer, OSError) as error:  # TimeoutError is an OSError
                self.errors[str(error) or type(error).__name__] += 1
                connection.close()
                connection = await _Connection.to(self.url)
            else:
                self.latencies.append(time.perf_counter() - began)
        connection.close()


class _Connection(asyncio.Protocol):
    """One request at a time, answered with a Content-Length or in chunks."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._pieces: list[bytes] = []
        self._status = ""
        self._missing: int | None = None
        """Bytes of the body that are still to come; None before its head was read, or where it comes in chunks."""

    @classmethod
    async def to(cls, url: str) -> _Connection:
        place = urlsplit(url)
        _, connection = await asyncio.get_running_loop().create_connection(cls, place.hostname or "", place.port or 80)
        return connection

    async def ask(self, sent: bytes) -> bytes:
        """Raises BadAnswer, or asyncio.CancelledError, after which the connection is of no use any more."""
        if self._transport is None or self._transport.is_closing():
            raise BadAnswer("connection closed between two requests")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(sent)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - it is a socket's
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BadAnswer("connection closed in the middle"))

    def data_received(self, data: bytes) -> None:
        if not self._status:
            data = self._read_head(b"".join([*self._pieces, data]))
            if not self._status:
                return
        self._pieces.append(data)
        if self._missing is not None:
            self._missing -= len(data)
            if self._missing <= 0:
                self._end(b"".join(self._pieces))
        elif data.endswith(_LAST_CHUNK) or b"".join(self._pieces[-2:]).endswith(_LAST_CHUNK):
            self._end(_unchunked(b"".join(self._pieces)))

    def _read_head(self, received: bytes) -> bytes:
        """What follows after the head, if that is complete; then the status is known."""
        head, end, rest = received.partition(_END_OF_HEAD)
        if not end:
            self._pieces = [received]
            return b""
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._status, self._pieces = first.split()[1], []
        self._missing = None if "transfer-encoding" in headers else int(headers.get("content-length", 0))
        return rest

    def _end(self, body: bytes) -> None:
        status, answer = self._status, self._answer
        self._status, self._pieces, self._missing = "", [], None
        if answer is None or answer.done():
            return
        if status == "200":
            answer.set_result(body)
        else:
            answer.set_exception(BadAnswer(f"status {status}: {body[:200].decode('latin-1')}"))


def _unchunked(content: bytes) -> bytes:
    pieces: list[bytes] = []
    offset = 0
    while True:
        end = content.index(b"\r\n", offset)
        size = int(content[offset:end].partition(b";")[0], 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(content[end + 2 : end + 2 + size])
        offset = end + 2 + size + 2
