"""Routes: all routers of the page, in the order in which paths are looked for among them."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from serving.web import assets, models_page, reviews_page, scan_list, scan_page, sign_in, viewer

ROUTERS: Final[tuple[APIRouter, ...]] = (
    *(assets.router, sign_in.router, viewer.router, viewer.pages),
    *(scan_list.streams, scan_list.router, scan_page.router, models_page.router, reviews_page.router),
)
