"""/v2/models/MODEL/infer: tensors in, tensors out.

It is called for every single slice, so it is a bare ASGI application: nothing is resolved, validated or described that
the protocol's own modules do not look at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from numpy.typing import NDArray
from starlette.types import Receive, Scope, Send

from serving.api.departure import unless_gone
from serving.api.dependencies import Resources, resources_of
from serving.api.document import BINARY, BODY, refusals
from serving.api.protocol_schemas import InferRequest, InferResponse
from serving.auth.identity import identity_of
from serving.parsing.quantities import whole_number
from serving.protocol.answers import encode
from serving.protocol.body_room import Held
from serving.protocol.compression import packed, unpacked, wanted
from serving.protocol.errors import InferenceRefused
from serving.protocol.offered_model import Offered, check
from serving.protocol.statistics import Timing
from serving.protocol.tensors import InferenceRequest, StatedRequest

_LENGTH = "inference-header-content-length"
_INLINE_BYTES = 1 << 18
"""Parsing and packing more than this is left to a thread, so that nobody else waits for it."""

_INLINE_VALUES = 1 << 14
"""And writing more values as JSON."""

Headers = Mapping[bytes, bytes]

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": BINARY}}},
    **refusals(*BODY, 422, 507),
}
_BINARY_TOO = {"requestBody": {"content": {"application/octet-stream": {"schema": BINARY}}}}

router = APIRouter()
described = APIRouter(tags=["Open Inference Protocol"])
"""What the document says of it: these are never called."""


class Infer:
    """Slices and windows in, segmentation and confidence out; for a plain model, what its graph has."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        request = Request(scope, receive)
        resources = resources_of(request)
        with resources.bodies.holding(identity_of(scope).owner) as held:
            response = await self._answer(request, resources, held, dict(scope["headers"]))
        await response(scope, receive, send)

    async def _answer(self, request: Request, resources: Resources, held: Held, headers: Headers) -> Response:
        began, path = time.perf_counter(), request.path_params
        offered = resources.catalogue.find(path["name"], path.get("version"))
        try:
            offered.check_room()
            body = await resources.intake.limited(held.counted(request.stream()))
            timing = Timing()

            async def work() -> tuple[InferenceRequest, Mapping[str, NDArray[Any]]]:
                wish = await _wish(body, headers, offered, resources, held)
                timing.compute_input = time.perf_counter() - began
                return wish, await offered.infer(wish, timing)

            wish, outputs = await unless_gone(request.receive, work)
            computed = time.perf_counter()
            response = await _response(*await _encoded(outputs, offered, wish, resources), headers)
        except BaseException:
            offered.statistics.failed(time.perf_counter() - began)
            raise
        ended = time.perf_counter()
        timing.compute_output = ended - computed
        offered.statistics.succeeded(ended - began, timing, rows=_rows(wish, offered))
        return response


for _path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
    router.add_route(_path, Infer(), methods=["POST"])  # type: ignore[arg-type]  # Starlette takes ASGI as well


@described.post(
    "/v2/models/{name}/infer",
    summary="Ask a model",
    responses=_ANSWERS,
    openapi_extra=_BINARY_TOO,
    operation_id="infer",
)
@described.post(
    "/v2/models/{name}/versions/{version}/infer",
    summary="Ask a version",
    responses=_ANSWERS,
    openapi_extra=_BINARY_TOO,
    operation_id="infer_version",
)
def infer(
    wish: InferRequest,
    inference_header_content_length: Annotated[
        str | None, Header(description="Bytes of JSON before binary tensors.")
    ] = None,
) -> InferResponse:
    """Slices and windows in, segmentation and confidence out; for a plain model, what its graph has."""
    raise NotImplementedError


async def _wish(
    packed_body: bytes, headers: Headers, offered: Offered, resources: Resources, held: Held
) -> InferenceRequest:
    """Compared with the model, and counted, before any data is read; what takes long is done in turn."""
    coding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
    body: bytes | bytearray = packed_body
    if coding:
        body = await resources.bodies.in_turn(partial(unpacked, packed_body, coding, take=held.take))
    in_json = _header_length(headers)
    parse = partial(StatedRequest.parse, body, header_length=in_json)
    long = len(body) if in_json is None else min(in_json, len(body))
    stated = await resources.bodies.in_turn(parse) if long > _INLINE_BYTES else parse()
    check(offered, stated)
    stated.check_sizes(model=offered.name)
    held.take(stated.weight)
    read = partial(stated.read, resources.regions, model=offered.name)
    return await resources.bodies.in_turn(read) if max(long, stated.weight) > _INLINE_BYTES else read()


async def _encoded(
    outputs: Mapping[str, NDArray[Any]], offered: Offered, wish: InferenceRequest, resources: Resources
) -> tuple[bytes, int | None]:
    about = {"model_name": offered.name, "model_version": offered.version}
    work = partial(encode, about, outputs, wish, regions=resources.regions)
    if sum(array.size for name, array in outputs.items() if not wish.is_binary(name)) > _INLINE_VALUES:
        return await resources.bodies.in_turn(work)
    return work()


def _header_length(headers: Headers) -> int | None:
    stated = headers.get(_LENGTH.encode())
    if stated is None:
        return None
    text = stated.decode("latin-1")
    return whole_number(text, name="Inference-Header-Content-Length", refused=InferenceRefused)


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
