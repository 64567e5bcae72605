"""Result files: what was measured, on which machine and commit; written after every row, so that none is lost."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def write(
    name: str, *, commit: str, rows: list[dict[str, Any]], about: dict[str, Any], folder: Path | None = None
) -> Path:
    """Writes NAME.json into the folder, else into RESULTS, and returns its path."""
    folder = folder or RESULTS
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    content = {
        "commit": commit,
        "measured": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine(),
        **about,
        "rows": rows,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """What a time, and to a lesser degree a score, depends on besides the code."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": _gpu(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def said_of(machine: Mapping[str, Any]) -> str:
    """What `machine` gave, in words: processor, cores and, where there is one, GPU."""
    words = f"{machine['processor']}, {machine['cores']} cores"
    return f"{words}, {machine['gpu']}" if machine.get("gpu") else words


def means(scores: dict[str, Any]) -> dict[str, float]:
    """The two means of one network in metrics/evaluate.json."""
    return {"mean_dice": scores["mean_dice"], "mean_iou": scores["mean_iou"]}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str | None:
    import torch  # noqa: PLC0415  seconds, and only to name the device

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
