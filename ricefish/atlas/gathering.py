"""All fish of an atlas, several at once in processes of their own; one that cannot be measured stops no other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from ctypes import c_double
from dataclasses import dataclass
from typing import Any

from ricefish.atlas.measuring import AtlasOptions, measure_fish
from ricefish.atlas.records import FishRecord
from ricefish.atlas.sources import AtlasSource

_LOOK_SECONDS = 0.2
_DIED = "its process was ended, most likely for want of memory: try it with --jobs 1 on a machine with more"

Progress = Callable[[Sequence[float]], None]
"""Is told which share of each fish is done, 0..1, again and again."""


@dataclass(frozen=True)
class FailedScan:
    """One that could not be measured."""

    name: str
    source: str
    why: str


@dataclass(frozen=True)
class Gathered:
    """What became of all scans, in the order in which they were named."""

    fish: tuple[FishRecord, ...]
    failed: tuple[FailedScan, ...]


def gather(sources: Sequence[AtlasSource], options: AtlasOptions, *, jobs: int, progress: Progress) -> Gathered:
    """Measures every fish, `jobs` at a time.

    With more than one job, a process that dies takes no other fish with it: those that it may have taken are measured
    again, one by one. Raises ValueError for fewer than one job.
    """
    if jobs < 1:
        raise ValueError(f"{jobs} jobs; there must be at least 1")
    if jobs == 1 or len(sources) == 1:
        found = _one_by_one(sources, options, progress)
    else:
        found = _in_processes(sources, options, jobs=min(jobs, len(sources)), progress=progress)
    failed = tuple(
        FailedScan(source.name, source.shown, one)
        for source, one in zip(sources, found, strict=True)
        if isinstance(one, str)
    )
    return Gathered(tuple(one for one in found if isinstance(one, FishRecord)), failed)


def _one_by_one(sources: Sequence[AtlasSource], options: AtlasOptions, progress: Progress) -> list[FishRecord | str]:
    done = [0.0] * len(sources)

    def measured(number: int) -> FishRecord | str:
        def report(share: float) -> None:
            done[number] = share
            progress(done)

        found = _tried(sources[number], options, report)
        report(1.0)
        return found

    return [measured(number) for number in range(len(sources))]


def _in_processes(
    sources: Sequence[AtlasSource], options: AtlasOptions, *, jobs: int, progress: Progress
) -> list[FishRecord | str]:
    context = multiprocessing.get_context("spawn")
    done = context.RawArray(c_double, len(sources))  # without a lock, which a process that dies would keep
    found = dict(_round(range(len(sources)), sources, options, done, jobs=jobs, progress=progress))
    for number in sorted(set(range(len(sources))) - found.keys()):
        alone = dict(_round([number], sources, options, done, jobs=1, progress=progress))
        found[number] = alone.get(number, _DIED)
        done[number] = 1.0
    progress(list(done))
    return [found[number] for number in range(len(sources))]


def _round(
    numbers: Sequence[int],
    sources: Sequence[AtlasSource],
    options: AtlasOptions,
    done: Any,
    *,
    jobs: int,
    progress: Progress,
) -> list[tuple[int, FishRecord | str]]:
    """Of those that were measured, or said why not, before a process died."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(done,)) as pool:
        try:
            futures: dict[Future[FishRecord | str], int] = {
                pool.submit(_in_process, number, sources[number], options): number for number in numbers
            }
            waiting = set(futures)
            while waiting:
                _, waiting = wait(waiting, timeout=_LOOK_SECONDS)
                progress(list(done))
        except BrokenProcessPool:  # while they were handed over
            return []
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [(number, future.result()) for future, number in futures.items() if future.exception() is None]


_done: Any = None
"""Of a process of the pool: shares of all fish, in memory that is shared."""


def _begin(done: Any) -> None:
    global _done  # noqa: PLW0603  shared memory reaches a process of a pool by its initializer alone
    _done = done


def _in_process(number: int, source: AtlasSource, options: AtlasOptions) -> FishRecord | str:
    def report(share: float) -> None:
        _done[number] = share

    found = _tried(source, options, report)
    report(1.0)
    return found


def _tried(source: AtlasSource, options: AtlasOptions, report: Callable[[float], None]) -> FishRecord | str:
    """The fish, or in words why there is none."""
    try:
        return measure_fish(source, options, report)
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        return str(error)
    except MemoryError:
        return "there is not enough memory for it"
    except Exception as error:  # whatever it is, the other fish are measured
        return f"{type(error).__name__}: {error}"
