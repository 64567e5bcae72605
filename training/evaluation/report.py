"""What is reported of each network: means, every organ, every volume, every experiment, as metrics/evaluate.json."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scans.measures.metrics import summarise
from scans.organs import OrganMap
from training.evaluation.scoring import ScoredVolume


def network_report(scores: Sequence[ScoredVolume], organs: OrganMap) -> dict[str, Any]:
    """One network's part of metrics/evaluate.json: means, every organ, every volume, every experiment."""
    experiments = sorted({of_volume.experiment for of_volume in scores})
    volumes = {of_volume.scores.volume_id: _of_volume(of_volume) for of_volume in scores}
    summary = summarise([of_volume.scores for of_volume in scores], organs).to_dict()
    surfaces = {figure: _mean_of_organs(volumes, organs, figure) for figure in ("surface_dice", "hd95_mm")}
    return {
        **summary,
        **{f"mean_{figure}": mean for figure, mean in surfaces.items()},
        "volumes": volumes,
        "by_experiment": {
            experiment: summarise([s.scores for s in scores if s.experiment == experiment], organs).to_dict()
            for experiment in experiments
        },
    }


def _of_volume(of_volume: ScoredVolume) -> dict[str, Any]:
    return {
        "experiment": of_volume.experiment,
        "organs": {
            name: {
                "dice": of_volume.scores.dice[name],
                "iou": of_volume.scores.iou[name],
                "surface_dice": distances.surface_dice,
                "hd95_mm": distances.hd95_mm,
                "assd_mm": distances.assd_mm,
            }
            for name, distances in of_volume.distances.items()
        },
    }


def mean_over_volumes(report: Mapping[str, Any], organ: str, figure: str) -> float | None:
    """Mean of one figure of one organ over the volumes that have it; None where none has."""
    return _mean(volume["organs"][organ][figure] for volume in report["volumes"].values())


def _mean_of_organs(volumes: Mapping[str, Any], organs: OrganMap, figure: str) -> float | None:
    """Over volumes first, per organ, and then over organs."""
    return _mean(mean_over_volumes({"volumes": volumes}, organ, figure) for organ in organs.names)


def _mean(values: Iterable[float | None]) -> float | None:
    scored = [value for value in values if value is not None]
    return sum(scored) / len(scored) if scored else None


def flat_figures(report: Mapping[str, Any]) -> dict[str, float]:
    """The figures of one network that MLflow gets: means, and Dice and IoU of each organ that has them."""
    names = ("mean_dice", "mean_iou", "mean_surface_dice", "mean_hd95_mm")
    flat = {name: report[name] for name in names if report[name] is not None}
    for organ, figures in report["organs"].items():
        flat |= {f"{figure}.{organ}": figures[figure] for figure in ("dice", "iou") if figures[figure] is not None}
    return flat


def write_organs(path: Path, networks: Mapping[str, Any]) -> None:
    """Writes plots/organs.csv, a line for each network and organ, where a figure that there is none of is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        figures = ("dice", "iou", "surface_dice", "hd95_mm", "assd_mm")
        writer.writerow(("network", "organ", *figures, "left_out"))
        for name, report in networks.items():
            for organ, found in report["organs"].items():
                means = (mean_over_volumes(report, organ, figure) for figure in figures)
                values = ("" if mean is None else round(mean, 6) for mean in means)
                writer.writerow((name, organ, *values, found["left_out"]))
