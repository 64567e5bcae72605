"""Rows: what is trained in which way. All but the Teacher have equal steps, patches, augmentation and rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONTROL = "control"
"""The row that each other one is compared with."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    label: str
    changes: Mapping[str, Any]
    """Addresses in the profile to values."""
    network: str = "student"
    """Whose scores these are: of metrics/evaluate.json."""


def _switches(*, pseudo: bool, distillation: bool, checkpoint: bool, classifier: bool) -> dict[str, bool]:
    return {
        "train_student.pseudo_labels": pseudo,
        "train_student.distillation": distillation,
        "train_student.teacher_checkpoint": checkpoint,
        "refine.quality_classifier": classifier,
    }


_ALL = _switches(pseudo=True, distillation=True, checkpoint=True, classifier=True)

ROWS: Mapping[str, Row] = {
    "teacher": Row("the Teacher, before any further step", _ALL, network="teacher"),
    "supervised": Row(
        "fully supervised",
        _switches(pseudo=False, distillation=False, checkpoint=False, classifier=True),
    ),
    CONTROL: Row("control: the Teacher, the Student's steps more", _ALL, network="control"),
    "pseudo": Row(
        "pseudo-labelling",
        _switches(pseudo=True, distillation=False, checkpoint=False, classifier=False),
    ),
    "distillation": Row(
        "pseudo-labelling + distillation",
        _switches(pseudo=True, distillation=True, checkpoint=False, classifier=False),
    ),
    "checkpoint": Row(
        "pseudo-labelling + Teacher checkpoint",
        _switches(pseudo=True, distillation=False, checkpoint=True, classifier=False),
    ),
    "classifier": Row(
        "pseudo-labelling + Quality Classifier",
        _switches(pseudo=True, distillation=False, checkpoint=False, classifier=True),
    ),
    "all": Row("all", _ALL),
}

TABLES: Mapping[int, tuple[str, ...]] = {1: ("teacher", "supervised", CONTROL, "all"), 2: tuple(ROWS)}
"""Rows of Table 1 (over label budgets) and of Table 2 (each part of the recipe)."""
