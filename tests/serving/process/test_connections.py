"""Held connections: none that is idle, slow or stuck is held for long, and none keeps health checks from an answer."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.serving.running import RunningServer

pytestmark = pytest.mark.process

HEAD_SECONDS, BODY_SECONDS, MOST = 1.0, 2.0, 100
SOON_SECONDS = 1.0
TUS = ("Tus-Resumable: 1.0.0", "Upload-Length: 100000", "Content-Type: application/offset+octet-stream")
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None) -> Iterator[RunningServer]:
    """One whose limits are small."""
    limits = {"head_timeout_seconds": HEAD_SECONDS, "upload_timeout_seconds": BODY_SECONDS, "connections": MOST}
    running = RunningServer(tmp_path_factory.mktemp("server"), model_dir, slab_slices=4, **limits).start()
    yield running
    assert running.end() == 0


def connect(server: RunningServer, sent: bytes = b"", *, buffer: int | None = None) -> socket.socket:
    at = urlsplit(server.url)
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect((at.hostname, at.port))
    connection.sendall(sent)
    return connection


def read(connection: socket.socket) -> bytes:
    """All of it until the server closes."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def post(path: str, *fields: str, length: int = 100_000) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def alive(server: RunningServer) -> None:
    began = time.monotonic()
    assert httpx.get(f"{server.url}/health/live", timeout=10, trust_env=False).status_code == 200
    assert time.monotonic() - began < SOON_SECONDS


@pytest.mark.parametrize("sent", [b"", b"GET /v1/sc", b"GET /v1/scans HTTP/1.1\r\nHost: localhost\r\nX-A: b"])
def test_a_connection_that_sends_no_whole_head_is_closed(server: RunningServer, sent: bytes) -> None:
    """After the limit, however often another byte of it comes; with 408 where some of it was there."""
    with connect(server, sent) as connection:
        began = time.monotonic()
        connection.settimeout(0.2)
        answer = b""
        while time.monotonic() < began + 10:
            try:
                answer += (piece := connection.recv(1000))
                if not piece:
                    break
            except TimeoutError:
                if sent:
                    connection.sendall(b"x")
            except ConnectionResetError:
                break
        assert HEAD_SECONDS * 0.5 < time.monotonic() - began < HEAD_SECONDS + 3
        assert answer.startswith(b"HTTP/1.1 408 " if sent else b"") and bool(answer) == bool(sent)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v1/scans?" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /v1/scans HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /v1/scans HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /v1/scans HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 600_000, 431),
        (b"GET /v1/scans?" + b"a" * 600_000, 414),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_a_head_has_an_end(server: RunningServer, head: bytes, status: int) -> None:
    """An address, a field, the number of fields; a head without end is not read to its end."""
    with connect(server) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head)
        answer = read(connection)
    assert answer == b"" or answer.startswith(f"HTTP/1.1 {status} ".encode())
    if len(head) < 100_000:
        assert answer
    alive(server)


@pytest.mark.parametrize(
    "begun",
    [
        post("/v1/scans?filename=a.nii"),
        post("/v1/scans", f"Content-Type: {FORM}") + b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n',
        post("/v1/scans", "Content-Type: application/json") + b'{"source": ',
        post("/v2/models/MODEL/infer", "Content-Type: application/json") + b'{"inputs": ',
        post("/v2/repository/models/a/load", "Content-Type: application/json"),
        post("/v1/models/webhook"),
        post("/v1/uploads", *TUS),
        post("/v1/scans?filename=a.nii").replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked"),
    ],
)  # fmt: skip
def test_a_body_of_any_kind_that_dribbles_is_given_up(server: RunningServer, begun: bytes) -> None:
    """A byte now and then is not enough: 408, and the connection is closed."""
    chunked = b"chunked" in begun
    name = server.get("/v1/model").json()["name"]
    with connect(server, begun.replace(b"MODEL", name.encode())) as connection:
        began = time.monotonic()
        connection.settimeout(0.3)
        answer = b""
        while not answer and time.monotonic() < began + 15:
            try:
                answer = connection.recv(10_000)
            except TimeoutError:
                connection.sendall(b"1\r\n \r\n" if chunked else b" ")
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert BODY_SECONDS * 0.8 < time.monotonic() - began < BODY_SECONDS + 4


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"0\r\n" + b"a:\r\n" * 200, 431),
        (b"0\r\n" + b"a: " + b"b" * 400_000, 431),
        (b"1;" + b"b" * 400_000, 431),
        (b"1\r\nx\r\n" * 2_000, 400),
        (b"zz\r\n", 400),
    ],
    ids=["many trailers", "a long trailer", "a long extension", "chunks of a byte", "no length of a chunk"],
)
def test_chunks_and_what_follows_them_have_an_end(server: RunningServer, body: bytes, status: int) -> None:
    """Trailers are counted like the fields of a head; chunks of a byte each are refused; both with an answer."""
    begun = post("/v1/models/webhook").replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked")
    with connect(server, begun) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(body)
        assert read(connection).startswith(f"HTTP/1.1 {status} ".encode())
    alive(server)


def test_the_rest_of_a_refused_body_is_not_read_for_ever(server: RunningServer) -> None:
    """The answer is out; the body goes on, and the connection is closed all the same."""
    with connect(server, post("/v1/nothing", length=10**9)) as connection:
        began = time.monotonic()
        assert connection.recv(10_000).startswith(b"HTTP/1.1 4")
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < began + 10:
                connection.sendall(b"x" * 1000)
                time.sleep(0.05)
        assert time.monotonic() - began < HEAD_SECONDS + 3


def test_an_answer_that_is_not_taken_is_given_up(server: RunningServer) -> None:
    """Nothing is held for one who asks for much and reads none of it."""
    request, asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 400
    with connect(server, buffer=4096) as connection:
        with contextlib.suppress(ConnectionError):
            for _ in range(asked):
                connection.sendall(request)
                time.sleep(0.01)
        time.sleep(BODY_SECONDS + HEAD_SECONDS + 3)
        assert 0 < read(connection).count(b"HTTP/1.1 200") < asked
    alive(server)


def test_held_connections_stop_no_health_check(server: RunningServer) -> None:
    """Three times as many as there may be, idle or in the middle of a head: a new one takes the place of the oldest."""
    with ExitStack() as stack:
        for number in range(3 * MOST):
            held = stack.enter_context(connect(server))
            if number % 2:
                with contextlib.suppress(ConnectionError):
                    held.sendall(b"GET /v1/scans HTTP/1.1\r\nX-")
            if number % 50 == 0:
                alive(server)
        alive(server)
        assert httpx.get(f"{server.url}/v1/scans", timeout=10, trust_env=False).status_code == 200


def test_requests_under_way_leave_room_for_health_checks_alone(server: RunningServer) -> None:
    """As many bodies at once as there may be connections: further requests get 503, health checks their answer."""
    with ExitStack() as stack:
        for _ in range(MOST + 5):
            stack.enter_context(connect(server, post("/v1/scans?filename=a.nii") + b"x" * 1000))
        alive(server)
        assert httpx.get(f"{server.url}/v1/scans", timeout=10, trust_env=False).status_code == 503
    server.until(lambda: httpx.get(f"{server.url}/v1/scans", trust_env=False).status_code == 200)


def test_a_form_has_an_end(server: RunningServer) -> None:
    """Too many parts, a field that is too long, and a header of a part that is: 400."""
    part = 'Content-Disposition: form-data; name="n{}"\r\n'
    bodies = (
        "".join(f"--x\r\n{part.format(number)}\r\nv\r\n" for number in range(150)),
        f"--x\r\n{part.format(0)}\r\n" + "v" * 20_000,
        f"--x\r\n{part.format(0)}X-A: " + "v" * 20_000,
        f"--x\r\n{part.format(0)}" + "X-A: v\r\n" * 50,
    )
    for body in bodies:
        answer = server.http.post(f"{server.url}/v1/scans", content=body, headers={"Content-Type": FORM})
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:ricefish:problem:bad-form"), answer.text
