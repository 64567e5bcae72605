"""/v2/models/MODEL/infer: tensors in, tensors out.

It is called for every single slice, so it is a bare ASGI application: nothing is resolved, validated or described that
the protocol's own modules do not look at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from serving.api.dependencies import resources_of
from serving.intake.body import MOST_BODY_BYTES
from serving.parsing.quantities import whole_number
from serving.protocol.answers import encode
from serving.protocol.compression import packed, unpacked, wanted
from serving.protocol.errors import InferenceRefused
from serving.protocol.offered_model import Offered, check
from serving.protocol.shared_memory import Regions
from serving.protocol.statistics import Timing
from serving.protocol.tensors import InferenceRequest

_LENGTH = "inference-header-content-length"
_INLINE_BYTES = 1 << 18
"""Parsing and packing more than this is left to a thread, so that nobody else waits for it."""

Headers = Mapping[bytes, bytes]

router = APIRouter()


class Infer:
    """Slices and windows in, segmentation and confidence out; for a plain model, what its graph has."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        response = await self._answer(Request(scope, receive), dict(scope["headers"]))
        await response(scope, receive, send)

    async def _answer(self, request: Request, headers: Headers) -> Response:
        began, path = time.perf_counter(), request.path_params
        resources = resources_of(request)
        offered = resources.catalogue.find(path["name"], path.get("version"))
        try:
            offered.check_room()
            body = await resources.intake.limited(request.stream())
            if len(body) > _INLINE_BYTES or b"content-encoding" in headers or resources.regions.used:
                wish = await asyncio.to_thread(_parsed, body, headers, offered, resources.regions)
            else:
                wish = _parsed(body, headers, offered, resources.regions)
            timing = Timing(compute_input=time.perf_counter() - began)
            outputs = await offered.infer(wish, timing)
            computed = time.perf_counter()
            about = {"model_name": offered.name, "model_version": offered.version}
            response = await _response(*encode(about, outputs, wish, regions=resources.regions), headers)
        except BaseException:
            offered.statistics.failed(time.perf_counter() - began)
            raise
        ended = time.perf_counter()
        timing.compute_output = ended - computed
        offered.statistics.succeeded(ended - began, timing, rows=_rows(wish, offered))
        return response


for _path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
    router.add_route(_path, Infer(), methods=["POST"])  # type: ignore[arg-type]  # Starlette takes ASGI as well


def _parsed(body: bytes, headers: Headers, offered: Offered, regions: Regions) -> InferenceRequest:
    coding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
    body = unpacked(body, coding, most_bytes=MOST_BODY_BYTES)
    stated = headers.get(_LENGTH.encode())
    length = None
    if stated is not None:
        text = stated.decode("latin-1")
        length = whole_number(text, name="Inference-Header-Content-Length", refused=InferenceRefused)
    wish = InferenceRequest.parse(body, header_length=length, model=offered.name, regions=regions)
    check(offered, wish)
    return wish


def _rows(wish: InferenceRequest, offered: Offered) -> int:
    """Of the batch; 1 where there is none."""
    if not offered.max_batch_size:
        return 1
    return max((len(tensor.array) for tensor in wish.inputs.values()), default=1)


async def _response(content: bytes, length: int | None, request_headers: Headers) -> Response:
    headers: dict[str, str] = {}
    if (coding := wanted(request_headers.get(b"accept-encoding", b"").decode("latin-1"))) is not None:
        inline = len(content) <= _INLINE_BYTES
        content = packed(content, coding) if inline else await asyncio.to_thread(packed, content, coding)
        headers["content-encoding"] = coding
    if length is None:
        return Response(content, media_type="application/json", headers=headers)
    headers[_LENGTH] = str(length)
    return Response(content, media_type="application/octet-stream", headers=headers)
