"""Malformed requests: whatever a network brings is answered, or refused with what would be right; never a 5xx."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from harness.postgresql import new_postgresql_database
from tests.serving.in_process import App, Headers, running_app
from tests.serving.plain_models import SIMPLE_CONFIG, add_sub, identity, place

DIGITS = b"9" * 5000
DEEP = b"[" * 100_000
DEEP_OBJECTS = '{"a":' * 900 + "1" + "}" * 900
TUS = (b"Tus-Resumable", b"1.0.0")
LENGTH = (b"Upload-Length", b"5")
NAMELESS = b"a" * 32

Call = tuple[str, bytes, Headers, bytes]


def tiff() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.arange(512, dtype=np.int16).reshape(8, 8, 8), photometric="minisblack")
    return file.getvalue()


TIFF = tiff()


def scan(query: bytes, *headers: tuple[bytes, bytes], body: bytes = TIFF) -> Call:
    return "POST", b"/v1/scans?filename=a.tif&" + query, list(headers), body


def source(document: bytes) -> Call:
    return "POST", b"/v1/scans", [(b"Content-Type", b"application/json")], document


def form(boundary: bytes, body: bytes = b"") -> Call:
    return "POST", b"/v1/scans", [(b"Content-Type", b"multipart/form-data; boundary=" + boundary)], body


def upload(*headers: tuple[bytes, bytes]) -> Call:
    return "POST", b"/v1/uploads", [TUS, *headers], b""


def infer(document: bytes | dict[str, Any], *headers: tuple[bytes, bytes], model: str = "floats") -> Call:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return "POST", f"/v2/models/{model}/infer".encode(), list(headers), body


def tensor(model: str = "floats", **stated: Any) -> Call:
    datatype = {"floats": "FP32", "strings": "BYTES"}.get(model, "FP64")
    return infer({"inputs": [{"name": "INPUT", "shape": [1], "datatype": datatype, **stated}]}, model=model)


def window(*ends: float) -> Call:
    slices = {"name": "slices", "shape": [1, 1, 1], "datatype": "FP64", "data": [1e300]}
    return infer(
        {"inputs": [slices, {"name": "window", "shape": [1, 2], "datatype": "FP64", "data": ends}]}, model="thresholds"
    )


def load(config: str) -> Call:
    return "POST", b"/v2/repository/models/floats/load", [], json.dumps({"parameters": {"config": config}}).encode()


def region(document: bytes) -> Call:
    return "POST", b"/v2/systemsharedmemory/region/r/register", [], document


REFUSED: dict[str, Call] = {
    "number: the length of an upload in 5000 digits": upload((b"Upload-Length", DIGITS)),
    "number: the length of an upload beyond 64 bits": upload((b"Upload-Length", b"1" + b"0" * 19)),
    "number: the offset of a part in 5000 digits": (
        *("PATCH", b"/v1/uploads/" + NAMELESS),
        *([TUS, (b"Upload-Offset", DIGITS), (b"Content-Type", b"application/offset+octet-stream")], b""),
    ),
    "number: a length of the JSON in 5000 digits": infer(b"{}", (b"Inference-Header-Content-Length", DIGITS)),
    "number: a length of the JSON in superscript": infer(b"{}", (b"Inference-Header-Content-Length", b"\xb2")),
    "number: a shape whose product has 8000 digits": tensor(
        shape=[int("9" * 4000)] * 2, parameters={"binary_data_size": 4}
    ),
    "number: a size of 4000 digits": tensor(parameters={"binary_data_size": 10**4000}),
    "number: of 5000 digits in JSON": infer(b'{"inputs":[],"id":' + DIGITS + b"}"),
    "number: a largest batch without end": load('{"max_batch_size":1e400}'),
    "number: a largest batch of 4000 digits": load('{"max_batch_size":' + "9" * 4000 + "}"),
    "number: a region of 5000 digits": region(b'{"key":"k","byte_size":' + DIGITS + b"}"),
    "number: a region whose end has more digits": region(
        b'{"key":"k","offset":' + b"9" * 4300 + b',"byte_size":' + b"9" * 4300 + b"}"
    ),
    "number: a page of 5000 digits": ("GET", b"/v1/scans?limit=" + DIGITS, [], b""),
    "number: a slice of 4000 digits": ("GET", b"/v1/scans/SCAN/slices/z/" + b"9" * 4000 + b".png", [], b""),
    "number: an opacity that is none": ("GET", b"/v1/scans/SCAN/slices/z/0.png?opacity=nan", [], b""),
    "range: a spacing whose square is 0": scan(b"spacing=1e-160,1,1"),
    "range: a spacing whose cube is 0": scan(b"spacing=1e-120,1e-120,1e-120"),
    "range: a spacing beyond float32": scan(b"spacing=1e39,1,1"),
    "range: a spacing whose cube is infinite": scan(b"spacing=1e300,1e300,1e300"),
    "range: a spacing with Python's underscore": scan(b"spacing=1_0,1,1"),
    "range: a spacing in other digits": scan(b"spacing=%D9%A1,1,1"),
    "range: Infinity in JSON": tensor(data=[float("inf")]),
    "range: NaN in JSON": tensor(data=[float("nan")]),
    "range: a number beyond float64": infer(
        b'{"inputs":[{"name":"INPUT","shape":[1],"datatype":"FP32","data":[1e400]}]}'
    ),
    "range: a number beyond float32": tensor(data=[1e300]),
    "range: grey values beyond float32": window(0, 1),
    "range: a window beyond float32": window(-1e300, 1e300),
    "encoding: a digest outside ASCII": scan(b"", (b"Content-Digest", b"sha-256=:\xe9:")),
    "encoding: another digest outside ASCII": scan(b"", (b"Repr-Digest", b"sha-256=:\xff\xff:")),
    "encoding: metadata outside ASCII": upload(LENGTH, (b"Upload-Metadata", b"filename \xe9\xe9==")),
    "encoding: metadata that is no UTF-8": upload(LENGTH, (b"Upload-Metadata", b"filename /w==")),
    "encoding: half a character in JSON": source(b'{"source":{"upload":"\\ud800"}}'),
    "encoding: half a character as a tensor": tensor("strings", data=["\ud800"]),
    "encoding: a string that is no UTF-8": infer(
        b'{"inputs":[{"name":"INPUT","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}]}\1\0\0\0\xff',
        (b"Inference-Header-Content-Length", b"96"),
        model="strings",
    ),
    "encoding: JSON in UTF-16": infer("{}".encode("utf-16")),
    "encoding: a coding outside ASCII": infer(b"{}", (b"Content-Encoding", b"\xff")),
    "encoding: a boundary of 5000 bytes": form(b"a" * 5000, b"--a"),
    "encoding: a boundary outside ASCII": form(b"\xff\xfe", b"--a"),
    "encoding: no boundary": form(b"", b"--"),
    "name: half a character as an input's": tensor(name="\ud800"),
    "name: half a character as an output's": infer({"inputs": [], "outputs": [{"name": "\ud800"}]}),
    "name: half a character as a region's": tensor(
        parameters={"shared_memory_region": "\ud800", "shared_memory_byte_size": 4}
    ),
    "name: half a character as a key": region(b'{"key":"\\ud800","byte_size":4}'),
    "name: NUL in a key": region(b'{"key":"a\\u0000b","byte_size":4}'),
    "name: half a character as a file's": (
        *("POST", b"/v2/repository/models/floats/load", []),
        b'{"parameters":{"file:\\ud800":"x"}}',
    ),
    "name: half a character in a configuration": load('{"name":"\\ud800"}'),
    "name: NUL in a scan's id": ("GET", b"/v1/scans/a%00", [], b""),
    "name: NUL in an upload's id": ("HEAD", b"/v1/uploads/%00", [TUS], b""),
    "name: a line break in an upload's id": ("HEAD", b"/v1/uploads/" + NAMELESS + b"%0A", [TUS], b""),
    "name: NUL in a source": source(b'{"source":{"upload":"a\\u0000"}}'),
    "name: NUL in an address": source(b'{"source":{"uri":"file:///%00"}}'),
    "name: NUL in a key for later": scan(b"", (b"Idempotency-Key", b"a\0b")),
    "name: NUL in a model's": infer({"inputs": []}, model="%00"),
    "name: an extension that there is not": ("GET", b"/v2/logging", [], b""),
    "depth: a request": infer(DEEP),
    "depth: an id": infer(b'{"inputs":[],"id":' + b"[" * 150 + b"]" * 150 + b"}"),
    "depth: a source": source(DEEP),
    "depth: an index": ("POST", b"/v2/repository/index", [], DEEP),
    "depth: a load": ("POST", b"/v2/repository/models/floats/load", [], DEEP),
    "depth: a configuration": load(DEEP_OBJECTS),
    "depth: a region": region(DEEP),
    "depth: a shape of many sides": tensor(shape=[1] * 1000, data=[1]),
    "size: a source": source(b" " * 200_000),
    "size: an index": ("POST", b"/v2/repository/index", [], b" " * 200_000),
    "size: a load": ("POST", b"/v2/repository/models/floats/load", [], b" " * 200_000),
    "size: a region": region(b" " * 200_000),
    "size: an event": ("POST", b"/v1/models/webhook", [], b" " * 200_000),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("malformed")
    for name, model, config in (
        ("simple", add_sub(), SIMPLE_CONFIG),
        ("strings", identity(TensorProto.STRING), None),
        ("floats", identity(TensorProto.FLOAT), None),
    ):
        place(model, folder / "repository" / name, config=config)
    with running_app(folder, model_dir, model_repository=str(folder / "repository"), webhook_secret="s" * 20) as app:
        yield app


@pytest.fixture(scope="module")
def finished(app: App) -> bytes:
    """A scan's id."""
    posted = app.ask(*scan(b"spacing=1,1,1")[:2], body=TIFF).json()
    while app.ask("GET", f"/v1/scans/{posted['id']}".encode()).json()["state"] != "succeeded":
        pass
    return str(posted["id"]).encode()


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_what_is_malformed_is_refused_and_says_what(app: App, finished: bytes, call: Call) -> None:
    """A 4xx whose text is the problem's, in the shape that the call's errors have."""
    method, target, headers, body = call
    answer = app.ask(method, target.replace(b"SCAN", finished), headers=headers, body=body)
    assert 400 <= answer.status < 500, answer
    said = answer.json()["error"] if target.startswith(b"/v2") else answer.json()["detail"]
    assert said and len(said) < 5000


@pytest.mark.parametrize("value", [b"bytes=" + DIGITS + b"-", b"bytes=\xb2-", b"bytes=5-2", b"(((", DIGITS])
@pytest.mark.parametrize("name", [b"Range", b"If-Range", b"If-Modified-Since", b"If-None-Match", b"If-Match"])
@pytest.mark.parametrize("path", [b"/static-offline-docs/favicon.png", b"/v1/scans/SCAN/segmentation"])
def test_dates_and_ranges_that_are_none(app: App, finished: bytes, path: bytes, name: bytes, value: bytes) -> None:
    """They are passed over, or refused."""
    assert app.ask("GET", path.replace(b"SCAN", finished), headers=[(name, value)]).status < 500


@pytest.mark.process
def test_no_id_makes_postgresql_seem_away(tmp_path: Path, model_dir: Path, postgresql: str) -> None:
    """PostgreSQL holds no NUL: who asks for one is told that there is no such scan, not that the database is down."""
    with running_app(tmp_path, model_dir, database_url=new_postgresql_database(postgresql)) as app:
        for call, status in (
            (("GET", b"/v1/scans/a%00", [], b""), 404),
            (("GET", b"/v1/scans/a%00/events", [], b""), 404),
            (("GET", b"/v1/scans/a%00/organs", [], b""), 404),
            (("DELETE", b"/v1/scans/a%00", [], b""), 404),
            (("POST", b"/v1/scans/a%00/cancel", [], b""), 404),
            (("POST", b"/v1/scans/a%00/retry", [], b""), 404),
            (("GET", b"/v1/scans?before=a%00", [], b""), 404),
            (source(b'{"source":{"upload":"a\\u0000"}}'), 404),
            (scan(b"", (b"Idempotency-Key", b"a\0b")), 400),
        ):
            method, target, headers, body = call
            assert app.ask(method, target, headers=headers, body=body).status == status, call


HOSTILE = (
    *(b"", b"0", b"-1", b"1e400", b"nan", b"%", b"%zz", b"%00", b"%0A", b"%ED%A0%80", b"%2e%2e%2f", b"%F0%9F%90%9F"),
    *(DIGITS, b"9" * 30, b"a" * 3000, b"[[", b'"', b";", b",,", b"=", b"*=utf-9''%ff"),
)
PIECES = st.sampled_from(HOSTILE) | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8).map(
    str.encode
)
HEADER_VALUES = PIECES | st.binary(max_size=12).map(lambda raw: bytes(one for one in raw if one >= 32 and one != 127))
TARGETS = (
    *(b"/v1/scans", b"/v1/scans/{}", b"/v1/scans/{}/slices/{}/{}.png", b"/v1/reviews", b"/v1/reviews/{}"),
    *(b"/v1/scans/{}/" + part for part in b"events organs labels quality segmentation cancel retry".split()),
    *(b"/v1/uploads", b"/v1/uploads/{}", b"/v1/models", b"/v1/models/shadow", b"/v1/models/webhook", b"/v1/model"),
    *(b"/v2", b"/v2/models/{}", b"/v2/models/{}/infer", b"/v2/models/floats/infer", b"/v2/models/strings/infer"),
    *(b"/v2/models/{}/versions/{}/infer", b"/v2/models/{}/config", b"/v2/models/{}/stats", b"/v2/models/{}/ready"),
    *(b"/v2/repository/index", b"/v2/repository/models/floats/load", b"/v2/repository/models/{}/unload"),
    *(b"/v2/systemsharedmemory/region/{}/register", b"/v2/systemsharedmemory/region/{}/status", b"/v2/logging"),
    *(b"/metrics", b"/health/live", b"/health/ready", b"/docs", b"/static-offline-docs/{}", b"/{}"),
)
QUERY = (
    *(b"filename", b"spacing", b"priority", b"fresh", b"sha256", b"limit", b"before", b"state"),
    *(b"format", b"opacity", b"scale_bar", b"legend", b"scan", b"reviewer", b"verdict", b"organ", b"since", b"history"),
)
HEADERS = (
    *(b"Content-Type", b"Content-Length", b"Content-Encoding", b"Content-Digest", b"Repr-Digest", b"Idempotency-Key"),
    *(b"Upload-Length", b"Upload-Offset", b"Upload-Metadata", b"Upload-Checksum", b"Upload-Defer-Length", b"Host"),
    *(b"Inference-Header-Content-Length", b"Accept", b"Accept-Encoding", b"Range", b"If-Modified-Since", b"Origin"),
    *(b"Authorization", b"X-API-Key", b"X-Request-ID", b"Traceparent", b"X-MLflow-Signature", b"X-MLflow-Timestamp"),
)
NAMES = ("inputs", "outputs", "parameters", "name", "shape", "key", "source")
REVIEW = {"scan": "0" * 32, "slice_index": 0, "verdict": "good", "mask_sha256": "0" * 64, "organ": "heart"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800") | st.just("\0"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, *REVIEW]), inner)
        | st.fixed_dictionaries({name: st.just(value) | inner for name, value in REVIEW.items()})
    ),
    max_leaves=8,
)
BODIES = JSON.map(lambda content: json.dumps(content).encode()) | PIECES | st.binary(max_size=20)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
    target=st.sampled_from(TARGETS),
    pieces=st.lists(PIECES, min_size=3, max_size=3),
    query=st.dictionaries(st.sampled_from(QUERY), PIECES, max_size=3),
    headers=st.dictionaries(st.sampled_from(HEADERS), HEADER_VALUES, max_size=4),
    body=BODIES,
)
@settings(max_examples=400)
def test_no_request_is_a_fault_of_the_server(
    app: App,
    method: str,
    target: bytes,
    pieces: list[bytes],
    query: dict[bytes, bytes],
    headers: dict[bytes, bytes],
    body: bytes,
) -> None:
    """Any method on any path, with hostile pieces in its path, query, headers and body: no 5xx."""
    for piece in pieces:
        target = target.replace(b"{}", piece.replace(b"?", b""), 1)
    asked = b"&".join(name + b"=" + value for name, value in query.items())
    answer = app.ask(method, target + b"?" + asked, headers=[TUS, *headers.items()], body=body)
    assert answer.status < 500, answer
