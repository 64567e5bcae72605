"""Assets: scripts, styles and the viewer's client, as files of this package. They are the same for all, and open."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from starlette.exceptions import HTTPException

from serving.web.vendored import VENDORED

STATIC_DIR: Final = Path(__file__).parent / "static"
PACKED: Final = ".gz"

OWN: Final = ("models.js", "page.css", "page.js", "reviews.js", "upload.js")
"""Files that we wrote ourselves, which change."""
_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_LOOKED_AFTER: Final = "no-cache"

router = APIRouter(include_in_schema=False)


def address(name: str) -> str:
    """Where a library's or our own file is answered; by its package's name for a library, such as `htmx`."""
    file = next((one.file for one in VENDORED if one.name == name), name)
    return f"/static/{file}"


@cache
def _files(folder: str) -> Mapping[str, Path]:
    """Every file there is, by the name that it is asked by. Nothing else is ever opened."""
    root = STATIC_DIR / folder
    return {file.relative_to(root).as_posix().removesuffix(PACKED): file for file in root.rglob("*") if file.is_file()}


@router.get("/static/{file:path}", name="static_file")
def get_static(request: Request, file: Annotated[str, InPath()]) -> Response:
    """A script, a style sheet, an icon or a licence."""
    return asset(request, "", file, for_ever=file.startswith("vendor/"))


def asset(request: Request, folder: str, name: str, *, for_ever: bool) -> Response:
    """A file of this package. Raises HTTPException (404) where there is none of that name.

    `for_ever`: its name changes with its bytes.
    """
    file = _files(folder).get(name)
    if file is None:
        raise HTTPException(404)
    packed, tag = file.suffix == PACKED, _tag(file)
    headers = {"Cache-Control": _FOR_EVER if for_ever else _LOOKED_AFTER, "ETag": tag}
    if packed:
        headers["Vary"] = "Accept-Encoding"
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = file.read_bytes()
    if packed and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
    elif packed:
        content = gzip.decompress(content)
    return Response(content, headers=headers, media_type=_TYPES[Path(name).suffix])


@cache
def _tag(file: Path) -> str:
    return f'"{hashlib.sha256(file.read_bytes()).hexdigest()[:32]}"'
