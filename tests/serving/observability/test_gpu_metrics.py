"""GPUs in the metrics, with a stand-in for their driver's library."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from serving.observability.gpus import _nvml, gpu_metrics


def test_gpus_are_measured_where_they_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and use of each; one that tells nothing, or a missing driver, costs no other metric."""

    class NVMLError(Exception):
        pass

    def handle(number: int) -> int:
        if number == 1:
            raise NVMLError("cut into parts")
        return number

    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(used=device + 5, total=80),
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=42),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    _nvml.cache_clear()
    try:
        families = {family.name: family for family in gpu_metrics()}
        assert {s.labels["device"]: s.value for s in families["ricefish_device_memory_used_bytes"].samples} == {
            "0": 5, "2": 7,
        }  # fmt: skip
        assert families["ricefish_device_utilization_ratio"].samples[0].value == 0.42
        _nvml.cache_clear()
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert list(gpu_metrics()) == []
    finally:
        _nvml.cache_clear()
