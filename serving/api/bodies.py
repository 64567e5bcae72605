"""Bodies: what short requests say in JSON, read within the limits of its kind."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from serving.api.dependencies import Resources
from serving.parsing.documents import SHORT, parse_object
from serving.parsing.malformed import Refusal


async def short_body(request: Request, resources: Resources) -> bytes:
    """A body of at most SHORT.most_bytes. Raises TooLarge, UploadStalled."""
    return await resources.intake.limited(request.stream(), most_bytes=SHORT.most_bytes)


async def short_object(request: Request, resources: Resources, *, name: str, refused: Refusal) -> dict[str, Any]:
    """The JSON object in it; an empty one where there is no body. Raises so, and what `refused` makes."""
    return parse_object(await short_body(request, resources), name=name, limits=SHORT, refused=refused)
