"""/scans/ID: what is known of a scan and what came of it, around the viewer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from scans.formats import DICOM_SEG, DOWNLOADS
from serving.api.dependencies import CallerResources, Resources, database_answers
from serving.api.responses import ScanId, scan_response
from serving.api.routes.results import get_organs
from serving.api.routes.segmentations import list_segmentations
from serving.api.schemas import OrganRowResponse
from serving.queue.jobs import Job
from serving.queue.scan import Scan
from serving.segmentation.correction import Correction
from serving.segmentation.results import IMAGE_SUFFIXES
from serving.storage.contract import RESULT_DIR
from serving.web.pages import PageRoute, page
from serving.web.viewer_state import Place, Shown, viewer_address
from serving.web.wording import colour

_CELLS: Final = 240
"""Of the strip along the slices, at most."""
_WORST: Final = 5

router = APIRouter(include_in_schema=False, route_class=PageRoute, dependencies=[Depends(database_answers)])


@dataclass(frozen=True)
class OrganShown:
    """A row of the table of organs."""

    row: OrganRowResponse
    colour: str
    address: str | None
    """Of the viewer at the organ's centroid; None where it was not found."""


@dataclass(frozen=True)
class Cell:
    """Some slices of the strip, by the worst of them."""

    first: int
    last: int
    worst: int
    """The slice that the classifier likes least."""
    good: float | None
    """Its probability of being good; None where the classifier said nothing of a slice with organs."""
    bad: bool
    address: str
    """Of the viewer there."""


@router.get("/scans/{scan_id}", name="show_scan")
async def show_scan(request: Request, resources: CallerResources, scan_id: ScanId) -> Response:
    """The page of one scan, in any state."""
    scan, job = await run_in_threadpool(resources.jobs.get, scan_id)
    content: dict[str, Any] = {"scan": scan_response(scan, job), "base": _base(request)}
    latest = await run_in_threadpool(resources.corrections.latest, scan.id)
    view = _Viewer(request, scan, job, latest)
    content |= {"viewer": view.at(_first_place(scan, job)), "shown": view.shown}
    if job.state == "succeeded":
        content |= await run_in_threadpool(_results, resources, scan, job, view)
    return page(request, "scan.html", **content)


class _Viewer:
    """Makes addresses of the viewer for one page."""

    def __init__(self, request: Request, scan: Scan, job: Job, latest: Correction | None) -> None:
        self._scan = scan
        self._base = _base(request)
        segmentation = RESULT_DIR if latest is None else f"segmentations/{latest.number}.ome.zarr"
        done = job.state == "succeeded"
        self.shown = Shown(image=bool(scan.image_checksums), segmentation=segmentation, bodies=done)

    def at(self, place: Place | None) -> str:
        return viewer_address(self._scan, base=self._base, shown=self.shown, at=place)


def _results(resources: Resources, scan: Scan, job: Job, view: _Viewer) -> dict[str, Any]:
    found = get_organs(resources, scan.id, as_csv=False)
    rows = [] if isinstance(found, Response) else found.organs
    colours = {organ.index: colour(organ.colour) for organ in scan.organs.organs}
    organs = [OrganShown(row, colours[row.index], row.centroid_voxels and view.at(row.centroid_voxels)) for row in rows]
    cells = _strip(scan, job, view)
    judged = [cell for cell in cells if cell.good is not None]
    return {
        "organs": organs,
        "rate": None if isinstance(found, Response) else found.quality_rate,
        "cells": cells,
        "worst": sorted((cell for cell in judged if cell.bad), key=lambda cell: cell.good or 0.0)[:_WORST],
        "images": list(IMAGE_SUFFIXES),
        "versions": list_segmentations(resources, scan.id).versions,
        "downloads": [name for name in DOWNLOADS if name != DICOM_SEG.name or scan.source_headers is not None],
    }


def _strip(scan: Scan, job: Job, view: _Viewer) -> list[Cell]:
    """Along z, what the Quality Classifier says; empty where it says nothing."""
    judgement, threshold = job.judgement, scan.good_threshold
    if judgement is None or threshold is None or not judgement.good:
        return []
    slices = len(judgement.good)
    step = math.ceil(slices / _CELLS)
    return [
        _cell(scan, view, range(first, min(slices, first + step)), judgement.good, judgement.organ_voxels, threshold)
        for first in range(0, slices, step)
    ]


def _cell(  # noqa: PLR0917 - what a cell is made of
    scan: Scan, view: _Viewer, slices: range, good: Sequence[float], organ_voxels: Sequence[int], threshold: float
) -> Cell:
    with_organs = [z for z in slices if organ_voxels[z]]
    worst = min(with_organs, key=lambda z: good[z], default=slices[len(slices) // 2])
    said = good[worst] if with_organs else None
    _, rows, columns = scan.shape
    return Cell(
        first=slices[0],
        last=slices[-1],
        worst=worst,
        good=said,
        bad=said is not None and said < threshold,
        address=view.at((worst, rows / 2, columns / 2)),
    )


def _first_place(scan: Scan, job: Job) -> Place | None:
    """The centroid of the largest organ, so that something is to be seen at once; None where none was found."""
    if job.statistics is None:
        return None
    rows = job.statistics.table(scan.organs, scan.frame, scan.shape)
    return max(rows, key=lambda row: row.voxels).centroid_voxels


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")
