"""Where the time of a training goes, as a picture: what makes the batches, and what steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

_LANES: Mapping[str, tuple[str, ...]] = {
    "batches": ("read", "cut", "copy", "augment"),
    "steps": ("wait", "forward", "backward", "optimiser"),
}
ACTIVITIES = tuple(name for names in _LANES.values() for name in names)
"""`forward` has the loss in it, and the frozen Teacher of a Student."""
_COLOURS = {
    "read": "#4477aa",
    "cut": "#66ccee",
    "copy": "#ccbb44",
    "augment": "#228833",
    "wait": "#bbbbbb",
    "forward": "#ee6677",
    "backward": "#aa3377",
    "optimiser": "#eeccdd",
}


def draw_training(path: Path, seconds: Mapping[str, Mapping[str, float]]) -> None:
    """Writes a PNG; `seconds` are those of ACTIVITIES, by the name of the training."""
    mpl.use("Agg")
    size = (8, 1.5 * len(seconds))
    figure, axes = plt.subplots(len(seconds), 1, figsize=size, constrained_layout=True, squeeze=False)
    for axis, (name, spent) in zip(axes[:, 0], seconds.items(), strict=True):
        for row, names in enumerate(_LANES.values()):
            left = 0.0
            for activity in names:
                axis.barh(row, spent[activity], left=left, color=_COLOURS[activity], label=activity)
                left += spent[activity]
        axis.set_yticks(range(len(_LANES)), list(_LANES))
        axis.invert_yaxis()
        axis.set_xlabel("seconds")
        axis.set_title(name, loc="left", fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)
