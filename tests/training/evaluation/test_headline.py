"""The headline: few figures, of what there is, and the only ones that DVC compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from training.evaluation.headline import HEADLINE_FILE, headline, read_headline, write_headline

REPOSITORY = Path(__file__).resolve().parents[3]
EVALUATION: dict[str, Any] = {
    "student": {"mean_dice": 0.81234567, "mean_iou": 0.7, "organs": {"heart": {"dice": 0.9}}},
    "control": {"mean_dice": 0.78, "mean_iou": 0.65},
    "teacher": {"mean_dice": 0.75, "mean_iou": 0.6},
}


def test_it_is_what_runs_are_compared_by(tmp_path: Path) -> None:
    """Means of the three networks and the classifier's AUC, which is left out where nobody could measure it."""
    path = tmp_path / "metrics" / "headline.json"
    write_headline(headline(EVALUATION, {"auc": 0.9, "threshold": 0.5}), path)
    assert read_headline(path) == {
        **{"student_dice": 0.812346, "student_iou": 0.7, "teacher_dice": 0.75, "teacher_iou": 0.6},
        **{"control_dice": 0.78, "control_iou": 0.65},
        "classifier_auc": 0.9,
    }
    assert "classifier_auc" not in headline(EVALUATION, {"auc": None})


def test_dvc_compares_nothing_else() -> None:
    """So that `dvc metrics diff` and `dvc exp show` fit a screen: all other figures are outputs of their stages."""
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    metrics = [file for stage in stages.values() for file in stage.get("metrics", [])]
    assert metrics == [str(HEADLINE_FILE)]
