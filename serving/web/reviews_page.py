"""/reviews: slices that are worth a look, one after another, and what a person says of them."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from serving.web.pages import PageRoute, page

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/reviews", name="show_reviews")
async def show_reviews(request: Request) -> Response:
    """The page; slices are asked for by its script."""
    return page(request, "reviews.html")
