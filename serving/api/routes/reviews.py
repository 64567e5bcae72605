"""/v1/reviews: slices that are worth a look, and what people say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, ValidationError

from scans.reviews import MARKING_COLUMNS, NEEDED_COLUMNS, NOTED_COLUMNS, Verdict
from serving.api.bodies import short_body
from serving.api.csv_answers import OR_CSV, AsCsv, csv_rows
from serving.api.dependencies import CallerResources, database_answers
from serving.api.document import BINARY, BODY, json_body, refusals
from serving.api.query import Flag
from serving.api.responses import known_form, model_response
from serving.api.review_schemas import (
    NextReviewResponse,
    ReviewCountsResponse,
    ReviewerResponse,
    ReviewLinks,
    ReviewRequest,
    ReviewResponse,
    ReviewsResponse,
)
from serving.api.schemas import ModelResponse
from serving.parsing.texts import is_name
from serving.review.records import KeptReview, ReviewFilter, ReviewNotFound
from serving.review.reviewing import Question, ReviewerCounts, ReviewRefused, Said
from serving.segmentation.correction import MODELS_ANSWER

_COLUMNS = (*NEEDED_COLUMNS, *MARKING_COLUMNS, *NOTED_COLUMNS)
_PAGE = 100
_LINES = 500
"""Of CSV that are sent at once."""
_NAMED = {"Content-Disposition": 'attachment; filename="reviews.csv"'}

router = APIRouter(prefix="/v1/reviews", tags=["reviews"], dependencies=[Depends(database_answers)])


def _known_id(review_id: str) -> str:
    if not is_name(review_id):
        raise ReviewNotFound(review_id)
    return review_id


def _filter(  # noqa: PLR0917 - FastAPI passes parameters by name
    scan: Annotated[
        str | None, Query(description="Id of the scan."), AfterValidator(lambda s: s and known_form(s))
    ] = None,
    reviewer: Annotated[str | None, Query(description="Who judged.", min_length=1, max_length=200)] = None,
    verdict: Annotated[Verdict | None, Query(description="Only these verdicts.")] = None,
    organ: Annotated[str | None, Query(description="Only verdicts on this organ; empty: on slices as a whole.")] = None,
    since: Annotated[datetime | None, Query(description="Only those given then or later, such as 2026-11-30.")] = None,
    history: Annotated[Flag, Query(description="With those that were replaced or withdrawn.")] = False,
) -> ReviewFilter:
    seconds = None if since is None else (since if since.tzinfo else since.replace(tzinfo=UTC)).timestamp()
    return ReviewFilter(scan, reviewer, verdict, organ, seconds, history)


@router.get(
    "/next",
    summary="The next slice worth a look",
    response_model=NextReviewResponse,
    responses={204: {"description": "There is nothing left to judge.", "model": None}},
)
async def next_review(resources: CallerResources) -> Response | NextReviewResponse:
    """The slice that is most worth a look, which is yours for five minutes: nobody else is given it meanwhile.

    Never one that you have judged. Each call gives another, so the next can be fetched while one is looked at.
    """
    question = await resources.slow_answers.drawn(resources.reviews.next)
    return Response(status_code=204) if question is None else _question(question)


@router.post(
    "",
    status_code=201,
    summary="Judge a slice",
    responses={200: {"model": ReviewResponse, "description": "You have said so already."}, **refusals(*BODY, 404, 409)},
    openapi_extra=json_body(ReviewRequest, required=True),
)
async def post_review(request: Request, response: Response, resources: CallerResources) -> ReviewResponse:
    """Keeps a verdict, durably, before it is answered. Another one of yours on the same slice or organ takes its place.

    409 `other-mask` where the mask that is stored is not the one that you saw.
    """
    said = _said(await short_body(request, resources))
    review, new = await resources.slow_answers.drawn(lambda: resources.reviews.add(said))
    response.status_code = 201 if new else 200
    return _review(review)


@router.get("", summary="List reviews", response_model=ReviewsResponse, responses={**OR_CSV, **refusals(404)})
async def list_reviews(
    resources: CallerResources,
    as_csv: AsCsv,
    wanted: Annotated[ReviewFilter, Depends(_filter)],
    limit: Annotated[int | None, Query(ge=1, le=1000, description="By default 100 of JSON, all of CSV.")] = None,
    before: Annotated[
        str | None,
        Query(description="The id of the last review of the page before this one."),
        AfterValidator(lambda stated: stated and _known_id(stated)),
    ] = None,
) -> Response | ReviewsResponse:
    """Verdicts, the newest first, page by page; as CSV it is the reviews.csv that retraining reads."""
    if as_csv and limit is None and before is None:
        lines = resources.slow_answers.pieces(_csv(resources.reviews.each(wanted)))
        return StreamingResponse(lines, media_type="text/csv", headers=_NAMED)
    page = await run_in_threadpool(resources.reviews.page, wanted, limit=limit or _PAGE, before=before)
    if as_csv:
        return Response(b"".join(_csv(page)), media_type="text/csv", headers=_NAMED)
    return ReviewsResponse(reviews=[_review(review) for review in page])


@router.get("/counts", summary="How far the reviewing is")
def count_reviews(resources: CallerResources) -> ReviewCountsResponse:
    """How many verdicts there are, of whom, how fast they come, and how many slices wait."""
    counts = resources.reviews.counts()
    reviewers = [_reviewer(one) for one in counts.reviewers]
    return ReviewCountsResponse(
        reviewers=reviewers,
        verdicts=sum(one.verdicts for one in reviewers),
        good=sum(one.good for one in reviewers),
        bad=sum(one.bad for one in reviewers),
        waiting=counts.waiting,
        waiting_for_you=counts.waiting_for_caller,
    )


@router.get(
    "/{review_id}/mask.png",
    summary="The mask that a review is on",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": BINARY}}}, **refusals(404)},
)
async def get_mask(
    resources: CallerResources,
    review_id: Annotated[str, Path(description="The review's id."), AfterValidator(_known_id)],
) -> Response:
    """The mask that was seen: a grey PNG whose pixels are class indices. It outlives its scan.

    404 `no-such-mask` of reviews from before masks were kept, once their scan has another mask or is gone.
    """
    png = await resources.slow_answers.drawn(lambda: resources.reviews.mask(review_id))
    return Response(png, media_type="image/png")


@router.delete("/{review_id}", status_code=204, summary="Withdraw a review")
def delete_review(
    resources: CallerResources,
    review_id: Annotated[str, Path(description="The review's id."), AfterValidator(_known_id)],
) -> None:
    """Undoes a verdict of yours; that it was given stays in the history."""
    resources.reviews.withdraw(review_id)


def _said(body: bytes) -> Said:
    try:
        request = ReviewRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise ReviewRefused(f"{field}: {first['msg']}", field=field) from None
    return Said(
        scan_id=known_form(request.scan),
        slice_index=request.slice_index,
        verdict=request.verdict,
        mask_sha256=request.mask_sha256,
        organ=request.organ or "",
        comment=request.comment,
    )


def _question(question: Question) -> NextReviewResponse:
    scan, offer = question.scan, question.offer
    picture = f"/v1/scans/{scan.id}/slices/z/{offer.slice_index}.png?version={MODELS_ANSWER}"
    return NextReviewResponse(
        scan=scan.id,
        filename=scan.upload.filename,
        volume=question.volume,
        axis="z",
        slice_index=offer.slice_index,
        slices=scan.shape[0],
        model=model_response(scan),
        mask_sha256=question.mask_sha256,
        uncertainty=offer.uncertainty,
        good=offer.good,
        good_threshold=scan.good_threshold,
        organ=offer.organ or None,
        expected_dice=offer.dice,
        confidence=offer.confidence,
        organs=list(question.organs),
        organs_of_model=list(scan.organs.names),
        until=_time(question.until_seconds),
        links=ReviewLinks(overlay=picture, plain=f"{picture}&opacity=0", review="/v1/reviews"),
    )


def _review(review: KeptReview) -> ReviewResponse:
    of = review.of
    return ReviewResponse(
        id=review.id,
        time=_time(review.created_seconds),
        reviewer=review.reviewer,
        scan=of.scan_id,
        volume=of.volume,
        axis=of.axis,
        slice_index=of.slice_index,
        organ=review.organ or None,
        verdict=review.verdict,
        comment=review.comment,
        mask_sha256=of.mask_sha256,
        mask=f"/v1/reviews/{review.id}/mask.png",
        model=ModelResponse(name=of.model_name, version=of.model_version, sha256=of.model_sha256),
        ended=None if review.ended_seconds is None else _time(review.ended_seconds),
        ending=review.ending,
    )


def _reviewer(counts: ReviewerCounts) -> ReviewerResponse:
    of_kind = counts.verdicts
    return ReviewerResponse(
        reviewer=counts.reviewer,
        verdicts=sum(of_kind.values()),
        good=of_kind.get("good", 0),
        bad=of_kind.get("bad", 0),
        unsure=of_kind.get("unsure", 0),
        skip=of_kind.get("skip", 0),
        per_hour=counts.per_hour,
    )


def _csv(found: Iterable[KeptReview]) -> Iterator[bytes]:
    rows: list[tuple[object, ...]] = [_COLUMNS]
    for review in found:
        rows.append(_row(review))
        if len(rows) >= _LINES:
            yield csv_rows(rows).encode()
            rows = []
    yield csv_rows(rows).encode()


def _row(review: KeptReview) -> tuple[object, ...]:
    """In the order of _COLUMNS."""
    of = review.of
    judged = (of.volume, of.slice_index, review.verdict)
    marking = (review.organ, of.mask_sha256, review.reviewer, review.ending or "")
    made_by = (of.model_name, of.model_version or "", of.model_sha256)
    noted = (_time(review.created_seconds).isoformat(), review.comment, of.axis, of.scan_id, *made_by, review.id)
    return (*judged, *marking, *noted, of.organs or "")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
