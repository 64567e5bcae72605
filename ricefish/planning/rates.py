"""Rates of an installation: measured by a running server or worker, or written down by a benchmark."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ricefish.planning.capacity import Rates

_SAMPLE = re.compile(r"^(\w++)(?:\{([^}\n]*+)\})? (\S++)", re.MULTILINE)
_ACTIVITIES = ("read", "prepare", "infer", "write")


class RatesError(ValueError):
    """Nothing was measured there that a plan could be made from; the message says what is missing."""


def from_metrics(text: str, *, source: str) -> Rates:
    """Rates since the process started, from its /metrics: a worker's, or a server's that segments by itself.

    Time on the device is that of the batches: the activity `infer` would count what one scan waits for another's.
    Raises RatesError where nothing was segmented yet.
    """
    voxels, device, seconds = 0.0, 0.0, dict.fromkeys(_ACTIVITIES, 0.0)
    for name, labels, value in _SAMPLE.findall(text):
        if name == "ricefish_voxels_segmented_total":
            voxels += float(value)
        elif name == "ricefish_inference_batch_duration_seconds_sum":
            device += float(value)
        elif name == "ricefish_slab_stage_seconds_total":
            activity = labels.partition('activity="')[2].partition('"')[0]
            if activity in seconds:
                seconds[activity] += float(value)
    if voxels <= 0:
        raise RatesError(
            f"{source} has segmented nothing since it was started; ask one that has: a worker, on RICEFISH_METRICS_PORT"
        )
    seconds["infer"] = device
    return Rates(**{name: spent / voxels for name, spent in seconds.items()}, source=source)


@dataclass(frozen=True)
class Measured:
    """A scan that a benchmark had segmented."""

    name: str
    network: str
    """What segmented it; rates of one say nothing of another."""
    voxels: float
    seconds: float
    """From the beginning of its segmentation, or of its post, to its end."""
    rates: Rates


def from_results(path: Path) -> list[Measured]:
    """Rows of benchmarks/results/overhead.json or capacity.json. Raises RatesError for another file, and OSError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return list(_rows(content, source=str(path)))
    except (KeyError, TypeError, ValueError) as error:
        raise RatesError(f"{path} is no result of `make bench` or `make bench-capacity`: {error!r}") from error


def _rows(content: dict[str, Any], *, source: str) -> Iterator[Measured]:
    for row in content["rows"]:
        if "side" in content:
            network, pixels, seconds = row["network"], content["side"] ** 2, sorted(row["http_seconds"])
            took = seconds[len(seconds) // 2]
        else:
            network, pixels, took = "tiny", math.prod(content["pixels"]), row["segment_seconds"]
        name = f"{network}, {row['slices']} slices"
        voxels = row["slices"] * pixels
        spent = {activity: row["activities"][activity] / voxels for activity in _ACTIVITIES}
        yield Measured(name, network, voxels, took, Rates(**spent, source=f"{source}: {name}"))
