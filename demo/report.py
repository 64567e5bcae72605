"""What the demo prints and leaves: scores of the three networks, and the served scan's organs beside the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ricefish.cli.segment import said_of
from ricefish.client.organs import ServedOrgan
from scans.measures.metrics import VolumeScores
from scans.measures.statistics import OrganRow

NETWORKS = ("teacher", "control", "student")
CONTROL = "Control: the Teacher given the Student's further steps, on labelled slices alone."


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
    """Scores of Teacher, control and Student from metrics/evaluate.json."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: _scores(content[name]) for name in NETWORKS}


def read_control(path: Path, volume_id: str) -> dict[str, float | None]:
    """Dice of the control on one validation volume, per organ, from metrics/evaluate.json."""
    organs = json.loads(path.read_text(encoding="utf-8"))["control"]["volumes"][volume_id]["organs"]
    return {name: organ["dice"] for name, organ in organs.items()}


def write_metrics(path: Path, scores: Mapping[str, Scores]) -> None:
    """Writes {NETWORK: {"mean_dice", "mean_iou", "organs": {name: {"dice", "iou"}}}} for each of NETWORKS."""
    content = {name: scores[name].to_dict() for name in NETWORKS}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def scores_table(scores: Mapping[str, Scores]) -> Table:
    """Dice and IoU of Teacher, control and Student per organ, and their means."""
    networks = [scores[name] for name in NETWORKS]
    table = Table(
        title="On held-out fish, mean over volumes", title_justify="left", caption=CONTROL, caption_justify="left"
    )
    table.add_column("organ", no_wrap=True)
    for figure in ("Dice", "IoU"):
        for name in NETWORKS:
            table.add_column(f"{name.capitalize()}\n{figure}", justify="right")
    for organ in networks[0].dice:
        values = [*(network.dice[organ] for network in networks), *(network.iou[organ] for network in networks)]
        table.add_row(organ, *map(_figure, values))
    table.add_section()
    means = [*(network.mean_dice for network in networks), *(network.mean_iou for network in networks)]
    table.add_row("mean", *map(_figure, means), style="bold")
    return table


def organs_table(
    served: Sequence[ServedOrgan],
    true_rows: Sequence[OrganRow],
    scores: VolumeScores,
    *,
    control: Mapping[str, float | None],
) -> Table:
    """The organ table that the server answered, with the true volumes, this scan's Dice, what was expected of it (with
    bounds) and the control's beside."""
    table = Table(
        title=f"The served scan, {scores.volume_id}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("organ", no_wrap=True)
    for heading in ("mm3", "true mm3", "Dice", "expected\nDice", "control\nDice", "centre z y x"):
        table.add_column(heading, justify="right")
    table.add_column("cut off")
    by_name = {row.name: row for row in served}
    for true_row in true_rows:
        row = by_name[true_row.name]
        table.add_row(
            true_row.name,
            f"{row.volume_mm3:.4g}",
            f"{true_row.volume_mm3:.4g}",
            _figure(scores.dice[true_row.name]),
            said_of(row.expected_dice),
            _figure(control.get(true_row.name)),
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
