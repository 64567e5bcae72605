"""Does the GPU path work here, and how fast is it? Ten minutes on a fresh machine with one GPU.

    python -m benchmarks.gpu_check
    python -m benchmarks.gpu_check --device cpu --quick

What the GPU answers against the CPU, in float32 and float16; what does not fit its memory; the rate of one lane and of
all; CUDA graphs and TensorRT; several GPUs where there are several; a scan of 3000 x 1000 x 1000 from POST to mask;
training against a bare loop. Writes benchmarks/results/gpu-check.json. Exit status: 1 where a check failed, 2 where
there is no GPU.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.effort import effort_of
from benchmarks.gpu_check import device_checks
from benchmarks.gpu_check.device_checks import Row
from benchmarks.gpu_check.model_files import ModelFiles
from benchmarks.gpu_check.whole_scan import whole_scan
from serving.inference.runtime.libraries import missing_library, providers, version
from serving.inference.runtime.session import cuda_devices

_TRAINING = "benchmarks.training_speed"
"""What `make bench-training` runs."""
_NO_GPU = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description="The GPU path, on a GPU")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: run it all without a GPU")
    parser.add_argument("--network", choices=("unet", "tiny"), default="unet", help="the paper's, or one convolution")
    parser.add_argument("--slices", type=int, default=3000, help="of the scan (default: 3000)")
    parser.add_argument("--side", type=int, default=1000, help="pixels of a slice's side (default: 1000)")
    parser.add_argument("--batch", type=int, default=8, help="slices of a batch (default: 8)")
    if _needs_gpu(arguments) and (reason := _no_gpu()) is not None:
        print(f"gpu-check: {reason}; --device cpu runs it without one", file=sys.stderr)
        return _NO_GPU
    effort = effort_of(parser, arguments, least={"network": "tiny", "slices": 4, "side": 64, "batch": 2})
    given, console, rows = effort.options, Console(), []
    with tempfile.TemporaryDirectory(prefix="ricefish-gpu-check-") as folder:
        for row in _checks(Path(folder), given, quick=effort.quick):
            rows.append(row)
            path = effort.write("gpu-check", rows=rows, about=_about(given.device))
            console.print(_said(row), highlight=False)
    console.print(f"Written to {path}")
    return 0 if all(row.get("passed", True) for row in rows) else 1


def _checks(folder: Path, given: argparse.Namespace, *, quick: bool) -> Iterator[Row]:
    device, batch, side = given.device, given.batch, given.side
    files = ModelFiles.write(folder / "model", given.network, side=side)
    scan = {"device": device, "slices": given.slices, "side": side}
    whole: tuple[tuple[str, Callable[[], Iterable[Row]]], ...] = (
        ("agreement", lambda: device_checks.agreement(files, device=device, slices=batch)),
        ("out of memory", lambda: [device_checks.memory(files, device=device, quick=quick)]),
        ("speed", lambda: device_checks.speed(files, device=device, batch=batch)),
        ("graphs", lambda: device_checks.graphs(files, device=device, batch=batch)),
        ("several GPUs", lambda: [device_checks.several_gpus(files, device=device, batch=batch)]),
        ("whole scan", lambda: [whole_scan(folder / "scan", files, **scan)]),
        ("training", lambda: [_training(device=device, quick=quick)]),
    )
    for name, check in whole:
        try:
            yield from check()
        except Exception as error:  # whatever fails here, the others are to be run on this machine too
            yield {"check": name, "passed": False, "error": str(error), "traceback": traceback.format_exc()}


def _training(*, device: str, quick: bool) -> Row:
    """Training against a bare loop, as `make bench-training` measures it, in a process of its own, which keeps its
    figures in a file of its own."""
    if quick or device == "cpu":
        return {"check": "training", "skipped": f"python -m {_TRAINING} is for a GPU, and takes minutes"}
    ended = subprocess.run([sys.executable, "-m", _TRAINING], capture_output=True, text=True, check=False)
    return {"check": "training", "passed": ended.returncode == 0, "said": (ended.stdout + ended.stderr)[-2000:]}


def _needs_gpu(arguments: Sequence[str] | None) -> bool:
    """Before anything else is read: where there is no GPU, it does not matter that something was edited."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("-h", "--help", action="store_true")
    given = parser.parse_known_args(arguments)[0]
    return given.device == "cuda" and not given.help


def _no_gpu() -> str | None:
    """Why no GPU can be used; None where one can."""
    if not cuda_devices("cuda"):
        return "this machine has no NVIDIA GPU, or ONNX Runtime was built without CUDA"
    missing = missing_library()
    return None if missing is None else f"ONNX Runtime cannot use the GPU: {missing}"


def _about(device: str) -> dict[str, Any]:
    asked = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    try:
        gpus = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    except (OSError, subprocess.CalledProcessError):
        gpus = []
    return {
        "name": platform.node(),
        "device": device,
        "gpus": gpus,
        "onnxruntime": version(),
        "providers": providers(),
    }


def _said(row: Row) -> str:
    state = "skipped" if "skipped" in row else "passed" if row["passed"] else "FAILED"
    rest = {name: value for name, value in row.items() if name not in ("check", "passed", "traceback", "activities")}
    return f"{row['check']}: {state}; " + ", ".join(f"{name} {value}" for name, value in rest.items())


if __name__ == "__main__":
    sys.exit(main())
