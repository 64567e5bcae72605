"""How many workers a load needs, which part of an installation is its bottleneck, and how long scans wait: on paper.

A scan is a stream through three threads of a worker: one reads, one prepares and infers, one writes; the slowest sets
the pace, so a voxel costs a worker `max(read, prepare + infer, write)` seconds. Workers with the same queue are servers
of an M/G/c queue: arrivals independent of each other, a mean service time and its coefficient of variation. Its mean
wait is approximated as (Lee and Longton, 1959)

    wait = (1 + cv^2) / 2 * C(c, a) * service / (c - a),     a = arrivals per second * service

where C is Erlang's formula for the probability that all c are busy. The factor is exact for one worker
(Pollaczek-Khinchine) and for exponential service.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DAYS_OF_YEAR = 365.0


MOST_WORKERS = 1_000_000
"""A plan for more is a slip."""


@dataclass(frozen=True)
class PlannedLoad:
    """What comes, and what is wanted for it."""

    scans_per_day: float
    """On a working day."""
    voxels: float
    """Of a scan."""
    bytes_per_voxel: float = 2.0
    """As it is sent and stored: 2 for raw uint16."""
    result_bytes_per_voxel: float = 0.1
    """Of a segmentation in the store with its pyramid: class indices compress ten times or better."""
    downloads: float = 1.0
    """How often a result is fetched."""
    hours: float = 24.0
    """Of a day in which scans come."""
    peak: float = 1.0
    """The busiest of these hours against their mean."""
    days_per_year: float = DAYS_OF_YEAR
    """Working days."""
    retention_days: float | None = None
    """After which ended scans are removed; None: never."""
    variation: float = 0.5
    """Coefficient of variation of the time that a scan takes: 0 if all are of one size, 1 if sizes differ widely."""

    def __post_init__(self) -> None:
        _check(self, "scans_per_day", above=0, most=1e7)
        _check(self, "voxels", above=0, most=1e14)
        _check(self, "bytes_per_voxel", above=0, most=64)
        _check(self, "result_bytes_per_voxel", above=0, most=64)
        _check(self, "downloads", least=0, most=1e6)
        _check(self, "hours", above=0, most=24)
        _check(self, "peak", least=1, most=1e4)
        _check(self, "days_per_year", above=0, most=366)
        _check(self, "retention_days", above=0, most=36_525)
        _check(self, "variation", least=0, most=100)

    @property
    def arrivals_per_second(self) -> float:
        """Scans, in the busiest hour."""
        return self.scans_per_day * self.peak / (self.hours * 3600)

    @property
    def bytes_per_day(self) -> float:
        """Of scans and results that are stored."""
        return self.scans_per_day * self.voxels * (self.bytes_per_voxel + self.result_bytes_per_voxel)


@dataclass(frozen=True)
class Rates:
    """What was measured of this installation: seconds of one worker for each voxel, by activity."""

    read: float
    prepare: float
    infer: float
    write: float
    source: str
    """Where they are from."""

    def __post_init__(self) -> None:
        if min(self.read, self.prepare, self.infer, self.write) < 0 or not self.seconds_per_voxel > 0:
            raise ValueError(f"the rates of {self.source} are no times: {self}")

    @property
    def device(self) -> float:
        """Seconds of the thread that feeds the device, for each voxel."""
        return self.prepare + self.infer

    @property
    def seconds_per_voxel(self) -> float:
        """Of the slowest of the three threads."""
        return max(self.read, self.device, self.write)


@dataclass(frozen=True)
class NetworkLinks:
    """What all workers share; None where it is not to be looked at."""

    network: float | None = None
    """Bytes per second in each direction between clients and servers."""
    store: float | None = None
    """Bytes per second that the store takes and gives."""

    def __post_init__(self) -> None:
        _check(self, "network", above=0, most=1e15)
        _check(self, "store", above=0, most=1e15)


@dataclass(frozen=True)
class PlanLimits:
    """How many workers there are, or what they have to achieve."""

    most_utilisation: float = 0.7
    """Of the workers in the busiest hour."""
    most_wait_seconds: float | None = None
    """Mean time in the queue in the busiest hour; None: whatever it is."""
    workers: int | None = None
    """So many, whatever that achieves; None: as few as achieve the rest."""

    def __post_init__(self) -> None:
        _check(self, "most_utilisation", above=0, most=0.999)
        _check(self, "most_wait_seconds", above=0, most=1e9)
        _check(self, "workers", least=1, most=MOST_WORKERS)


@dataclass(frozen=True)
class CapacityPlan:
    """What the load needs."""

    workers: int
    """Each with a device of its own."""
    service_seconds: float
    """That one worker takes for a scan."""
    utilisation: float
    """Of the workers in the busiest hour, 0..1."""
    wait_seconds: float
    """Mean time in the queue in the busiest hour, without priorities."""
    busy: dict[str, float]
    """Share of its time that each part is busy in the busiest hour; above 1 it cannot keep up."""
    stored_bytes_per_year: float
    kept_bytes: float | None
    """In the store when as much is removed as comes; None: it grows for ever."""

    @property
    def bottleneck(self) -> str:
        """The part that is busiest."""
        return max(self.busy, key=lambda part: self.busy[part])

    @property
    def feasible(self) -> bool:
        """False where something that more workers do not help is too slow."""
        return max(self.busy.values()) < 1


def _check(of: object, name: str, *, most: float, above: float | None = None, least: float | None = None) -> None:
    """Raises ValueError, which names the field and its range, for a value outside. None stands for no such limit."""
    value = getattr(of, name)
    if value is None:
        return
    inside = value > above if above is not None else value >= (least or 0)
    if not (inside and value <= most):
        lower = f"more than {above:g}" if above is not None else f"at least {least:g}"
        raise ValueError(f"{name} is {value}; expected a number of {lower} and at most {most:g}")


def plan(
    load: PlannedLoad, rates: Rates, *, links: NetworkLinks = NetworkLinks(), limits: PlanLimits = PlanLimits()
) -> CapacityPlan:
    """The fewest workers that are no busier, and let scans wait no longer, than is wanted; or what a given number does.

    Raises ValueError for a number of workers that cannot keep up, and where it would take more than MOST_WORKERS.
    """
    service = load.voxels * rates.seconds_per_voxel
    offered = load.arrivals_per_second * service
    count = limits.workers or max(1, math.ceil(offered / limits.most_utilisation - 1e-9))
    if count > MOST_WORKERS:
        raise ValueError(f"it would take {count:.3g} workers; scans_per_day is {load.scans_per_day:g}: is that right?")
    if count <= offered:
        raise ValueError(
            f"{count} workers cannot keep up with the work of {offered:.2f}: the queue would grow for ever"
        )
    most = math.inf if limits.workers or limits.most_wait_seconds is None else limits.most_wait_seconds
    while (wait := mean_wait(count, offered=offered, service_seconds=service, variation=load.variation)) > most:
        count += 1
    written = load.bytes_per_day * load.days_per_year
    return CapacityPlan(
        workers=count,
        service_seconds=service,
        utilisation=offered / count,
        wait_seconds=wait,
        busy=_busy(load, rates, links=links, workers=count),
        stored_bytes_per_year=written,
        kept_bytes=None if load.retention_days is None else written / DAYS_OF_YEAR * load.retention_days,
    )


def _busy(load: PlannedLoad, rates: Rates, *, links: NetworkLinks, workers: int) -> dict[str, float]:
    voxels_per_second = load.arrivals_per_second * load.voxels
    each = voxels_per_second / workers
    busy = {"read": each * rates.read, "infer": each * rates.device, "write": each * rates.write}
    sent, fetched = load.bytes_per_voxel, load.result_bytes_per_voxel * load.downloads
    if links.network is not None:
        busy["network"] = voxels_per_second * max(sent, fetched) / links.network
    if links.store is not None:
        # a scan is put there and read once, its result put there and fetched
        busy["store"] = voxels_per_second * (2 * sent + load.result_bytes_per_voxel + fetched) / links.store
    return busy


def busy_probability(workers: int, *, offered: float) -> float:
    """Erlang's C: the probability that a scan finds all workers busy; `offered` is arrivals times service time."""
    blocked = 1.0  # Erlang's B by its recursion, which does not overflow
    for count in range(1, workers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - offered / workers * (1 - blocked))


def mean_wait(workers: int, *, offered: float, service_seconds: float, variation: float) -> float:
    """Mean seconds in the queue of an M/G/c queue; see the head of this module."""
    delayed = busy_probability(workers, offered=offered)
    return (1 + variation**2) / 2 * delayed * service_seconds / (workers - offered)
