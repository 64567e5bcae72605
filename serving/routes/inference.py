"""/v2/models/MODEL/infer: single slices through the batching queue, as the Open Inference Protocol says it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Request, Response

from scans.intensity import Window
from serving.batching import Urgency
from serving.models import LoadedModel
from serving.routes.given import Given
from serving.tensors import InferenceRefused, InferenceRequest, encode

_LENGTH = "Inference-Header-Content-Length"

router = APIRouter(prefix="/v2", tags=["inference"])


@router.post("/models/{name}/infer")
@router.post("/models/{name}/versions/{version}/infer")
async def infer(
    request: Request,
    given: Given,
    name: str,
    version: str | None = None,
    inference_header_content_length: Annotated[int | None, Header()] = None,
) -> Response:
    """Slices (N, Y, X) of raw grey values of any real type, and a window (N, 2) unless the model has its own, in;
    `segmentation`, UINT8 (N, Y, X), out.
    """
    model = given.models.find(name, version)
    given.batcher.check_room()
    body = await given.intake.limited(request.stream())
    asked = InferenceRequest.parse(body, header_length=inference_header_content_length)
    if unknown := set(asked.outputs) - {"segmentation"}:
        raise InferenceRefused(f"output {min(unknown)!r} is not offered; there is segmentation")
    slices, windows = _inputs(asked, model)
    answer = given.batcher.submit(
        slices,
        window=windows,
        network=model.runtime,
        urgency=Urgency.SLICE,
        stream=uuid.uuid4().hex,
        merged_up_to=model.tuning.batch_size(*slices.shape[1:]),
    )
    segmentation = await asyncio.wrap_future(answer)
    header = {"model_name": model.identity.name, "model_version": model.identity.shown_version}
    content, length = encode(header, {"segmentation": segmentation}, asked)
    if length is None:
        return Response(content, media_type="application/json")
    return Response(content, media_type="application/octet-stream", headers={_LENGTH: str(length)})


def _inputs(asked: InferenceRequest, model: LoadedModel) -> tuple[np.ndarray, Window | np.ndarray]:
    slices, windows = asked.inputs.get("slices"), asked.inputs.get("window")
    if slices is None or slices.ndim != 3 or min(slices.shape) < 1 or slices.dtype.kind not in "iuf":
        raise InferenceRefused("input slices is needed: real numbers of shape (N, Y, X)")
    if slices.dtype.kind == "f" and not np.isfinite(slices).all():
        raise InferenceRefused("input slices holds values that are not finite")
    fixed = model.manifest.intensity.fixed
    if windows is None and fixed is not None:
        return slices, fixed
    if windows is None or windows.shape != (len(slices), 2) or not (windows[:, 0] < windows[:, 1]).all():
        raise InferenceRefused(f"input window is needed: lower < upper for each slice, shape ({len(slices)}, 2)")
    return slices, windows.astype(np.float32)
