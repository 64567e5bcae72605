"""Document: /openapi.json. What all calls have in common is written into it here, once: keys, and how they are refused.

A route says what it answers when all is well, and names by `refusals` the statuses that are its own; those that follow
from its path, its body and its need of a key are added here, each as the problem that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from serving.api.access import OPEN, needs
from serving.api.problem_schema import ProblemResponse
from serving.api.problem_table import MEDIA_TYPE, ROWS
from serving.api.promotion_schemas import PromotionRequest, RollbackRequest
from serving.api.protocol_schemas import ErrorResponse, IndexRequest, LoadRequest, RegionRequest
from serving.api.review_schemas import ReviewRequest
from serving.api.schemas import ScanRequest

_TAGS: Final = [
    {"name": "scans", "description": "Post a scan, follow it, and move it in the queue."},
    {"name": "results", "description": "What came of a scan: voxels, organs, quality and pictures."},
    {"name": "corrections", "description": "Segmentations that people have put right, as versions of a scan's."},
    {"name": "reviews", "description": "Slices that are worth a look, and what people say of them."},
    {"name": "uploads", "description": "Resumable uploads by the tus protocol, for large scans and bad networks."},
    {"name": "models", "description": "What new scans are segmented with."},
    {"name": "Open Inference Protocol", "description": "Single slices and plain models, by protocol v2."},
    {"name": "server", "description": "Health, metrics, and the model that answers."},
]
"""In the order in which `/docs` shows them."""

ABOUT: Final[dict[str, Any]] = {
    "openapi_tags": _TAGS,
    "swagger_ui_parameters": {"tryItOutEnabled": True, "displayRequestDuration": True},
    "generate_unique_id_function": lambda route: route.name,
}
"""What the application is made with. A call has the name of its function, or `operation_id` where two share one."""

BINARY: Final = {"type": "string", "format": "binary"}

BODY: Final = (408, 413)
"""How a call is refused whose body is read: it falls silent, or is too large."""

_EVERY: Final = frozenset({400, 500, 503})
_KEY: Final = frozenset({401, 403, 429})
_SCHEMAS: Final = "#/components/schemas/{model}"
_UNSEEN: Final[tuple[type[BaseModel], ...]] = (
    *(ProblemResponse, ErrorResponse),
    *(ScanRequest, ReviewRequest, PromotionRequest, RollbackRequest, IndexRequest, LoadRequest, RegionRequest),
)
"""Models of answers that no route gives, and of bodies that routes read themselves."""
_UNSAID: Final = "Successful Response"
"""What FastAPI says where a route says nothing."""
_WELL: Final = {200: "What was asked for.", 201: "It is made.", 202: "It is taken in.", 204: "It is done."}
_PARAMETER: Final = re.compile(r"{(\w+)}")
_FASTAPI_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")
"""Of answers that `problems` gives in its own words."""
_HEADERS: Final[dict[int, tuple[str, str]]] = {
    401: ("WWW-Authenticate", "How a key is shown; not from the webhook."),
    429: ("Retry-After", "Seconds after which there may be room."),
    503: ("Retry-After", "Seconds after which it may be otherwise, where anybody knows."),
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route is given as `responses`, for statuses that not every call has."""
    return {status: {"description": _meaning(status)} for status in statuses}


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Where the document describes a model, for routes that read their bodies themselves; it has to be in _UNSEEN."""
    return {"$ref": _SCHEMAS.format(model=model.__name__)}


def json_body(model: type[BaseModel], *, required: bool = False) -> dict[str, Any]:
    """What a route is given as `openapi_extra` that reads this from its body, whatever the media type."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": reference(model)}}}}


def install(app: FastAPI, *, bare: Sequence[BaseRoute]) -> None:
    """Has the application describe itself so; `bare` describe what it answers by routes that FastAPI does not see."""

    @cache
    def described() -> dict[str, Any]:
        routes = [*app.routes, *bare]
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=routes, tags=app.openapi_tags
        )
        _complete(document)
        return document

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to add to it


def _complete(document: dict[str, Any]) -> None:
    components = document["components"]
    for name in _FASTAPI_SCHEMAS:
        components["schemas"].pop(name, None)
    _, unseen = models_json_schema([(model, "validation") for model in _UNSEEN], ref_template=_SCHEMAS)
    components["schemas"] |= unseen["$defs"]
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, rf_ID_SECRET."},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    used: set[tuple[int, bool]] = set()
    for path, calls in document["paths"].items():
        for call in calls.values():
            used.update(_complete_call(path, call))
    components["responses"] = {_name(*one): _response(*one) for one in sorted(used)}


def _complete_call(path: str, call: dict[str, Any]) -> Iterator[tuple[int, bool]]:
    """Adds what is missing to a call; gives the refusals that it refers to, each with whether it is of /v2."""
    guarded, protocol = needs(path) is not OPEN, _is_protocol(path)
    call["security"] = [{"bearer": []}, {"header": []}] if guarded else []
    _name_parameters(path, call)
    responses: dict[str, dict[str, Any]] = call["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for well, answer in responses.items():
        _as_items(answer)
        if answer["description"] == _UNSAID:
            answer["description"] = _WELL[int(well)]
    own = {int(status) for status in responses if int(status) >= HTTPStatus.BAD_REQUEST}
    for status in own | _EVERY | (_KEY if guarded else frozenset()) | _of_path(path):
        stated = responses.get(str(status), {})
        if "content" in stated:  # it answers so itself, and may be refused beside
            stated["content"].update(_content(protocol=protocol))
            continue
        responses[str(status)] = {"$ref": f"#/components/responses/{_name(status, protocol)}"}
        yield status, protocol
    call["responses"] = dict(sorted(responses.items()))


def _name_parameters(path: str, call: dict[str, Any]) -> None:
    """A route that does not look at a part of its path has it all the same."""
    parameters = call.setdefault("parameters", [])
    known = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    for name in _PARAMETER.findall(path):
        if name not in known:
            parameters.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})


def _of_path(path: str) -> frozenset[int]:
    return frozenset({404}) if _PARAMETER.search(path) else frozenset()


def _as_items(answer: dict[str, Any]) -> None:
    """OpenAPI 3.1 has no word for the items of a stream: its schema is that of each event."""
    for content in answer.get("content", {}).values():
        if "itemSchema" in content:
            content["schema"] = content.pop("itemSchema")


def _is_protocol(path: str) -> bool:
    return path == "/v2" or path.startswith("/v2/")


def _name(status: int, protocol: bool) -> str:
    return f"{'Inference' if protocol else 'Problem'}{status}"


def _response(status: int, protocol: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _meaning(status), "content": _content(protocol=protocol)}
    if status in _HEADERS:
        name, meaning = _HEADERS[status]
        answer["headers"] = {name: {"description": meaning, "schema": {"type": "string"}}}
    return answer


def _content(*, protocol: bool) -> dict[str, Any]:
    if protocol:
        return {"application/json": {"schema": reference(ErrorResponse)}}
    return {MEDIA_TYPE: {"schema": reference(ProblemResponse)}}


def _meaning(status: int) -> str:
    """The titles of the problems that have this status."""
    titles = dict.fromkeys(problem.title for problem in ROWS if problem.status == status)
    return "; ".join(titles)
