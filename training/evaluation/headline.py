"""Headline: the few figures by which runs are compared; all others stand in the metrics of their stages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.stage_files import read_json, stage_file

HEADLINE_FILE = Path("metrics/headline.json")
"""The only file that `dvc metrics` and `dvc exp show` read."""


def headline(evaluation: Mapping[str, Any], classifier: Mapping[str, Any]) -> dict[str, float]:
    """From what `evaluate` and `train_classifier` report: what there is none of is left out."""
    found = {
        "student_dice": evaluation["student"]["mean_dice"],
        "student_iou": evaluation["student"]["mean_iou"],
        "control_dice": evaluation["control"]["mean_dice"],
        "control_iou": evaluation["control"]["mean_iou"],
        "teacher_dice": evaluation["teacher"]["mean_dice"],
        "teacher_iou": evaluation["teacher"]["mean_iou"],
        "classifier_auc": classifier["auc"],
    }
    return {name: round(float(value), 6) for name, value in found.items() if value is not None}


def write_headline(figures: Mapping[str, float], path: Path = HEADLINE_FILE) -> None:
    """Writes the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def read_headline(path: Path = HEADLINE_FILE) -> dict[str, float]:
    """What `evaluate` has written. Raises StageFileError."""
    with stage_file(path):
        return {name: float(value) for name, value in read_json(path).items()}
