"""Query: every name behind the question mark is one that the call knows, given once; all else is refused by name.

What is passed over in silence is a wish that was not granted: `?prioriti=interactive` waits with the rest. Two things
are let through: `_`, which means nothing and gets a request past a cache, and all of /v2, whose protocol has no
parameters and whose clients send their own.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator

from serving.intake.parameters import FLAGS, parse_flag
from serving.intake.refusals import RequestRefused
from serving.parsing.malformed import shown

PAST_CACHES = "_"
"""A parameter of any value, which no call looks at."""
_FREE = "/v2"
_SHOWN_CHARACTERS = 60


async def known_query(request: Request) -> None:
    """A dependency of every route. Raises RequestRefused for a name that the route does not know, or that comes twice,
    and for text that is not UTF-8.

    Routes that are bare ASGI applications have no dependencies, and look at no query.
    """
    if not request.scope["query_string"]:
        return
    route, path = request.scope.get("route"), request.scope["path"]
    if not isinstance(route, APIRoute) or path == _FREE or path.startswith(f"{_FREE}/"):
        return
    _require_utf8(request.scope["query_string"])
    known = sorted(set(_names(route.dependant)))
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name == PAST_CACHES:
            continue
        field = name[:_SHOWN_CHARACTERS]
        if name not in known:
            raise RequestRefused(f"this call has no parameter {field!r}; {_hint(field, known)}", field=field)
        if times > 1:
            raise RequestRefused(f"{field} is given {times} times; give it once", field=field)


def _require_utf8(query: bytes) -> None:
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        try:
            unquote_to_bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            field = name.decode("ascii", "replace")[:_SHOWN_CHARACTERS]
            raise RequestRefused(
                f"{field} is {shown(value)}, which is not UTF-8; write it as UTF-8, such as Gr%C3%B6%C3%9Fe.nii",
                field=field,
            ) from None


def _names(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        kind = parameter.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from (field.alias or name for name, field in kind.model_fields.items())
        else:
            yield parameter.alias
    for other in dependant.dependencies:
        yield from _names(other)


def _hint(name: str, known: list[str]) -> str:
    if not known:
        return "it takes none"
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"it knows {', '.join(known)}"


def _flag(value: Any) -> bool:
    """From JSON a boolean, or what a query may say. Raises ValueError."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return parse_flag(value, field="it")
    raise ValueError(f"it is one of {', '.join(FLAGS)}")


Flag = Annotated[bool, BeforeValidator(_flag)]
"""Yes or no, said in one of the ways that a form's field may say it."""
