"""Telemetry: the counters and histograms of one process. Names are `ricefish_`, units are base units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from scans.geometry import Triple
from scans.model.drift import Departure
from scans.model.judgement import Judgement
from serving.observability import logs
from serving.observability.gauges import Gauges, Watched
from serving.observability.observer import Observer

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_REQUEST_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_BATCH_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SCAN_SECONDS = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class PortTaken(OSError):
    """Metrics cannot be answered on their port; the message names it."""


@dataclass(frozen=True)
class Labels:
    """Values of labels that are known beforehand: their series begin at 0, so that their first step can be seen."""

    urgencies: tuple[str, ...] = ()
    """Of batches."""
    activities: tuple[str, ...] = ()
    """Of segmenting."""
    outcomes: tuple[str, ...] = ()
    """Ends of scans."""
    interruptions: tuple[str, ...] = ()
    """Ends of work on scans that did not end."""
    shadow_outcomes: tuple[str, ...] = ()
    """Ends of runs of the shadow."""
    refusals: tuple[str, ...] = ()
    """Reasons why a model is not served."""


class Telemetry(Observer):
    """What one process counts. Every method takes microseconds and may be called from any thread."""

    def __init__(self, labels: Labels = Labels()) -> None:
        self._labels = labels
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of all series
        self.registry = CollectorRegistry()
        PlatformCollector(self.registry)
        ProcessCollector(registry=self.registry)
        GCCollector(self.registry)
        self._http()
        self._inference()
        self._scans()
        self._models()

    def exposition(self) -> bytes:
        """All of it, as CONTENT_TYPE says."""
        return generate_latest(self.registry)

    @contextmanager
    def watching(self, watched: Watched) -> Iterator[None]:
        """Looks at these things at every scrape, for as long as the context lasts."""
        state = Gauges(watched)
        self.registry.register(state)
        try:
            yield
        finally:
            self.registry.unregister(state)

    @contextmanager
    def answered_on(self, host: str, port: int | None) -> Iterator[None]:
        """Answers /metrics over HTTP on a port of its own, in a thread, unless that is None. Raises PortTaken."""
        if port is None:
            yield
            return
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise PortTaken(f"RICEFISH_METRICS_PORT is {port} on {host}: {error.strerror}") from error
        logs.event("metrics", address=f"http://{host}:{server.server_port}/metrics")
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"ricefish_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"ricefish_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"ricefish_{name}", about, labels, buckets=buckets, registry=self.registry)

    def _http(self) -> None:
        self._requests = self._counter("http_requests", "Requests answered.", "method", "route", "status")
        self._request_seconds = self._histogram(
            "http_request_duration_seconds",
            "Time from a request's first line to the last byte of its answer.",
            _REQUEST_SECONDS,
            "method",
            "route",
        )
        self._refused = self._counter(
            "requests_refused", "Requests answered with a problem, by its slug.", "status", "reason"
        )
        self.received_bytes = self._counter("http_received_bytes", "Bytes of request bodies.")
        self.sent_bytes = self._counter("http_sent_bytes", "Bytes of answers' bodies.")
        self.requests_in_progress = Gauge(
            "ricefish_http_requests_in_progress", "Requests being answered.", registry=self.registry
        )

    def request_ended(self, *, method: str, route: str, status: int, seconds: float, reason: str | None) -> None:
        """A request was answered; `route` is the template, `reason` the slug of the problem if there was one."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)
        if reason is not None:
            self._refused.labels(str(status), reason).inc()

    def _inference(self) -> None:
        self._asked = self._counter("inference_requests", "Requests of the batching queue, computed.", "urgency")
        self._failed = self._counter("inference_failures", "Batches that the device did not compute.", "urgency")
        sizes = tuple(float(2**n) for n in range(8))
        self._batch_slices = self._histogram("inference_batch_slices", "Slices of a batch.", sizes, "urgency")
        self._batch_seconds = self._histogram(
            "inference_batch_duration_seconds", "Time a batch took on its device.", _BATCH_SECONDS, "urgency"
        )
        self._waited = self._histogram(
            "inference_wait_seconds", "Time a batch waited for its device.", _BATCH_SECONDS, "urgency"
        )
        for urgency in self._labels.urgencies:
            for metric in (self._asked, self._failed, self._batch_slices, self._batch_seconds, self._waited):
                metric.labels(urgency)

    def batch_computed(
        self, urgency: str, *, requests: int, slices: int, waited_seconds: float, seconds: float, failed: bool
    ) -> None:
        """A batch was computed, or failed."""
        self._asked.labels(urgency).inc(requests)
        self._waited.labels(urgency).observe(waited_seconds)
        if failed:
            self._failed.labels(urgency).inc()
            return
        self._batch_slices.labels(urgency).observe(slices)
        self._batch_seconds.labels(urgency).observe(seconds)

    def _scans(self) -> None:
        self._ended = self._counter("scans_ended", "Scans that this process ended.", "outcome")
        self._stopped = self._counter(
            "scan_interruptions", "Scans that this process stopped working on before their end.", "reason"
        )
        self._scan_seconds = self._histogram(
            "scan_duration_seconds", "Time from the acceptance of a scan to its success.", _SCAN_SECONDS, "priority"
        )
        self._slabs = self._counter("slabs_segmented", "Slabs that are in the store.")
        self._slices = self._counter("slices_segmented", "Slices that are in the store.")
        self._voxels = self._counter("voxels_segmented", "Voxels that are in the store.")
        self._stage_seconds = self._counter(
            "slab_stage_seconds", "Time spent on slabs, by what it was spent on.", "activity"
        )
        for outcome in self._labels.outcomes:
            self._ended.labels(outcome)
        for interruption in self._labels.interruptions:
            self._stopped.labels(interruption)
        for activity in self._labels.activities:
            self._stage_seconds.labels(activity.replace(" ", "_"))

    def scan_ended(
        self, outcome: str, *, final: bool, priority: str | None = None, seconds: float | None = None
    ) -> None:
        """Work on a scan ended, or somebody cancelled it."""
        (self._ended if final else self._stopped).labels(outcome).inc()
        if seconds is not None:
            self._scan_seconds.labels(priority or "unknown").observe(seconds)

    def slab_finished(self, shape: Triple) -> None:
        """A slab of so many voxels along z, y, x is in the store."""
        self._slabs.inc()
        self._slices.inc(shape[0])
        self._voxels.inc(math.prod(shape))

    def time_spent(self, activity: str, seconds: float) -> None:
        """So long was spent on one of the activities."""
        self._stage_seconds.labels(activity.replace(" ", "_")).inc(seconds)

    def _models(self) -> None:
        self._swaps = self._counter("model_swaps", "Times that a model was put in another's place.", "model")
        self._refusals = self._counter("model_refusals", "Models that were not served.", "model", "reason")
        self._registry_up = self._gauge(
            "registry_up", "1 if the registry answered when it was last asked what an alias names.", "reference"
        )
        self._registry_reached = self._gauge(
            "registry_reached_timestamp_seconds", "When the registry last answered, since 1970.", "reference"
        )
        self._drift = self._counter("drift_warnings", "Scans unlike those of the training.", "model", "code")
        self._good = self._histogram(
            "slice_good_probability", "The Quality Classifier's probability that a slice is good.", _SHARES, "model"
        )
        self._agreement = self._histogram(
            "shadow_agreement_dice", "Agreement of a shadow model with the one served.", _SHARES, "model", "organ"
        )
        self._shadow_runs = self._counter("shadow_runs", "Runs of the shadow on a scan, by how they ended.", "outcome")
        for outcome in self._labels.shadow_outcomes:
            self._shadow_runs.labels(outcome)

    def model_followed(self, model: str) -> None:
        """A model is followed from now on: its counters begin, so that their first step can be seen."""
        self._swaps.labels(model)
        for reason in self._labels.refusals:
            self._refusals.labels(model, reason)

    def registry_looked(self, reference: str, *, reached: bool) -> None:
        """The registry was asked what a reference means, and answered or did not."""
        self._registry_up.labels(reference).set(reached)
        if reached:
            self._registry_reached.labels(reference).set_to_current_time()

    def model_swapped(self, model: str) -> None:
        """Another version of the model is served from now on."""
        self._swaps.labels(model).inc()

    def model_refused(self, model: str, *, reason: str) -> None:
        """A version was not served; `reason` is one of a few words."""
        self._refusals.labels(model, reason).inc()

    def departed(self, departure: Departure, *, model: str) -> None:
        """A scan is unlike what the model has seen."""
        self._drift.labels(model, departure.code).inc()

    def slab_judged(self, judgement: Judgement, *, model: str) -> None:
        """A slab was judged; slices without organs do not count."""
        for probability, voxels in zip(judgement.good, judgement.organ_voxels, strict=True):
            if voxels:
                self._good.labels(model).observe(probability)

    def shadow_agreed(self, organ: str, dice: float, *, model: str) -> None:
        """Dice of an organ, 0..1, between what the shadow model `model` says and what was answered."""
        self._agreement.labels(model, organ).observe(dice)

    def shadow_ended(self, outcome: str) -> None:
        """A run of the shadow on a scan ended."""
        self._shadow_runs.labels(outcome).inc()
