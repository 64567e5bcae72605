"""Versions: which segmentation of a scan a call is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from scans.measures.statistics import OrganStatistics
from serving.api.dependencies import Resources
from serving.api.finished import finished
from serving.queue.jobs import Job, Jobs
from serving.queue.scan import Scan
from serving.segmentation.correction import MODELS_ANSWER, Correction

Version = Annotated[
    int | None,
    Query(
        ge=0,
        le=(1 << 31) - 1,
        description="Of the segmentation: 0 is the model's answer, from 1 on it is a correction; the latest else.",
    ),
]


@dataclass(frozen=True)
class SegmentedVersion:
    """A finished scan, and the version of its segmentation that is asked for."""

    scan: Scan
    job: Job
    correction: Correction | None
    """None: the model's answer."""

    @property
    def version(self) -> int:
        """Its number."""
        return MODELS_ANSWER if self.correction is None else self.correction.number

    @property
    def statistics(self) -> OrganStatistics | None:
        """Of its organs."""
        return self.job.statistics if self.correction is None else self.correction.findings.statistics


def segmented(resources: Resources, scan_id: str, version: int | None, *, of: Jobs | None = None) -> SegmentedVersion:
    """A version, or the latest; of the caller's scans, or of others. Raises as `finished`, and VersionNotFound."""
    scan, job = finished(resources, scan_id, of=of)
    if version == MODELS_ANSWER:
        return SegmentedVersion(scan, job, None)
    if version is None:
        return SegmentedVersion(scan, job, resources.corrections.latest(scan.id))
    return SegmentedVersion(scan, job, resources.corrections.get(scan.id, version))
