"""Memory and use of NVIDIA GPUs, where the package nvidia-ml-py and a driver are there; else no metric."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric


def gpu_metrics() -> Iterator[Metric]:
    """Gauges by device; nothing where no GPU can be asked."""
    nvml = _nvml()
    if nvml is None:
        return
    used = GaugeMetricFamily("ricefish_device_memory_used_bytes", "Memory in use on a GPU.", labels=("device",))
    size = GaugeMetricFamily("ricefish_device_memory_size_bytes", "Memory of a GPU.", labels=("device",))
    busy = GaugeMetricFamily(
        "ricefish_device_utilization_ratio", "Share of the last moments in which a GPU computed.", labels=("device",)
    )
    for number in range(_count(nvml)):
        try:
            device = nvml.nvmlDeviceGetHandleByIndex(number)
            memory = nvml.nvmlDeviceGetMemoryInfo(device)
            used.add_metric((str(number),), memory.used)
            size.add_metric((str(number),), memory.total)
            busy.add_metric((str(number),), nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
        except nvml.NVMLError:  # a GPU cut into parts tells its use to nobody
            continue
    yield from (used, size, busy)


def _count(nvml: Any) -> int:
    try:
        return int(nvml.nvmlDeviceGetCount())
    except nvml.NVMLError:
        return 0


@functools.cache
def _nvml() -> Any:
    """The library, begun; None where it is not there."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml
