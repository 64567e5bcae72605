"""Where the time of a scan goes, as a picture: what each thread of the stream was busy with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

_THREADS: Mapping[str, tuple[str, ...]] = {
    "reader": ("read",),
    "inference": ("wait_for_read", "prepare", "infer", "wait_for_write"),
    "writer": ("judge", "write"),
}
_COLOURS = {
    "read": "#4477aa",
    "prepare": "#ccbb44",
    "infer": "#228833",
    "judge": "#66ccee",
    "write": "#aa3377",
    "wait_for_read": "#bbccee",
    "wait_for_write": "#eeccdd",
}
_TITLES = {"unet": "slow network (U-Net, ResNet-18)", "tiny": "fast network (one convolution)"}


def draw_activities(path: Path, activities: Mapping[str, Mapping[str, float]]) -> None:
    """Writes a PNG; `activities` are the seconds that the server says of a scan, by network."""
    mpl.use("Agg")
    figure, axes = plt.subplots(len(activities), 1, figsize=(8, 1.9 * len(activities)), constrained_layout=True)
    for axis, (network, seconds) in zip(axes, activities.items(), strict=True):
        whole = max(sum(seconds[name] for name in names) for names in _THREADS.values())
        for row, names in enumerate(_THREADS.values()):
            left = 0.0
            for name in names:
                axis.barh(row, seconds[name], left=left, color=_COLOURS[name], label=name.replace("_", " "))
                left += seconds[name]
            busy = sum(seconds[name] for name in names if not name.startswith("wait"))
            axis.text(whole * 1.01, row, f"{100 * busy / whole:.0f} %", va="center")
            axis.set_yticks(range(len(_THREADS)), list(_THREADS))
        axis.set_xlim(0, whole * 1.1)
        axis.invert_yaxis()
        axis.set_xlabel("seconds; per cent: share of the scan's time that the thread is busy")
        axis.set_title(_TITLES.get(network, network), loc="left", fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)
