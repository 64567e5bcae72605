"""Rows: what is trained in which way.

All but the Teachers have equal steps, number of patches and rate; a row and its control draw and change patches alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONTROL = "control"
"""The row that those of the paper are compared with."""
CLEANED_CONTROL = "cleaned_control"
STRONG_CONTROL = "strong_control"


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    label: str
    changes: Mapping[str, Any]
    """Addresses in the profile to values."""
    network: str = "student"
    """Whose scores these are: of metrics/evaluate.json."""
    control: str = CONTROL
    """The row that this one is compared with; a control's own is itself."""
    synthetic: bool = False
    """True: possible on synthetic fish only."""

    @property
    def sha256(self) -> str:
        """Of all that its figures depend on: a row that was changed since is measured anew."""
        said = json.dumps(dataclasses.asdict(self) | {"label": "", "control": ""}, sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()


def _switches(*, pseudo: bool, distillation: bool, checkpoint: bool, classifier: bool) -> dict[str, bool]:
    return {
        "train_student.pseudo_labels": pseudo,
        "train_student.distillation": distillation,
        "train_student.teacher_checkpoint": checkpoint,
        "refine.quality_classifier": classifier,
    }


_ALL = _switches(pseudo=True, distillation=True, checkpoint=True, classifier=True)
_NOT_JUDGED = _switches(pseudo=True, distillation=True, checkpoint=True, classifier=False)
_CLEANED = {
    "refine.components": True,
    "refine.keep_empty": True,
    "train_student.sampling.fewest_pixels": 4,
    "train_student.balanced_experiments": True,
}
_STRONG = {
    "augmentation.gamma": 0.5,
    "augmentation.class_contrast": 0.2,
    "augmentation.blur": 1.0,
    "augmentation.low_resolution": 1.0,
    "augmentation.noise": 0.1,
    "train_student.augmentation.noise": 0.1,
}
TUNING_SEEDS = frozenset({11, 12})
"""Of the synthetic fish on which values of the rows were chosen; no table of synthetic fish has them."""

ROWS: Mapping[str, Row] = {
    "teacher": Row("the Teacher, before any further step", _ALL, network="teacher"),
    "supervised": Row(
        "fully supervised",
        _switches(pseudo=False, distillation=False, checkpoint=False, classifier=True),
    ),
    CONTROL: Row("control: the Teacher trained on for the Student's steps", _ALL, network="control"),
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
    "all": Row("all: the paper's whole", _ALL),
    "not_judged": Row("all, without the Quality Classifier", _NOT_JUDGED),
    CLEANED_CONTROL: Row(
        "control, patches centred where a slice has 4 pixels of an organ",
        {**_ALL, **_CLEANED},
        network="control",
        control=CLEANED_CONTROL,
    ),
    "cleaned": Row("all, cleaned pseudo-labels", {**_ALL, **_CLEANED}, control=CLEANED_CONTROL),
    "two_teachers": Row(
        "all without the Quality Classifier, labels of two Teachers",
        {**_NOT_JUDGED, "pseudo_label.second_teacher": "slices"},
    ),
    "three_axes": Row(
        "all without the Quality Classifier, labels of two Teachers along three axes",
        {**_NOT_JUDGED, "pseudo_label.second_teacher": "three_axes"},
    ),
    "strong_teacher": Row(
        "the Teacher, stronger augmentation", {**_NOT_JUDGED, **_STRONG}, network="teacher", control=STRONG_CONTROL
    ),
    STRONG_CONTROL: Row(
        "control, stronger augmentation", {**_NOT_JUDGED, **_STRONG}, network="control", control=STRONG_CONTROL
    ),
    "strong_judged": Row("all, stronger augmentation", {**_ALL, **_STRONG}, control=STRONG_CONTROL),
    "strong": Row(
        "all without the Quality Classifier, stronger augmentation",
        {**_NOT_JUDGED, **_STRONG},
        control=STRONG_CONTROL,
    ),
    "one_in_ten": Row(
        "control, one slice in ten labelled",
        {**_ALL, "prepare.phantoms.label_every": 10},
        network="control",
        synthetic=True,
    ),
}

TABLES: Mapping[int, tuple[str, ...]] = {
    1: ("teacher", "supervised", CONTROL, "all", "strong_teacher", STRONG_CONTROL, "strong", "one_in_ten"),
    2: tuple(ROWS),
}
"""Rows of Table 1 (over label budgets) and of Table 2 (each part of the recipe)."""
