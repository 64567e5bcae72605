"""Tensors: requests of the Open Inference Protocol that lie about shapes, types, sizes and lengths."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import numpy as np

from attack.prober import watching
from attack.tally import Arena, Tally
from harness import servers
from harness.forked import ForkedProcess

_SECONDS = 120.0
_UNAVAILABLE = (503, 507)
_NUMBERS: tuple[Any, ...] = (
    -1, 0, 1, 2**31, 2**53, 2**63, 10**30, 1.5, "1", None, True, [], {}, 1e308, float("nan"), float("inf")
)  # fmt: skip
_TYPES = ("BYTES", "BOOL", "FP64", "INT8", "UINT64", "FP16", "", "fp32", "\ud800", 7, None)
Request = tuple[str, bytes, Mapping[str, str | bytes]]
"""What it is, the body, and its headers."""


def attack(arena: Arena, *, requests: int) -> Tally:
    """Each of the named ones once, and so many made at random."""
    tally = Tally("tensors")
    process = ForkedProcess.of(servers.server(arena.folder, model=arena.model, threads=1, batch_size=4))
    process.start()
    dice = random.Random(arena.seed)  # noqa: S311 - not for secrets
    try:
        with httpx.Client(base_url=process.url, timeout=_SECONDS, trust_env=False) as http:
            name = http.get("/v1/model").raise_for_status().json()["name"]
            right = _request(name, {})
            _send(tally, arena, http, name, ("a right one", *_plain(right)))
            for request in _named():
                with watching(process.url, process.pid) as watched:
                    _send(tally, arena, http, name, request)
                watched.note(tally, request[0])
            with watching(process.url, process.pid) as watched:
                for number in range(requests):
                    _send(tally, arena, http, name, _random(dice, number))
                    if number % 100 == 0:
                        arena.say(f"{number} of {requests} tensors, {tally.found} findings")
            watched.note(tally, "tensors at random")
    finally:
        process.stop()
    return tally


def _send(tally: Tally, arena: Arena, http: httpx.Client, model: str, request: Request) -> None:
    what, body, headers = request
    tally.count("requests")
    sent = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers.items()]
    try:
        status: int | str = http.post(f"/v2/models/{model}/infer", content=body, headers=sent).status_code
    except httpx.TimeoutException:
        status = f"no answer in {_SECONDS:.0f} s"
    except httpx.HTTPError as error:
        status = type(error).__name__
    tally.count(f"status {status}")
    if isinstance(status, str) or (status >= 500 and status not in _UNAVAILABLE):
        path = arena.keep(f"tensor-{tally.counts['requests']}", repr(headers).encode() + b"\n" + body[:1_000_000])
        tally.find(f"{status} for {what}", str(path))


def _request(_: str, changes: dict[str, Any], *, pixels: tuple[int, int] = (16, 16)) -> dict[str, Any]:
    slices = {"name": "slices", "shape": [1, *pixels], "datatype": "UINT16", "data": [7] * (pixels[0] * pixels[1])}
    window = {"name": "window", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 4000.0]}
    return {"inputs": [{**slices, **changes}, window]}


def _plain(document: Any) -> tuple[bytes, dict[str, str | bytes]]:
    return json.dumps(document).encode(), {"Content-Type": "application/json"}


def _binary(document: Any, content: bytes, *, stated: str | None = None) -> tuple[bytes, dict[str, str | bytes]]:
    said = json.dumps(document).encode()
    length = str(len(said)) if stated is None else stated
    return said + content, {"Inference-Header-Content-Length": length, "Content-Type": "application/octet-stream"}


def _sliced(shape: list[int], size: int, datatype: str = "UINT16") -> dict[str, Any]:
    slices = {"name": "slices", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
    window = {"name": "window", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 4000.0]}
    return {"inputs": [slices, window]}


def _named() -> Iterator[Request]:
    large = np.zeros((4096, 4096), np.uint8).tobytes()
    yield "a slice of 4096 x 4096", *_binary(_sliced([1, 4096, 4096], len(large), "UINT8"), large)
    yield "nested empty lists", *_plain(_request("", {"data": _nested(30_000)}))
    yield "a flat list of empty lists", b'{"inputs":[' + b"[]," * 10_000_000 + b"[]]}", {}
    yield "deep JSON", b'{"inputs":' + b"[" * 500_000, {"Content-Type": "application/json"}
    yield "a number of 100,000 digits", b'{"inputs":[{"shape":[' + b"9" * 100_000 + b"]}]}", {}
    yield "zero-length BYTES", *_binary(_sliced([1, 1_000_000], 4_000_000, "BYTES"), bytes(4_000_000))
    yield "a shape of many zeros", *_plain(_request("", {"shape": [0] * 100_000, "data": []}))
    yield "a shape of terabytes", *_binary(_sliced([1, 2**20, 2**20], 16), bytes(16))
    yield "no body", b"", {}
    yield "a lone surrogate", b'{"id":"\\ud800","inputs":[]}', {}
    for stated in ("-1", "0", "9" * 5000, "1e3", "٣", "99999999"):
        headers = {"Inference-Header-Content-Length": stated.encode()}
        yield f"a header of {stated[:10]} bytes", _binary(_sliced([1, 4, 4], 32), bytes(32))[0], headers
    yield "a gzip of something else", b"\x1f\x8bxxxx", {"Content-Encoding": "gzip"}
    yield "ten thousand inputs", *_plain({"inputs": [_request("", {})["inputs"][0]] * 10_000})


def _nested(depth: int) -> Any:
    nested: Any = []
    for _ in range(min(depth, 900)):
        nested = [nested, []]
    return nested


def _random(dice: random.Random, number: int) -> Request:
    document = _request("", {})
    tensor = dice.choice(document["inputs"])
    for _ in range(dice.choice((1, 1, 2))):
        match dice.randrange(6):
            case 0:
                tensor["shape"] = [dice.choice(_NUMBERS) for _ in range(dice.choice((0, 1, 2, 3, 4)))]
            case 1:
                tensor["datatype"] = dice.choice(_TYPES)
            case 2:
                tensor["data"] = [dice.choice(_NUMBERS) for _ in range(dice.choice((0, 1, 256, 257)))]
            case 3:
                tensor["parameters"] = {"binary_data_size": dice.choice(_NUMBERS)}
            case 4:
                document["outputs"] = [{"name": dice.choice(("segmentation", "", "confidence", 7)), "parameters": {
                    dice.choice(("binary_data", "classification", "shared_memory_region")): dice.choice(_NUMBERS)
                }}]  # fmt: skip
            case _:
                del tensor[dice.choice(sorted(tensor))]
    if dice.random() < 0.3:
        body, headers = _binary(document, dice.randbytes(dice.choice((0, 1, 512, 8192))))
    else:
        body, headers = _plain(document)
    return f"tensor {number}", body, headers
