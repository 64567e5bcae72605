"""How much better one network is than another, and how sure that is, over the volumes that both were scored on.

The difference is that of the means that are reported: over volumes, per organ, and then over organs. Its interval is a
percentile bootstrap over volumes (Efron 1979), paired: volumes are drawn with replacement, and both networks are scored
on those that were drawn. It covers the chance of which volumes were held out, not that of another training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIGURES = ("dice", "iou", "surface_dice", "hd95_mm")
PAIRS = (("student", "teacher"), ("student", "control"), ("control", "teacher"))
"""What is compared: the first less the second."""
DRAWS = 10_000
CONFIDENCE = 0.95
FEWEST_VOLUMES = 3
"""Of one volume there is one draw, and of two three: no interval."""


@dataclass(frozen=True)
class Difference:
    """One network's mean less another's."""

    mean: float
    interval: tuple[float, float] | None
    """Ends of the interval that holds 95 % of the draws; None where there are too few volumes."""
    interval_missing: str | None
    """Why there is no interval, in words."""

    def to_dict(self) -> dict[str, Any]:
        """{"mean", "low", "high", "interval_missing"}, for JSON."""
        low, high = self.interval or (None, None)
        return {"mean": self.mean, "low": low, "high": high, "interval_missing": self.interval_missing}


def differences(networks: Mapping[str, Any], *, seed: int) -> dict[str, dict[str, Difference]]:
    """{"student-teacher": {figure: Difference}, ...} of what `network_report` gives of each network, by its name.

    The same volumes are drawn for every pair and figure. Raises ValueError where two were scored on other volumes.
    """
    ids = {name: list(report["volumes"]) for name, report in networks.items()}
    if any(volumes != ids["student"] for volumes in ids.values()):
        raise ValueError(f"networks were scored on different volumes, and cannot be compared: {ids}")
    drawn = _drawn(len(ids["student"]), seed=seed)
    return {
        f"{better}-{worse}": {
            figure: _difference(_values(networks[better], figure), _values(networks[worse], figure), drawn=drawn)
            for figure in FIGURES
        }
        for better, worse in PAIRS
    }


def _drawn(volumes: int, *, seed: int) -> NDArray[np.int64]:
    """int64 (DRAWS, volumes): how often each draw has each volume."""
    return np.random.default_rng(seed).multinomial(volumes, np.full(volumes, 1 / volumes), size=DRAWS)


def _values(report: Mapping[str, Any], figure: str) -> NDArray[np.float64]:
    """float64 (volumes, organs), NaN where an organ has no score."""
    volumes = [list(volume["organs"].values()) for volume in report["volumes"].values()]
    return np.array([[organ[figure] for organ in organs] for organs in volumes], dtype=np.float64)


def _difference(better: NDArray[np.float64], worse: NDArray[np.float64], *, drawn: NDArray[np.int64]) -> Difference:
    volumes = len(better)
    once = np.ones((1, volumes), dtype=np.int64)
    mean = float((_means(better, once) - _means(worse, once))[0])
    if np.isnan(better).all() and np.isnan(worse).all():
        return Difference(mean, None, "no volume has the figure")
    if volumes < FEWEST_VOLUMES:
        said = "one validation volume" if volumes == 1 else f"{volumes} validation volumes"
        return Difference(mean, None, f"{said}; an interval needs {FEWEST_VOLUMES}")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(_means(better, drawn) - _means(worse, drawn), [tail, 1 - tail])
    return Difference(mean, (float(low), float(high)), None)


def _means(values: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 (draws,): of each draw the mean over volumes per organ, and then over the organs that have one.

    A draw in which nothing can be scored has 0, whatever the network.
    """
    scored = ~np.isnan(values)
    counts = drawn @ scored.astype(np.int64)
    of_organs = (drawn @ np.where(scored, values, 0.0)) / np.maximum(counts, 1)
    means: NDArray[np.float64] = of_organs.sum(axis=1) / np.maximum((counts > 0).sum(axis=1), 1)
    return means
