"""What is looked up at a scrape: the queue in the database, disks, uploads, models, the batching queue."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serving.inference.scheduling import Urgency
from serving.models.served import LoadedModel
from serving.observability import logs
from serving.observability.probes import Probe
from serving.queue.census import Census
from serving.queue.jobs import Priority
from serving.queue.load import Load
from serving.telemetry.devices import device_metrics

_AGE_SECONDS = 5.0
_LIMIT_SECONDS = 2.0
_STATES = ("queued", "running", "succeeded", "failed", "cancelled")

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Watched:
    """What there is to look at."""

    census: Callable[[], Census]
    """Counts the scans in the database."""
    depth: Callable[[], Mapping[Urgency, int]]
    """Slices in the batching queue."""
    models: Callable[[], Iterable[LoadedModel]]
    """Those that new scans can be segmented with."""
    disks: Mapping[str, Path]
    """Folders whose disks may fill, by name."""
    uploads: Mapping[str, Path]
    """Folders that hold one entry for each upload under way, by kind."""


class State(Collector):
    """Looks at what is watched, at most every few seconds; what does not answer in time is left out."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._census = _probe(watched.census)
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
        yield from device_metrics()

    def _queue(self) -> Iterator[Metric]:
        census = _answer(self._census)
        yield GaugeMetricFamily("ricefish_database_up", "1 if the database answers.", value=float(census is not None))
        if census is None:
            return
        yield GaugeMetricFamily(
            "ricefish_database_query_seconds", "Time that counting the scans took.", value=census.seconds
        )
        scans = GaugeMetricFamily("ricefish_scans", "Scans in the database.", labels=("state",))
        for state in _STATES:
            scans.add_metric((state,), census.in_state(state))
        yield scans
        depth = GaugeMetricFamily("ricefish_scan_queue_depth", "Scans that wait.", labels=("priority",))
        oldest = GaugeMetricFamily(
            "ricefish_scan_queue_oldest_seconds", "Age of the oldest scan that waits; 0: none.", labels=("priority",)
        )
        for priority in Priority:
            depth.add_metric((priority.name.lower(),), census.waiting(priority))
            oldest.add_metric((priority.name.lower(),), census.oldest_seconds(priority))
        yield depth
        yield oldest
        yield from _load(census.load)
        yield GaugeMetricFamily(
            "ricefish_scans_left_behind", "Running scans whose worker has not renewed its lease.", census.left_behind
        )

    def _batching(self) -> Metric:
        family = GaugeMetricFamily("ricefish_inference_queue_slices", "Slices that wait.", labels=("urgency",))
        for urgency, slices in self._watched.depth().items():
            family.add_metric((urgency.name.lower(),), slices)
        return family

    def _models(self) -> Metric:
        names = ("name", "version", "sha256", "precision", "provider")
        family = GaugeMetricFamily("ricefish_model_info", "A model that is served.", labels=names)
        for model in self._watched.models():
            identity = model.identity
            values = (identity.name, identity.version or "", identity.sha256, model.precision, model.runtime.provider)
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


def _load(load: Load) -> Iterator[Metric]:
    size = GaugeMetricFamily(
        "ricefish_scan_queue_bytes", "Bytes of the files of scans that wait.", labels=("priority",)
    )
    voxels = GaugeMetricFamily("ricefish_scan_queue_voxels", "Voxels of scans that wait.", labels=("priority",))
    for priority in Priority:
        size.add_metric((priority.name.lower(),), load.of(priority).bytes)
        voxels.add_metric((priority.name.lower(),), load.of(priority).voxels)
    yield from (size, voxels)
    yield GaugeMetricFamily(
        "ricefish_scan_voxels_per_second", "Of late, by all workers; 0: not known.", value=load.voxels_per_second or 0.0
    )
    if load.seconds is not None:
        yield GaugeMetricFamily(
            "ricefish_scan_queue_work_seconds",
            "Until all that waits and runs is done, at the rate of late.",
            value=load.seconds,
        )


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
