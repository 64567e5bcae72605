"""Room for bodies: what a request stands for counts as if it had been sent, is compared with the model before it is
read, and leaves room for others.
"""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from serving.auth.keys import Keys
from serving.storage.database import Database
from tests.serving.in_process import Answered, App, running_app
from tests.serving.plain_models import endless, identity, place

pytestmark = pytest.mark.slow

MEGABYTE = 1 << 20
SHARED = Path("/dev/shm")  # noqa: S108 - where POSIX has it


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    place(identity(TensorProto.STRING), folder / "strings")
    place(identity(TensorProto.UINT8), folder / "bytes")
    place(endless(), folder / "endless")
    return folder


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("server")
    with running_app(folder, None, model_repository=str(repository)) as running:
        yield running


def tensor(size: int, *, name: str = "INPUT", datatype: str = "UINT8", **parameters: Any) -> dict[str, Any]:
    return {"name": name, "shape": [size], "datatype": datatype, "parameters": parameters}


def infer(app: App, inputs: list[dict[str, Any]], raw: bytes = b"", *, model: str = "bytes", **how: Any) -> Answered:
    """In binary, packed: of zeros it can be a thousandth of what it stands for."""
    document = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = [(b"inference-header-content-length", str(len(document)).encode()), (b"content-encoding", b"gzip")]
    body = gzip.compress(document + raw, 1)
    return app.ask("POST", f"/v2/models/{model}/infer".encode(), headers=headers, body=body, **how)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Notes the most memory that this process gains meanwhile, in MiB."""
    before, over, seen = resident_bytes(), threading.Event(), {"gained": 0.0}

    def watch() -> None:
        while not over.wait(0.01):
            seen["gained"] = max(seen["gained"], (resident_bytes() - before) / MEGABYTE)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_what_a_packed_body_unpacks_to_counts(tmp_path: Path, repository: Path) -> None:
    """Four bodies of 240 MiB in one each, of a model that computes for ever: three are under way and fill the room, one
    is sent away."""
    values = 60 * MEGABYTE
    document = json.dumps(
        {"inputs": [{**tensor(values, datatype="FP32", binary_data_size=4 * values), "shape": [values, 1]}]}
    )
    how = {
        "headers": [
            (b"inference-header-content-length", str(len(document)).encode()),
            (b"content-encoding", b"gzip"),
        ],
        "body": gzip.compress(document.encode() + bytes(4 * values), 1),
    }
    answers: list[Answered] = []
    with running_app(tmp_path, None, model_repository=str(repository), plain_model_seconds=3600) as app:
        call = b"/v2/models/endless/infer"
        asked = [threading.Thread(target=lambda: answers.append(app.ask("POST", call, **how))) for _ in range(4)]
        for thread in asked:
            thread.start()
        end = time.monotonic() + 50
        while not answers and time.monotonic() < end:
            time.sleep(0.1)
        assert [answer.status for answer in answers] == [429]
        assert "requests would hold" in answers[0].json()["error"]
    for thread in asked:
        thread.join()
    assert [answer.status for answer in answers] == [429, 503, 503, 503]


def test_inputs_that_the_model_has_not_are_not_read(app: App) -> None:
    """Twenty tensors of a million strings each, the model takes one: refused for their names, in no time."""
    many = [tensor(1 << 20, name=f"t{n}", datatype="BYTES", binary_data_size=4 << 20) for n in range(20)]
    with watched() as seen:
        answer = infer(app, many, bytes(80 * MEGABYTE), model="strings")
    assert answer.status == 400 and "unexpected inference input 't0'" in answer.json()["error"]
    assert seen["gained"] < 400
    other = infer(app, [tensor(1 << 20, datatype="BYTES", binary_data_size=4 << 20)], bytes(4 << 20))
    assert other.status == 400 and "data-type is 'BYTES'" in other.json()["error"]


def test_many_strings_keep_nobody_waiting(app: App) -> None:
    """A million of them, sent as they are: who asks meanwhile whether the server lives is answered at once."""
    document = json.dumps({"inputs": [tensor(1 << 20, datatype="BYTES", binary_data_size=4 << 20)]}).encode()
    headers = [(b"inference-header-content-length", str(len(document)).encode())]
    asking = threading.Thread(
        target=lambda: app.ask(
            "POST", b"/v2/models/strings/infer", headers=headers,
            body=document + bytes(4 << 20),
        )
    )  # fmt: skip
    asking.start()
    longest = 0.0
    while asking.is_alive():
        began = time.monotonic()
        assert app.ask("GET", b"/health/live").status == 200
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.01)
    assert longest < 0.6


def test_keys_of_json_have_a_limit(app: App) -> None:
    """Half a million of them in a few megabytes are refused before anything is made of them."""
    body = b'{"inputs":[],"parameters":{' + b",".join(b'"k%d":1' % n for n in range(500_000)) + b"}}"
    answer = app.ask("POST", b"/v2/models/bytes/infer", body=body)
    assert answer.status == 413 and "500002 keys" in answer.json()["error"]


@contextmanager
def region(app: App, size: int) -> Iterator[str]:
    """Shared memory of which nothing was ever written, registered."""
    name = f"ricefish-{uuid.uuid4().hex}"
    with (SHARED / name).open("wb") as file:
        file.truncate(size)
    try:
        stated = json.dumps({"key": f"/{name}", "offset": 0, "byte_size": size}).encode()
        assert app.ask("POST", f"/v2/systemsharedmemory/region/{name}/register".encode(), body=stated).status == 200
        yield name
    finally:
        app.ask("POST", f"/v2/systemsharedmemory/region/{name}/unregister".encode())
        (SHARED / name).unlink()


@pytest.mark.parametrize(
    ("size", "times", "status", "said"),
    [
        (200 * MEGABYTE, 12, 400, "unexpected inference input"),
        (1 << 40, 1, 413, "more than 268435456 bytes"),
        (300 * MEGABYTE, 1, 413, "more than 268435456 bytes"),
    ],
)
def test_shared_memory_counts_before_it_is_read(app: App, size: int, times: int, status: int, said: str) -> None:
    """One region in twelve inputs, a tebibyte that takes no memory where it lies, and no more than a body may have."""
    with region(app, size) as name, watched() as seen:
        where = {"shared_memory_region": name, "shared_memory_byte_size": size}
        inputs = [tensor(size, name=f"INPUT{n or ''}", **where) for n in range(times)]
        answer = infer(app, inputs)
    assert answer.status == status and said in answer.json()["error"]
    assert seen["gained"] < 100


def test_a_region_that_was_cut_short_takes_no_memory(app: App) -> None:
    """200 MiB are named of what has become one byte."""
    size = 200 * MEGABYTE
    with region(app, size) as name, watched() as seen:
        os.truncate(SHARED / name, 1)
        answer = infer(app, [tensor(size, shared_memory_region=name, shared_memory_byte_size=size)])
    assert answer.status == 400 and "shorter than when it was registered" in answer.json()["error"]
    assert seen["gained"] < 100


def slow(first: int, *, seconds: float) -> Iterator[bytes]:
    """Much at once, then a little now and then."""
    yield bytes(first)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield bytes(1000)
        time.sleep(0.1)


def test_a_body_that_holds_room_has_a_pace(tmp_path: Path, repository: Path) -> None:
    """Ten thousand bytes a second are too few after 2 MiB, and enough for a small body."""
    with running_app(tmp_path, None, model_repository=str(repository), upload_timeout_seconds=3) as app:
        answer = app.ask("POST", b"/v2/models/bytes/infer", body=slow(2 * MEGABYTE, seconds=20))
        assert answer.status == 408 and "262144 bytes a second" in answer.json()["error"]
        assert app.ask("POST", b"/v2/models/bytes/infer", body=slow(1, seconds=4)).status == 400


def test_one_owner_leaves_room_for_others(tmp_path: Path, repository: Path) -> None:
    """Ada has 300 MiB in two bodies that are still coming: a third of 100 MiB is too much of hers, and not of Bob's."""
    url = f"sqlite:///{tmp_path}/keys.sqlite"
    database = Database(url)
    database.open()
    ada, bob = ([(b"x-api-key", Keys(database).add(owner=name, scopes=["segment"]).encode())] for name in "ab")
    database.close()
    over = threading.Event()

    def held(size: int) -> Iterator[bytes]:
        yield bytes(size)
        over.wait(60)

    with running_app(tmp_path, None, model_repository=str(repository), database_url=url) as app:
        call = b"/v2/models/bytes/infer"
        holding = [
            threading.Thread(target=lambda: app.ask("POST", call, headers=ada, body=held(150 * MEGABYTE)))
            for _ in range(2)
        ]
        for thread in holding:
            thread.start()
        try:
            time.sleep(1)
            refused = app.ask("POST", call, headers=ada, body=bytes(100 * MEGABYTE))
            assert refused.status == 429 and "this key's owner" in refused.json()["error"]
            assert app.ask("POST", call, headers=bob, body=bytes(100 * MEGABYTE)).status != 429
        finally:
            over.set()
            for thread in holding:
                thread.join()
