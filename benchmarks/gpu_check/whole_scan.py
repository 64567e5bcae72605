"""A whole scan through a server of its own, from the first byte posted to the mask on the client's disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.capacity import scan_body
from benchmarks.gpu_check.model_files import ModelFiles
from harness import servers
from serving.inference.runtime.session import Device


def whole_scan(folder: Path, files: ModelFiles, *, device: Device, slices: int, side: int) -> dict[str, Any]:
    """Seconds of each part, bytes per second, and the model as the server says that it runs it."""
    folder.mkdir()
    options = {"threads": 1, "batch_size": 2} if device == "cpu" else {}
    server = servers.server(folder, model=files.folder, **{"device": device, **options})
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=3600, trust_env=False) as http:
            model = http.get("/v1/model").raise_for_status().json()
            began = time.perf_counter()
            body = scan_body(folder, slices, side=side)
            posted = http.post("/v1/scans", params={"filename": "large.nii"}, content=body).raise_for_status().json()
            post_seconds = time.perf_counter() - began
            scan = servers.wait_until_ended(http, posted["id"], every_seconds=0.02)
            segment_seconds = time.perf_counter() - began - post_seconds
            mask_bytes = _download(http, posted["id"], folder / "mask.nii.gz")
            seconds = time.perf_counter() - began
    finally:
        server.stop()
    on_gpu = model["provider"] != "CPUExecutionProvider"
    return {
        "check": "whole scan",
        "passed": scan["state"] == "succeeded" and mask_bytes > 0 and on_gpu == (device != "cpu"),
        "shape": [slices, side, side],
        "provider": model["provider"],
        "precision": model["precision"],
        "error": scan["error"],
        "seconds": round(seconds, 2),
        "post_seconds": round(post_seconds, 2),
        "segment_seconds": round(segment_seconds, 2),
        "bytes_per_second": round(2 * slices * side * side / seconds),
        "slices_per_second": round(slices / seconds, 2),
        "activities": scan["seconds"],
    }


def _download(http: httpx.Client, scan_id: str, path: Path) -> int:
    with http.stream("GET", f"/v1/scans/{scan_id}/segmentation") as answer, path.open("wb") as file:
        answer.raise_for_status()
        return sum(file.write(piece) for piece in answer.iter_raw())
