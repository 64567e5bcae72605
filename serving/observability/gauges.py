"""Gauges: what is looked up at a scrape: the queue in the database, disks, uploads, models, the batching queue."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serving.observability import logs
from serving.observability.gpus import gpu_metrics
from serving.observability.probes import Probe

_AGE_SECONDS = 5.0
_LIMIT_SECONDS = 2.0
_STATES = ("queued", "running", "succeeded", "failed", "cancelled")

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class WaitingScans:
    """Scans of one priority that wait."""

    scans: int
    oldest_seconds: float
    """Age of the oldest; 0: none waits."""
    bytes: int
    """Of their files."""
    voxels: float


@dataclass(frozen=True)
class QueuedScans:
    """The queue of scans at one moment."""

    states: Mapping[str, int]
    """Scans in each state; a state that is missing has none."""
    waiting: Mapping[str, WaitingScans]
    """By priority."""
    left_behind: int
    """Running scans whose lease has run out."""
    query_seconds: float
    """That counting took."""
    voxels_per_second: float | None
    """Of late, by all workers."""
    work_seconds: float | None
    """Until all that waits and runs is done."""


@dataclass(frozen=True)
class Watched:
    """What there is to look at."""

    queue: Callable[[], QueuedScans]
    """Counts the scans in the database."""
    depth: Callable[[], Mapping[str, int]]
    """Slices in the batching queue, by urgency."""
    models: Callable[[], Iterable[tuple[str, ...]]]
    """Those that new scans can be segmented with: name, version, sha256, precision, provider and engine of each."""
    disks: Mapping[str, Path]
    """Folders whose disks may fill, by name."""
    uploads: Mapping[str, Path]
    """Folders that hold one entry for each upload under way, by kind."""


class Gauges(Collector):
    """Looks at what is watched, at most every few seconds; what does not answer in time is left out."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._scans = _probe(watched.queue)
        self._disks = _probe(lambda: {name: shutil.disk_usage(path) for name, path in watched.disks.items()})
        self._uploads = _probe(lambda: {kind: _entries(folder) for kind, folder in watched.uploads.items()})

    def describe(self) -> Iterable[Metric]:
        """Nothing: to know the names it would have to look."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All gauges; `ricefish_database_up` is 0 where the queue cannot be counted."""
        yield from self._queue()
        yield self._batching()
        yield self._models()
        yield from self._folders()
        yield from gpu_metrics()

    def _queue(self) -> Iterator[Metric]:
        queued = _answer(self._scans)
        yield GaugeMetricFamily("ricefish_database_up", "1 if the database answers.", value=float(queued is not None))
        if queued is None:
            return
        yield GaugeMetricFamily(
            "ricefish_database_query_seconds", "Time that counting the scans took.", value=queued.query_seconds
        )
        scans = GaugeMetricFamily("ricefish_scans", "Scans in the database.", labels=("state",))
        for state in _STATES:
            scans.add_metric((state,), queued.states.get(state, 0))
        yield scans
        yield from _waiting(queued.waiting)
        yield GaugeMetricFamily(
            "ricefish_scan_voxels_per_second",
            "Of late, by all workers; 0: not known.",
            value=queued.voxels_per_second or 0.0,
        )
        if queued.work_seconds is not None:
            yield GaugeMetricFamily(
                "ricefish_scan_queue_work_seconds",
                "Until all that waits and runs is done, at the rate of late.",
                value=queued.work_seconds,
            )
        yield GaugeMetricFamily(
            "ricefish_scans_left_behind", "Running scans whose worker has not renewed its lease.", queued.left_behind
        )

    def _batching(self) -> Metric:
        family = GaugeMetricFamily("ricefish_inference_queue_slices", "Slices that wait.", labels=("urgency",))
        for urgency, slices in self._watched.depth().items():
            family.add_metric((urgency,), slices)
        return family

    def _models(self) -> Metric:
        names = ("name", "version", "sha256", "precision", "provider", "engine")
        family = GaugeMetricFamily("ricefish_model_info", "A model that is served.", labels=names)
        for values in self._watched.models():
            family.add_metric(values, 1)
        return family

    def _folders(self) -> Iterator[Metric]:
        free = GaugeMetricFamily("ricefish_disk_free_bytes", "Space left on the disk of a folder.", labels=("folder",))
        size = GaugeMetricFamily("ricefish_disk_size_bytes", "Size of the disk of a folder.", labels=("folder",))
        for name, usage in (_answer(self._disks) or {}).items():
            free.add_metric((name,), usage.free)
            size.add_metric((name,), usage.total)
        uploads = GaugeMetricFamily("ricefish_uploads_in_progress", "Uploads that are not scans yet.", labels=("kind",))
        for kind, number in (_answer(self._uploads) or {}).items():
            uploads.add_metric((kind,), number)
        yield from (free, size, uploads)


def _waiting(waiting: Mapping[str, WaitingScans]) -> Iterator[Metric]:
    depth = GaugeMetricFamily("ricefish_scan_queue_depth", "Scans that wait.", labels=("priority",))
    oldest = GaugeMetricFamily(
        "ricefish_scan_queue_oldest_seconds", "Age of the oldest scan that waits; 0: none.", labels=("priority",)
    )
    size = GaugeMetricFamily(
        "ricefish_scan_queue_bytes", "Bytes of the files of scans that wait.", labels=("priority",)
    )
    voxels = GaugeMetricFamily("ricefish_scan_queue_voxels", "Voxels of scans that wait.", labels=("priority",))
    for priority, those in waiting.items():
        depth.add_metric((priority,), those.scans)
        oldest.add_metric((priority,), those.oldest_seconds)
        size.add_metric((priority,), those.bytes)
        voxels.add_metric((priority,), those.voxels)
    yield from (depth, oldest, size, voxels)


def _probe(look: Callable[[], Seen]) -> Probe[Seen]:
    return Probe(look, most_age_seconds=_AGE_SECONDS, limit_seconds=_LIMIT_SECONDS)


def _answer(probe: Probe[Seen]) -> Seen | None:
    try:
        return probe.ask()
    except Exception as error:  # whatever it is, the rest of the scrape is worth having
        logs.event("scrape_incomplete", error=error)
        return None


def _entries(folder: Path) -> int:
    return sum(not entry.name.startswith(".") for entry in folder.iterdir())
