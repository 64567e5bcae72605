"""/v2/models/MODEL/infer: tensors in, tensors out.

It is called for every single slice, so it is a plain Starlette route: nothing is resolved, validated or described that
the protocol's own modules do not look at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from serving.intake import MOST_BODY_BYTES
from serving.protocol.compression import packed, unpacked, wanted
from serving.protocol.offered import Offered, check
from serving.protocol.refusals import InferenceRefused
from serving.protocol.tensors import InferenceRequest, encode
from serving.routes.given import resources_of

_LENGTH = "inference-header-content-length"
_INLINE_BYTES = 1 << 18
"""Parsing and packing more than this is left to a thread, so that nobody else waits for it."""

router = APIRouter()


async def infer(request: Request) -> Response:
    """Slices and windows in, segmentation and confidence out; for a plain model, what its graph has."""
    began = time.perf_counter()
    given, asked = resources_of(request), request.path_params
    offered = given.catalogue.find(asked["name"], asked.get("version"))
    rows = None
    try:
        given.batcher.check_room()
        body = await given.intake.limited(request.stream())
        headers = request.headers
        if len(body) > _INLINE_BYTES or "content-encoding" in headers:
            wish = await asyncio.to_thread(_parsed, body, headers, offered)
        else:
            wish = _parsed(body, headers, offered)
        offered.statistics.spent("compute_input", time.perf_counter() - began)
        outputs = await offered.infer(wish)
        computed = time.perf_counter()
        about = {"model_name": offered.name, "model_version": offered.version}
        content, length = encode(about, outputs, wish)
        response = await _response(content, length, accept=headers.get("accept-encoding", ""))
        offered.statistics.spent("compute_output", time.perf_counter() - computed)
        rows = _rows(wish, offered)
        return response
    finally:
        offered.statistics.ended(time.perf_counter() - began, rows=rows)


for _path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
    router.add_route(_path, infer, methods=["POST"])


def _parsed(body: bytes, headers: Mapping[str, str], offered: Offered) -> InferenceRequest:
    body = unpacked(body, headers.get("content-encoding", "").strip().lower(), most_bytes=MOST_BODY_BYTES)
    stated = headers.get(_LENGTH)
    if stated is not None and not stated.isdecimal():
        raise InferenceRefused(f"Inference-Header-Content-Length is {stated!r}; it is a number of bytes")
    wish = InferenceRequest.parse(body, header_length=None if stated is None else int(stated), model=offered.name)
    check(offered, wish)
    return wish


def _rows(wish: InferenceRequest, offered: Offered) -> int:
    """Of the batch; 1 where there is none."""
    if not offered.max_batch_size:
        return 1
    return max((len(tensor.array) for tensor in wish.inputs.values()), default=1)


async def _response(content: bytes, length: int | None, *, accept: str) -> Response:
    headers: dict[str, str] = {}
    if (coding := wanted(accept)) is not None:
        inline = len(content) <= _INLINE_BYTES
        content = packed(content, coding) if inline else await asyncio.to_thread(packed, content, coding)
        headers["content-encoding"] = coding
    if length is None:
        return Response(content, media_type="application/json", headers=headers)
    headers[_LENGTH] = str(length)
    return Response(content, media_type="application/octet-stream", headers=headers)
