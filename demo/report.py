"""What the demo prints and leaves: scores of Teacher and Student, and the served scan's organs beside the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from scans.measures.metrics import VolumeScores
from scans.measures.statistics import OrganRow

NETWORKS = ("teacher", "student")


@dataclass(frozen=True)
class Scores:
    """How well one network does on the validation volumes."""

    mean_dice: float
    mean_iou: float
    dice: Mapping[str, float | None]
    """Per organ; None where no validation volume has it."""
    iou: Mapping[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """As in demo/metrics.json."""
        organs = {name: {"dice": self.dice[name], "iou": self.iou[name]} for name in self.dice}
        return {"mean_dice": self.mean_dice, "mean_iou": self.mean_iou, "organs": organs}


def read_scores(path: Path) -> dict[str, Scores]:
    """Scores of Teacher and Student from metrics/evaluate.json."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: _scores(content[name]) for name in NETWORKS}


def write_metrics(path: Path, scores: Mapping[str, Scores]) -> None:
    """Writes {"teacher": {"mean_dice", "mean_iou", "organs": {name: {"dice", "iou"}}}, "student": ...}."""
    content = {name: scores[name].to_dict() for name in NETWORKS}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def scores_table(scores: Mapping[str, Scores]) -> Table:
    """Dice and IoU of Teacher and Student per organ, and their means."""
    teacher, student = scores["teacher"], scores["student"]
    table = Table(title="On held-out fish, mean over volumes", title_justify="left")
    table.add_column("organ")
    for heading in ("Teacher Dice", "Student Dice", "Teacher IoU", "Student IoU"):
        table.add_column(heading, justify="right")
    for organ in teacher.dice:
        values = (teacher.dice[organ], student.dice[organ], teacher.iou[organ], student.iou[organ])
        table.add_row(organ, *map(_figure, values))
    table.add_section()
    means = (teacher.mean_dice, student.mean_dice, teacher.mean_iou, student.mean_iou)
    table.add_row("mean", *map(_figure, means), style="bold")
    return table


def organs_table(served: Sequence[OrganRow], true_rows: Sequence[OrganRow], scores: VolumeScores) -> Table:
    """The organ table that the server answered, with the true volumes and this scan's Dice beside."""
    table = Table(title=f"The served scan, {scores.volume_id}", title_justify="left")
    table.add_column("organ")
    for heading in ("voxels", "mm3", "true mm3", "Dice", "centre z y x"):
        table.add_column(heading, justify="right")
    table.add_column("cut off")
    by_name = {row.name: row for row in served}
    for true_row in true_rows:
        row = by_name[true_row.name]
        table.add_row(
            true_row.name,
            str(row.voxels),
            f"{row.volume_mm3:.4g}",
            f"{true_row.volume_mm3:.4g}",
            _figure(scores.dice[true_row.name]),
            _place(row.centroid_voxels),
            "yes" if row.touches_border else "",
        )
    return table


def _scores(content: Mapping[str, Any]) -> Scores:
    organs = content["organs"]
    return Scores(
        mean_dice=content["mean_dice"],
        mean_iou=content["mean_iou"],
        dice={name: organ["dice"] for name, organ in organs.items()},
        iou={name: organ["iou"] for name, organ in organs.items()},
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _place(centroid: Sequence[float] | None) -> str:
    return "-" if centroid is None else " ".join(f"{value:.0f}" for value in centroid)
