"""Connections: how many there may be, how long one may idle, dawdle or be stuck, and how long a request's head may be.

uvicorn bounds the pause between two requests, and httptools, its parser, nothing. What a body brings is `api.pace`'s.
"""

from __future__ import annotations

import asyncio
import resource
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MOST_HEAD_BYTES = 64 << 10
"""Of the address and all header fields of a request."""
MOST_ADDRESS_BYTES = 8 << 10
MOST_FIELDS = 100
_MOST_PIPELINED = 16
_FREE_CHUNKS = 1000
_LEAST_CHUNK_BYTES = 64
"""Which the chunks of a body have on the average, once there are more than those that are free."""
_SPARE = 100
"""Connections beyond the limit, for health checks; a request for anything else is refused on them."""
_HEALTH = ("/health/", "/v2/health/")
_OTHER_FILES = 256
"""Open files of this process that are no connections and no uploads."""
_MOST_FILES = 65_536


class _Refused(ValueError):
    """A head or trailer that is too long, chunks that are too short, or one request too many on a connection."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Of one server."""

    most: int
    """Connections at one time."""
    head_seconds: float
    """In which the head of a request has to arrive, and the rest of a body that was refused; then it is closed."""
    answer_seconds: float
    """In which something has to be taken of an answer."""


def limited(limits: ConnectionLimits) -> type[BoundedConnection]:
    """The protocol of a server of these limits."""

    class Limited(BoundedConnection):
        LIMITS = limits

    return Limited


def open_files(connections: int) -> int:
    """Lets this process open as many files as that takes; gives for how many connections it may, at most as asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, (soft - _OTHER_FILES - _SPARE) // 2))


class BoundedConnection(HttpToolsProtocol):
    """One connection, looked at once a second."""

    LIMITS: ClassVar[ConnectionLimits]

    idle_since: float | None = None
    """By the loop's clock, while no request is under way."""
    _stuck_since: float | None = None
    _closing_since: float | None = None
    _in_head = False
    _head_bytes = 0
    """That were received."""
    _whole = False
    """Whether something of a request ended in what was received last: a field, a piece of a body."""
    _part_bytes = 0
    """That were received since something did."""
    _field_bytes = 0
    """Of the fields of the head, and of the trailers behind the body."""
    _fields = 0
    _chunks = 0
    _body_bytes = 0
    _refusal = HTTPStatus.BAD_REQUEST
    _beyond = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Beyond the limit, the connection that has idled longest makes room."""
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        if len(self.connections) > self.LIMITS.most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Ends a head that goes on and on, and a trailer or the extension of a chunk that does."""
        before, self._whole = self._in_head, False
        super().data_received(data)
        if before and self._in_head:
            self._head_bytes += len(data)
        self._part_bytes = 0 if self._whole else self._part_bytes + len(data)
        if max(self._head_bytes if self._in_head else 0, self._part_bytes) > MOST_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The parser has seen the first byte of a request."""
        super().on_message_begin()
        self._in_head, self._head_bytes, self._whole = True, 0, True
        self._field_bytes = self._fields = self._chunks = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the address. What is raised here, and below, stops the parser: `send_400_response` answers."""
        super().on_url(url)
        if len(self.url) > MOST_ADDRESS_BYTES:
            self._stop(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or a trailer, which nobody reads."""
        self._whole = True
        self._fields += 1
        self._field_bytes += len(name) + len(value)
        if self._fields > MOST_FIELDS or len(self.url) + self._field_bytes > MOST_HEAD_BYTES:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head = False
        if len(self.pipeline) >= _MOST_PIPELINED:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self.idle_since = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body, as it came."""
        self._whole = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        """Of a body that comes in chunks, each of which costs as much as a long one."""
        self._chunks += 1
        if self._chunks > _FREE_CHUNKS and self._body_bytes < _LEAST_CHUNK_BYTES * self._chunks:
            self._stop(HTTPStatus.BAD_REQUEST)

    def _stop(self, refusal: HTTPStatus) -> None:
        self._refusal = refusal
        raise _Refused

    def on_response_complete(self) -> None:
        """The next request may come, or is there already."""
        another = bool(self.pipeline)
        super().on_response_complete()
        self.idle_since = None if another else self.loop.time()

    def pause_writing(self) -> None:
        """The one at the other end takes nothing."""
        super().pause_writing()
        self._stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._stuck_since = None

    def send_400_response(self, msg: str) -> None:
        """Says why a request is refused, where that cannot be taken for a part of an answer to another, or to it."""
        if self.cycle is not None and not self.cycle.response_complete:
            if self.pipeline or self._in_head or self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True  # whoever works on it is told that nobody waits
            self.cycle.message_event.set()
        status = self._refusal
        text = (status.phrase if status is not HTTPStatus.BAD_REQUEST else msg).encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        self.transport.write(f"{head}content-length: {len(text)}\r\nconnection: close\r\n\r\n".encode() + text)
        self.transport.close()

    def sweep(self, now: float) -> None:
        """Closes the connection where it has idled, dawdled or been stuck for too long."""
        limits = self.LIMITS
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > limits.head_seconds:  # what is left to send is not taken
                self.transport.abort()
        elif self._stuck_since is not None and now - self._stuck_since > limits.answer_seconds:
            self.transport.abort()
        elif self.idle_since is not None and now - self.idle_since > limits.head_seconds:
            if self._in_head:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            else:
                self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        self._refusal = status
        self.send_400_response(status.phrase)

    def _make_room(self) -> None:
        waiting = [
            (other.idle_since, id(other), other)
            for other in self.connections
            if isinstance(other, BoundedConnection)
            and other is not self
            and other.idle_since is not None
            and not other.transport.is_closing()
        ]
        if waiting:
            min(waiting)[2].transport.abort()
            return
        self._beyond = True
        if len(self.connections) > self.LIMITS.most + _SPARE:
            self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._beyond and len(self.connections) > self.LIMITS.most and not self.scope["path"].startswith(_HEALTH):
            app = service_unavailable
        super()._start_asgi_task(cycle, app)
