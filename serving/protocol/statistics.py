"""Statistics: what Triton's statistics extension says of each version of each model since the server started."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Phase = Literal["success", "fail", "queue", "compute_input", "compute_infer", "compute_output"]
_PHASES: tuple[Phase, ...] = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


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

    def ended(self, seconds: float, *, rows: int | None) -> None:
        """A request was answered after so long, with so many rows of a batch; None: it was not."""
        with self._lock:
            self._spent["fail" if rows is None else "success"].add(seconds)
            self._rows += rows or 0
            self._last_ms = time.time_ns() // 1_000_000

    def spent(self, phase: Phase, seconds: float) -> None:
        """A request spent so long on this."""
        with self._lock:
            self._spent[phase].add(seconds)

    def computed(self, *, waited_seconds: float, seconds: float, batch: int, first: bool) -> None:
        """A request waited, and was computed in a batch of so many rows, as its first or as another."""
        with self._lock:
            self._spent["queue"].add(waited_seconds)
            self._spent["compute_infer"].add(seconds)
            if first:
                self._executions += 1
                self._batches[batch].add(seconds)

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
