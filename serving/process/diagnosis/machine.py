"""The machine: processors, GPUs, ONNX Runtime and its libraries, open files, disks."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Mapping
from pathlib import Path

from serving.inference.runtime.libraries import missing_library, providers, version
from serving.inference.runtime.openvino_library import openvino_version
from serving.inference.runtime.processors import processors
from serving.inference.runtime.session import CUDA, cuda_devices
from serving.intake.limits import spare_bytes
from serving.observability.findings import Level, Observed
from serving.process.diagnosis.stand_ins import nearest
from serving.settings import Settings

_FEW_FILES, _TOO_FEW_FILES = 4096, 512
_COPIES = 2.125
"""Bytes that a scan takes per byte of its voxels: the file, the voxels of one that is compressed, the segmentation."""
_SCANS_AHEAD = 3
_GIGABYTE = 1e9


def device(settings: Settings) -> Observed:
    """Whether what RICEFISH_DEVICE asks for is there."""
    cores = processors()
    gpus = cuda_devices(settings.device)
    if gpus:
        return Observed(f"{len(gpus)} GPU{'s' * (len(gpus) > 1)}, {cores} processors")
    if settings.device == "cuda":
        return Observed(
            "RICEFISH_DEVICE is cuda and no GPU is here",
            Level.FAIL,
            "Make the GPU visible (nvidia-smi; docker run --gpus all), or set RICEFISH_DEVICE=cpu.",
        )
    return Observed(f"no GPU, {cores} processors; RICEFISH_DEVICE is {settings.device}")


def onnx_runtime(settings: Settings) -> Observed:
    """Whether ONNX Runtime and its libraries fit the device; and which OpenVINO there is beside it."""
    offered = ", ".join(name.removesuffix("ExecutionProvider") for name in providers())
    found = f"{version()}: {offered}; OpenVINO {openvino_version() or 'is not installed'}"
    if not cuda_devices("auto") or settings.device == "cpu":
        there = any(Path("/dev").glob("nvidia[0-9]*"))
        if there and CUDA not in providers() and settings.device != "cpu":
            return Observed(
                found, Level.WARN, "A GPU is here: install onnxruntime-gpu[cuda,cudnn] in onnxruntime's place."
            )
        return Observed(found)
    missing = missing_library()
    if missing is None:
        return Observed(found)
    level = Level.FAIL if settings.device == "cuda" else Level.WARN
    return Observed(
        f"{found}; the GPU cannot be used: {missing}",
        level,
        "libcuda is the driver's: install it on the host. The others come with onnxruntime-gpu[cuda,cudnn].",
    )


def open_files() -> Observed:
    """Whether the process may open as many files and connections as it will want to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} at once (hard limit {hard})"
    if soft >= _FEW_FILES:
        return Observed(found)
    level = Level.FAIL if soft < _TOO_FEW_FILES else Level.WARN
    return Observed(
        found, level, f"Raise it: ulimit -n {_FEW_FILES}, LimitNOFILE= (systemd) or --ulimit nofile= (docker)."
    )


def disks(folders: Mapping[str, Path], *, scan_bytes: int) -> Observed:
    """Whether each disk has room for a full scan of so many bytes, beside what a server leaves free, and for a few.

    Folders on one disk share its room: what arrives in one is moved to the other.
    """
    found, level = [], Level.OK
    by_disk: dict[int, list[str]] = {}
    for name, folder in folders.items():
        by_disk.setdefault(nearest(folder).stat().st_dev, []).append(name)
    for names in by_disk.values():
        room = shutil.disk_usage(nearest(folders[names[0]]))
        needed = scan_bytes * (_COPIES if "store" in names or len(by_disk) == 1 else 1) + spare_bytes(room.total)
        found.append(f"{' and '.join(names)} {room.free / _GIGABYTE:.1f} GB free, {needed / _GIGABYTE:.1f} GB needed")
        if room.free < needed:
            level = Level.FAIL
        elif room.free < needed * _SCANS_AHEAD and level is Level.OK:
            level = Level.WARN
    advice = "Delete scans (DELETE /v1/scans/ID, RICEFISH_RETENTION_DAYS), or give it a larger disk."
    if level is Level.WARN:
        advice = f"That is room for one scan, and for fewer than {_SCANS_AHEAD}. {advice}"
    about = f"for one scan of {scan_bytes / _GIGABYTE:.3g} GB"
    if level is Level.WARN:
        advice = f"Fewer than {_SCANS_AHEAD} of them fit. {advice}"
    return Observed(f"{'; '.join(found)} {about}", level, "" if level is Level.OK else advice)
