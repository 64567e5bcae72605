"""Statistics: what Triton's statistics extension says of each version of each model since the server started."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Phase = Literal["success", "fail", "queue", "compute_input", "compute_infer", "compute_output"]
_PHASES: tuple[Phase, ...] = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


@dataclass(slots=True)
class Timing:
    """Of one request, in seconds."""

    compute_input: float = 0.0
    """Reading and checking it."""
    compute_output: float = 0.0
    """Writing the answer."""
    parts: list[tuple[float, float]] = field(default_factory=list)
    """Waited and computed, of each part that it was split into; appended by whichever thread computes it."""


@dataclass(slots=True)
class _Spent:
    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.ns += round(seconds * 1e9)


class ModelStatistics:
    """Of one version of one model. Safe to use from any thread."""

    def __init__(self, name: str, version: str) -> None:
        self._name, self._version = name, version
        self._lock = threading.Lock()
        self._spent: dict[Phase, _Spent] = {phase: _Spent() for phase in _PHASES}
        self._batches: defaultdict[int, _Spent] = defaultdict(_Spent)
        self._rows = 0
        self._executions = 0
        self._last_ms = 0

    def failed(self, seconds: float) -> None:
        """A request was refused, or failed, after so long."""
        with self._lock:
            self._spent["fail"].add(seconds)

    def succeeded(self, seconds: float, timing: Timing, *, rows: int) -> None:
        """A request was answered after so long, with so many rows of a batch; all its counts rise at once."""
        waits, computed = zip(*timing.parts, strict=True) if timing.parts else ((0.0,), (0.0,))
        with self._lock:
            self._spent["success"].add(seconds)
            self._spent["queue"].add(min(waits))
            self._spent["compute_input"].add(timing.compute_input)
            self._spent["compute_infer"].add(sum(computed))
            self._spent["compute_output"].add(timing.compute_output)
            self._rows += rows
            self._last_ms = time.time_ns() // 1_000_000

    def executed(self, seconds: float, *, rows: int) -> None:
        """A batch of so many rows, of one request or of several, was computed."""
        with self._lock:
            self._executions += 1
            self._batches[rows].add(seconds)

    def as_json(self) -> dict[str, Any]:
        """An entry of `model_stats`."""
        with self._lock:
            phases = {phase: _json(spent) for phase, spent in self._spent.items()}
            return {
                "name": self._name,
                "version": self._version,
                "last_inference": self._last_ms,
                "inference_count": self._rows,
                "execution_count": self._executions,
                "inference_stats": {**phases, "cache_hit": _json(_Spent()), "cache_miss": _json(_Spent())},
                "response_stats": {},
                "batch_stats": [
                    {
                        "batch_size": size,
                        "compute_input": {"count": spent.count, "ns": 0},
                        "compute_infer": _json(spent),
                        "compute_output": {"count": spent.count, "ns": 0},
                    }
                    for size, spent in sorted(self._batches.items())
                ],
                "memory_usage": [],
            }


class Statistics:
    """Of all models."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[tuple[str, str], ModelStatistics] = {}

    def of(self, name: str, version: str) -> ModelStatistics:
        """Those of a version, which begin at 0 when it is first asked for."""
        known = self._models.get((name, version))
        if known is None:
            with self._lock:
                known = self._models.setdefault((name, version), ModelStatistics(name, version))
        return known


def _json(spent: _Spent) -> Mapping[str, int]:
    return {"count": spent.count, "ns": spent.ns}
