"""Problems: every refusal is answered with an RFC 9457 problem, by the table of problems."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DataError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from scans.formats import ACCEPTED, FormatError
from serving.api.gate_answers import rows_of
from serving.api.problem_table import (
    DISK_FULL,
    INTERNAL,
    MEDIA_TYPE,
    NO_ANSWER,
    NO_DATABASE,
    NO_STORE,
    NOT_STORABLE,
    NOT_VALID,
    NOTHING_LOST,
    PROBLEMS,
    UNKNOWN_FORMAT,
    MoveRefused,
    Problem,
)
from serving.api.ranges import RangeNotSatisfiable
from serving.api.request_log import PROBLEM, REQUEST_ID
from serving.auth.identity import identity_of
from serving.auth.quotas import QuotaExceeded
from serving.inference.backpressure import QueueFull
from serving.intake.refusals import RequestRefused
from serving.models.champions import GateRefused
from serving.observability import logs
from serving.observability.probes import Unanswered
from serving.observability.reasons import reason, without_paths
from serving.parsing.texts import sendable
from serving.review.reviewing import ReviewRefused
from serving.storage.failures import is_away, is_full


def install(app: FastAPI, *of_the_store: type[Exception]) -> None:
    """Makes the app answer every error with a problem; `of_the_store` are those of its library."""
    for kind in PROBLEMS:
        app.add_exception_handler(kind, _domain)
    app.add_exception_handler(OSError, _system)
    for raised in of_the_store:
        app.add_exception_handler(raised, _system)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_exception_handler(Unanswered, _database)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def answer(request: Request, error: Exception) -> Response:
    """The problem that an error is, for what stands outside of the routes."""
    if isinstance(error, tuple(PROBLEMS)):
        return _domain(request, error)
    if isinstance(error, NO_ANSWER):
        return _database(request, error)
    return _system(request, error) if is_away(error) else _unexpected(request, error)


def is_foreseen(error: Exception) -> bool:
    """True for what is answered with another status than 500."""
    return isinstance(error, (*PROBLEMS, *NO_ANSWER)) or is_away(error)


def _domain(request: Request, error: Exception) -> Response:
    problem = next(row for kind, row in PROBLEMS.items() if isinstance(error, kind))
    extra: dict[str, Any] = {}
    detail = str(error)
    if isinstance(error, FormatError):
        if error.accepted == ACCEPTED:
            problem = UNKNOWN_FORMAT
        name, found = error.path.name, without_paths(error.found)
        detail = f"{name}: {without_paths(error.detail)}"
        extra = {"file": name, "found": found, "accepted": error.accepted}
    elif isinstance(error, GateRefused):
        extra = {"rows": [row.model_dump() for row in rows_of(error.weighed)]}
    elif isinstance(error, RequestRefused | ReviewRefused | MoveRefused):
        extra = {"field": error.field}
    elif isinstance(error, QuotaExceeded):
        problem = replace(problem, headers={"Retry-After": str(error.seconds)})
    elif isinstance(error, RangeNotSatisfiable):
        problem = replace(problem, headers={"Content-Range": f"bytes */{error.size}"})
    elif isinstance(error, QueueFull):
        problem = replace(problem, headers={"Retry-After": str(error.seconds)})
        extra = {"limit": error.limit, "waiting": error.waiting, "most": error.most}
    return _answer(request, problem, detail, extra)


def _system(request: Request, error: Exception) -> Response:
    if is_full(error):
        logs.event("disk_full", level=logging.ERROR, error=reason(error))
        return _answer(request, DISK_FULL, "the server's disk is full: nothing was kept; try again when there is room")
    logging.getLogger("ricefish").error("store_failed", exc_info=error)
    return _answer(request, NO_STORE, f"the server's store does not answer: {NOTHING_LOST}")


def _database(request: Request, error: Exception) -> Response:
    if isinstance(error, DataError):  # it answers, that it has no such value
        return _answer(request, NOT_STORABLE, reason(error))
    if is_full(error):
        logs.event("disk_full", level=logging.ERROR, error=reason(error))
        return _answer(request, DISK_FULL, "the server's database has no room left; try again when there is some")
    if isinstance(error, OperationalError | PoolTimeout | Unanswered):  # it is away, as the log says once a request
        logs.event("database_failed", level=logging.ERROR, error=reason(error))
    else:
        logging.getLogger("ricefish").error("database_failed", exc_info=error)
    return _answer(request, NO_DATABASE, f"the server's database does not answer: {NOTHING_LOST}")


def _validation(request: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": ("request",), "msg": str(error)}
    name = str(first["loc"][-1])
    return _answer(request, NOT_VALID, f"{name}: {first['msg']}", {"field": name})


def _http(request: Request, error: Exception) -> Response:
    """What the routes' library refuses: mostly a path or a method that there is not."""
    if not isinstance(error, HTTPException):
        return _unexpected(request, error)
    asked, headers = f"{request.method} {request.url.replace(query='')}", dict(error.headers or {})
    detail = f"{asked}: {error.detail}"
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"there is no {asked}; /docs lists every call"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
        detail = f"there is no {asked}, but {headers['Allow']}; /docs lists every call"
    return _answer(request, Problem(error.status_code, "http", str(error.detail), headers), detail)


def _methods(request: Request) -> list[str]:
    """Of all routes with the path of the request; the library names those of the first alone."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            found.update(getattr(route, "methods", None) or ())
    return sorted(found)


def _gone(request: Request, error: Exception) -> Response:
    logs.event("client_disconnected", path=request.url.path)
    return Response(status_code=499)


def _unexpected(request: Request, error: Exception) -> Response:
    logging.getLogger("ricefish").error("internal_error", exc_info=error)
    answer = _answer(request, INTERNAL, f"{type(error).__name__} in {request.method} {request.url.path}")
    if (request_id := logs.bound("request")) is not None:  # this answer passes no middleware
        answer.headers[REQUEST_ID] = request_id
    return answer


def _answer(request: Request, problem: Problem, detail: str, extra: Mapping[str, Any] | None = None) -> Response:
    request.scope[PROBLEM] = problem.slug
    detail = sendable(identity_of(request.scope).shown(detail))
    path = request.scope["path"]
    if path == "/v2" or path.startswith("/v2/"):  # the shape that the Open Inference Protocol gives to errors
        return JSONResponse({"error": detail}, problem.status, headers=dict(problem.headers))
    content = {
        "type": f"urn:ricefish:problem:{problem.slug}",
        "title": sendable(problem.title),
        "status": problem.status,
        "detail": detail,
        "instance": request.url.path,
        **{key: sendable(value) if isinstance(value, str) else value for key, value in (extra or {}).items()},
    }
    return JSONResponse(content, problem.status, headers=dict(problem.headers), media_type=MEDIA_TYPE)
