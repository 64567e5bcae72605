"""The comparison with other servers: its client against a tiny server, its statistics, its process trees."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks import clone
from benchmarks.peers import dialects
from benchmarks.peers.comparison import Contender, Different, row
from benchmarks.peers.contenders import Running
from benchmarks.peers.load import BadAnswer, Measured, ask, measure, request
from benchmarks.peers.trees import Tree

SLICE = np.arange(6, dtype=np.uint16).reshape(2, 3)
CLASSES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)

Reply = Callable[[bytes], list[bytes]]
"""From a request's body to the pieces that the answer is written in."""


@contextmanager
def answering(reply: Reply) -> Iterator[tuple[str, list[bytes]]]:
    """A server on the loopback, with the bodies that it was sent."""
    loop, seen = asyncio.new_event_loop(), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""):
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            seen.append(await reader.readexactly(length))
            for piece in reply(seen[-1]):
                if not piece:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = loop.run_until_complete(asyncio.start_server(quietly, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


def plain(body: bytes, *, status: str = "200 OK") -> list[bytes]:
    return [f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body]


@pytest.mark.parametrize(
    "pieces",
    [
        plain(b"abcdef"),
        [b"HTTP/1.1 200 OK\r\nContent-", b"Length: 6\r\n\r", b"\nabc", b"def"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nabcd\r\n", b"2\r\nef\r\n0\r", b"\n\r\n"],
    ],
    ids=["whole", "in pieces", "chunked"],
)
def test_an_answer_is_read_to_its_end_however_it_is_cut(pieces: list[bytes]) -> None:
    """A length or chunks, and cuts in the middle of a head or of a chunk, give the same body."""
    with answering(lambda _: pieces) as (url, seen):
        assert ask(url, request(url, "/infer", b"slice", {})) == b"abcdef"
    assert seen == [b"slice"]


def test_every_client_is_answered_and_requests_are_sent_in_turn() -> None:
    """Two clients with no time left still get the answers that are asked for, and the third request is the first's."""
    with answering(plain) as (url, seen):
        requests = [request(url, "/infer", body, {}) for body in (b"a", b"b")]
        measured = measure(url, requests, clients=2, seconds=0.0, least=5)
    assert len(measured.latencies) >= 5
    assert not measured.errors
    assert abs(Counter(seen)[b"a"] - Counter(seen)[b"b"]) <= 1
    assert max(measured.latencies) <= measured.seconds


def test_what_goes_wrong_is_counted_and_is_no_answer() -> None:
    """A refusal and a connection that is cut are errors, and clients go on after both."""
    replies = {b"refuse": plain(b"too much", status="429 Busy"), b"cut": [b""], b"good": plain(b"ok")}
    with answering(lambda body: replies[body]) as (url, _):
        requests = [request(url, "/infer", body, {}) for body in (b"refuse", b"cut", b"good")]
        measured = measure(url, requests, clients=1, seconds=0.0, least=6)
    assert measured.errors == {"status 429: too much": 2, "connection closed in the middle": 2}
    assert len(measured.latencies) == 2


def test_an_answer_that_is_none_is_raised() -> None:
    """Asked once, an error status is an exception that says what the server said."""
    with (
        answering(lambda _: plain(b"no such model", status="404 Not Found")) as (url, _),
        pytest.raises(BadAnswer, match="404: no such model"),
    ):
        ask(url, request(url, "/infer", b"", {}))


def answers(dialect: dialects.Dialect) -> bytes:
    """What a server of that dialect answers with CLASSES."""
    encoded = base64.b64encode(CLASSES.tobytes()).decode()
    if dialect is dialects.V2_BASE64:
        return json.dumps({"outputs": [{"data": [encoded]}]}).encode()
    if dialect is dialects.FRAME_BASE64:
        return json.dumps({"predictions": [encoded]}).encode()
    if dialect.numbers:
        nested = CLASSES[np.newaxis].tolist()
        said = {
            "V2 JSON": {"outputs": [{"data": CLASSES.ravel().tolist()}]},
            "JSON tensor": {"predictions": nested},
            "JSON array": nested,
            "JSON object": {"segmentation": nested[0]},
        }
        return json.dumps(said[dialect.about]).encode()
    return b'{"outputs":[]}' * (dialect is not dialects.RAW) + CLASSES.tobytes()


@pytest.mark.parametrize(
    "dialect",
    [
        dialects.RAW,
        dialects.V2_BASE64,
        dialects.FRAME_BASE64,
        dialects.binary_tensors("unet"),
        dialects.V2_NUMBERS,
        dialects.TENSOR_NUMBERS,
        dialects.ARRAY_NUMBERS,
        dialects.OBJECT_NUMBERS,
    ],
    ids=lambda dialect: dialect.about,
)
def test_every_dialect_sends_the_slice_and_reads_the_classes(dialect: dialects.Dialect) -> None:
    """Raw, as base64 or numbers in JSON, or behind a V2 header: the classes that come back are those that were sent."""
    with answering(lambda _: plain(answers(dialect))) as (url, seen):
        body = ask(url, dialect.request(url, SLICE))
        assert (dialect.segmentation(body, SLICE) == CLASSES).all()
    if dialect.numbers:
        assert re.findall(rb"\d+", seen[0])[-SLICE.size :] == [str(value).encode() for value in range(SLICE.size)]
        return
    sent = base64.b64encode(SLICE.tobytes()) if "base64" in dialect.about else SLICE.tobytes()
    assert sent in seen[0]


def contender(title: str, rates: list[float], *, url: str = "", dialect: dialects.Dialect = dialects.RAW) -> Contender:
    """Measured with one client: so many answers in a second each round, the last of which took a second."""
    running = Running(title, url, dialect, Tree(0), {"version": "1", "way": "1 x 1"}, lambda: None)
    one = Contender(running, [request(url, "/infer", SLICE.tobytes(), {})])
    one.measured[1] = [Measured(1.0, (*[0.1] * (int(rate) - 1), 1.0)) for rate in rates]
    one.cpu_seconds[1] = 3.0
    return one


def test_ratios_are_those_of_medians_to_the_bare_loop_and_to_the_best_other() -> None:
    """9 slices/s in the middle round are 0.9 of the loop's 10, 3 times the better of 2 and 3, and 9 times JSON's 1."""
    others = [*map(contender, "ab", ([2], [3])), contender("a", [1], dialect=dialects.V2_NUMBERS)]
    found = row("tiny", 4, [10.0, 8.0, 11.0], [contender("Ricefish", [9, 1, 30]), *others])
    assert found["bare_slices_per_second"] == 10.0
    ratios = {"of_the_bare_loop": 0.9, "of_the_best_other": 3.0, "of_the_best_other_in_json": 9.0}
    assert found["ricefish"] == [{"clients": 1, **ratios}]


def test_a_row_pools_the_latencies_of_all_rounds() -> None:
    """10 answers of which two took a second: the median is 0.1 s, the 99th percentile 1 s, 0.3 s of processor each."""
    load: dict[str, Any] = contender("Ricefish", [5, 5]).row()["loads"][0]
    assert (load["answers"], load["p50_ms"], load["p99_ms"], load["errors"]) == (10, 100.0, 1000.0, {})
    assert load["server_cpu_ms_per_slice"] == 300.0


def test_a_server_with_other_answers_is_not_compared() -> None:
    """One wrong pixel of six is an error that names the server."""
    with answering(lambda _: plain(CLASSES.tobytes())) as (url, _):
        good = contender("peer", [1], url=url)
        good.check(SLICE[np.newaxis], CLASSES[np.newaxis])
        assert good.pixels_different == 0
        with pytest.raises(Different, match="peer: 1 of 6 pixels differ"):
            good.check(SLICE[np.newaxis], np.where(SLICE == 5, np.uint8(9), CLASSES)[np.newaxis])


SPINNING = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'while True: pass']).wait()"


@pytest.mark.process
def test_a_frozen_tree_uses_no_time_and_ends_with_its_children() -> None:
    """A child that spins stands still while its tree is frozen, goes on when thawed, and is gone after the end."""
    with subprocess.Popen([sys.executable, "-c", SPINNING], start_new_session=True) as process:
        tree = Tree(process.pid)
        try:
            while not any("while True: pass" in member.cmdline() for member in tree.members()):
                time.sleep(0.02)  # stopped before it is what it will be, a child would hold its parent up
            tree.freeze()
            while {member.status() for member in tree.members()} != {psutil.STATUS_STOPPED}:
                time.sleep(0.02)
            before = tree.cpu_seconds()
            time.sleep(0.2)
            assert tree.cpu_seconds() == before
            with tree.awake():
                while tree.cpu_seconds() == before:
                    time.sleep(0.02)
            members = tree.members()
        finally:
            tree.end()
        assert not any(psutil.pid_exists(member.pid) for member in members)


def test_each_peer_has_a_script_and_a_lock_without_addresses() -> None:
    """What is started and installed is there, with hashes and without the host of any registry, and it runs the same
    version of ONNX Runtime as Ricefish.
    """
    from benchmarks.peers.contenders import PEERS, SCRIPTS
    from benchmarks.peers.environments import REQUIREMENTS

    ours = re.search(
        r"^onnxruntime-gpu==(\S+)", (clone.REPOSITORY / "requirements" / "all.txt").read_text(), re.MULTILINE
    )
    assert ours is not None
    for peer in PEERS:
        assert (SCRIPTS / peer.script).is_file()
        lock = (REQUIREMENTS / f"{peer.name}.txt").read_text()
        assert f"{peer.name}==" in lock and "--hash=sha256:" in lock and "://" not in lock
        assert f"\nonnxruntime=={ours.group(1)} " in lock
    assert {path.stem for path in Path(REQUIREMENTS).glob("*.txt")} == {peer.name for peer in PEERS}
