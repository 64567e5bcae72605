"""What several routes say of a scan."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator

from serving.api.schemas import Links, ModelResponse, QualityResponse, ScanResponse, WarningResponse
from serving.observability.reasons import without_paths
from serving.parsing.texts import is_name
from serving.queue.jobs import Job, ScanNotFound
from serving.queue.progress import progress_of
from serving.queue.scan import Scan


def known_form(scan_id: str) -> str:
    """An id, if it can be one. Raises ScanNotFound."""
    if not is_name(scan_id):  # no database needs to be asked for it, and not each can be
        raise ScanNotFound(scan_id)
    return scan_id


def possible_key(key: str) -> str:
    """An Idempotency-Key, if it can be one. Raises ValueError."""
    if not is_name(key):
        raise ValueError("it holds a character that no key has")
    return key


ScanId = Annotated[
    str, Path(description="The scan's id, as the answer to the post gave it."), AfterValidator(known_form)
]


def scan_response(scan: Scan, job: Job) -> ScanResponse:
    """A scan and how far it is."""
    progress = progress_of(scan, job)
    here = f"/v1/scans/{scan.id}"
    spacing = scan.frame.spacing
    return ScanResponse(
        id=scan.id,
        filename=scan.upload.filename,
        sha256=scan.upload.sha256,
        created=_time(scan.created_seconds),
        state=job.state,
        priority=job.priority.name.lower(),  # type: ignore[arg-type]  # the names are the response's literals
        error=None if job.error is None else without_paths(job.error),
        failures=job.failures,
        slices_done=progress.slices_done,
        slices_total=progress.slices_total,
        slices_per_second=progress.slices_per_second,
        eta_seconds=progress.eta_seconds,
        finished=_time(job.finished_seconds) if job.finished_seconds else None,
        seconds={name.replace(" ", "_"): seconds for name, seconds in job.timings.items()},
        worker=job.worker,
        shape=scan.shape,
        dtype=scan.dtype,
        spacing_mm=(spacing.z, spacing.y, spacing.x),
        model=model_response(scan),
        flagged=bool(job.warnings),
        warnings=[WarningResponse(**warning.to_dict()) for warning in job.warnings],
        notes=[without_paths(note) for note in scan.notes],
        quality=quality_response(scan, job),
        links=Links(
            self=here,
            events=f"{here}/events",
            segmentation=f"{here}/segmentation",
            segmentations=f"{here}/segmentations",
            organs=f"{here}/organs",
            quality=f"{here}/quality",
        ),
    )


def quality_response(scan: Scan, job: Job) -> QualityResponse | None:
    """What the Quality Classifier says of a whole scan; None where it says nothing (yet)."""
    if scan.good_threshold is None or job.judgement is None or not job.judgement.good:
        return None
    return QualityResponse(
        mean=job.judgement.mean_good,
        bad_share=job.judgement.bad_share(scan.good_threshold),
        threshold=scan.good_threshold,
        slices=job.judgement.slices_with_organs,
    )


def model_response(scan: Scan) -> ModelResponse:
    """The model that a scan is segmented with."""
    return ModelResponse(name=scan.model.name, version=scan.model.version, sha256=scan.model.sha256)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
