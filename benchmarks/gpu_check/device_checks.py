"""Checks of the device alone: what it answers, how fast, and what becomes of what it has no memory for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_check.model_files import ModelFiles
from benchmarks.models import WINDOW
from scans.model.manifest import ModelManifest
from serving.inference.memory_fallback import MemoryFallback
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.inference.runtime.segmentation import Runtime, bind, window_rows
from serving.inference.runtime.session import CPU, Device, GpuGraphs, GpuOptions, RuntimeRefused, cuda_devices
from serving.inference.runtime.session import open_session as opened

Row = dict[str, Any]

_MAY_DIFFER = {"float32": 0.001, "float16": 0.05}
"""Share of pixels, of random weights, which tell classes apart by little."""
_MEMORY_BYTES = 2_000_000_000
_LARGE_SIDE, _LARGE_BATCH = 512, 64
"""64 slices that take five times that memory, of which one takes a quarter."""
_SECONDS = 2.0


def bound(path: Path, *, device: Device, options: GpuOptions | None = None) -> Runtime:
    """A model on the GPU; with device cpu, run on the CPU in the way in which it would be on a GPU."""
    if device != "cpu":
        return Runtime.open(path, device="cuda", options=options or GpuOptions())
    sessions = tuple(opened(path, device="cpu", threads=1) for _ in range(2))
    return Runtime(sessions, CPU, 2, _bound=tuple(bind(path, session, "cpu", 0) for session in sessions))


def agreement(files: ModelFiles, *, device: Device, slices: int) -> Iterator[Row]:
    """Golden slice and others, as float32 and as uint16, on the device against the CPU."""
    golden, grey = ModelManifest.read(files.folder).golden, files.grey(slices)
    plain = Runtime.open(files.float32, device="cpu")
    expected, shown = plain.segment(grey, WINDOW), grey.astype(np.float32)
    for precision, path in (("float32", files.float32), ("float16", files.float16)):
        runtime = bound(path, device=device)
        again = runtime.segment(grey, WINDOW)
        row: Row = {
            "check": f"agreement {precision}",
            "golden_differing": _share(runtime.segment(golden.slice[np.newaxis], WINDOW)[0], golden.segmentation),
            "differing": _share(again, expected),
            "types_differing": _share(again, runtime.segment(shown, WINDOW)),
            "lanes_differing": max(_share(again, _on(runtime, grey, lane)) for lane in range(runtime.lanes)),
        }
        most = _MAY_DIFFER[precision]
        row["passed"] = max(row["golden_differing"], row["differing"]) <= most and row["types_differing"] == 0
        row["passed"] &= row["lanes_differing"] <= most
        yield {**row, "provider": runtime.provider}


def speed(files: ModelFiles, *, device: Device, batch: int, graphs: Sequence[GpuGraphs] = ("off",)) -> Iterator[Row]:
    """Slices per second of one lane and of all, whose copies go on beside what is computed; bytes that are sent."""
    for precision, path in (("float32", files.float32), ("float16", files.float16)):
        for dtype in (np.float32, np.uint16):
            runtime = bound(path, device=device)
            grey = files.grey(batch).astype(dtype)
            alone, together = (_rate(runtime, grey, lanes, device=device) for lanes in (1, runtime.lanes))
            before = runtime.sent_bytes
            runtime.segment_rows(grey, window_rows(WINDOW, batch), lane=0)
            yield {
                "check": f"speed {precision} {grey.dtype}",
                "passed": runtime.sent_bytes - before == grey.nbytes + 8 * batch,
                "transfers": type(runtime._bound[0].transfers).__name__,
                "batch": batch,
                "sent_bytes_per_slice": grey.nbytes // batch,
                "one_lane_slices_per_second": round(alone, 2),
                "lanes": runtime.lanes,
                "slices_per_second": round(together, 2),
            }


def graphs(files: ModelFiles, *, device: Device, batch: int) -> Iterator[Row]:
    """CUDA graphs and TensorRT: as fast as what, and with the same answer; skipped where they are refused, with why."""
    grey = files.grey(batch)
    expected = bound(files.float32, device=device).segment(grey, WINDOW)
    kinds: tuple[GpuGraphs, ...] = ("cuda_graph", "tensorrt")
    for kind in kinds:
        try:
            runtime = Runtime.open(files.float32, device=device, options=GpuOptions(graphs=kind))
        except RuntimeRefused as error:
            yield {"check": kind, "skipped": str(error)}
            continue
        answers = [runtime.segment(grey, WINDOW) for _ in range(4)]
        differing = max(_share(answer, expected) for answer in answers)
        rate = _rate(runtime, grey, runtime.lanes, device=device)
        passed = differing <= _MAY_DIFFER["float32"]
        yield {"check": kind, "passed": passed, "differing": differing, "slices_per_second": round(rate, 2)}


def memory(files: ModelFiles, *, device: Device, quick: bool) -> Row:
    """A batch that the device has no memory for is computed in parts; the answer is that of single slices."""
    side, batch = (64, 8) if quick else (_LARGE_SIDE, _LARGE_BATCH)
    grey = ModelFiles(files.folder, side).grey(batch)
    runtime = bound(files.float32, device=device, options=GpuOptions(memory_bytes=_MEMORY_BYTES))
    network = _Counted(runtime, most_pixels=3 * side * side if device == "cpu" else None)
    windows = window_rows(WINDOW, batch)
    answer = MemoryFallback().segment(
        network, grey, windows, lane=0, halo=64, confidence=False, look=lambda: None, most_pixels=None
    )[0]
    one = np.concatenate([_on(runtime, grey[n : n + 1], 0) for n in range(batch)])
    row: Row = {"check": "out of memory", "slices": batch, "side": side, "tried": network.tried}
    row["differing"] = _share(answer, one)
    return {**row, "passed": len(network.tried) > 1 and row["differing"] <= _MAY_DIFFER["float32"]}


def several_gpus(files: ModelFiles, *, device: Device, batch: int) -> Row:
    """Each GPU has lanes, and several compute more than one."""
    gpus = cuda_devices(device)
    if len(gpus) < 2:
        return {"check": "several GPUs", "skipped": f"{len(gpus)} of them"}
    runtime, grey = bound(files.float32, device=device), files.grey(batch)
    each = runtime.lanes // len(gpus)
    one, every = (_rate(runtime, grey, lanes, device=device) for lanes in (each, runtime.lanes))
    ratio = round(every / one, 3)
    return {"check": "several GPUs", "gpus": len(gpus), "ratio": ratio, "passed": ratio > 0.7 * len(gpus)}


class _Counted:
    """A runtime that notes the batches which it is asked for; on the CPU it refuses what has too many pixels."""

    def __init__(self, runtime: Runtime, *, most_pixels: int | None) -> None:
        self.lanes = runtime.lanes
        self.tried: list[int] = []
        self._runtime = runtime
        self._most_pixels = most_pixels

    def segment_rows(self, slices: NDArray[Any], windows: NDArray[np.float32], *, lane: int) -> NDArray[np.uint8]:
        """As the runtime does."""
        if len(slices) not in self.tried:
            self.tried.append(len(slices))
        if self._most_pixels is not None and slices.size > self._most_pixels:
            raise OutOfDeviceMemory(slices.shape, "a CPU that stands in for a GPU")
        return self._runtime.segment_rows(slices, windows, lane=lane)

    def segment_rows_with_confidence(
        self, slices: NDArray[Any], windows: NDArray[np.float32], *, lane: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """As the runtime does."""
        return self._runtime.segment_rows_with_confidence(slices, windows, lane=lane)


def _on(runtime: Runtime, grey: NDArray[Any], lane: int) -> NDArray[np.uint8]:
    return runtime.segment_rows(grey, window_rows(WINDOW, len(grey)), lane=lane)


def _rate(runtime: Runtime, grey: NDArray[Any], lanes: int, *, device: Device) -> float:
    """Slices per second of so many lanes at once, a thread each."""

    def work(lane: int) -> int:
        done, until = 0, time.perf_counter() + (0.05 if device == "cpu" else _SECONDS)
        while not done or time.perf_counter() < until:
            _on(runtime, grey, lane)
            done += len(grey)
        return done

    with ThreadPoolExecutor(lanes) as threads:
        list(threads.map(lambda lane: _on(runtime, grey, lane), range(lanes)))  # once, to lay out memory
        began = time.perf_counter()
        done = sum(threads.map(work, range(lanes)))
    return done / (time.perf_counter() - began)


def _share(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Of pixels that differ."""
    return float(np.mean(one != other))
