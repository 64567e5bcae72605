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
AVERAGED_CONTROL = "averaged_control"
WHOLE = "whole"
"""The strong recipe, with all that helped on the tuning seeds."""


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
    mirrored: bool = False
    """True: the Teacher labels each slice's mirror image too, along the axis that the profile mirrors patches along."""
    longer: int = 1
    """So many times the Teacher's epochs are those of the second one."""

    @property
    def sha256(self) -> str:
        """Of all that its figures depend on: a row that was changed since is measured anew.

        What a row does not state is left out: another field changes no row that has its default.
        """
        decide = (field for field in dataclasses.fields(self) if field.name not in {"label", "control"})
        stated = {field.name: getattr(self, field.name) for field in decide}
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        said = json.dumps({k: v for k, v in stated.items() if v != defaults[k]}, sort_keys=True, default=dict)
        return hashlib.sha256(said.encode()).hexdigest()


def _switches(*, pseudo: bool, distillation: bool, checkpoint: bool, classifier: bool) -> dict[str, bool]:
    return {
        "train_student.pseudo_labels": pseudo,
        "train_student.distillation": distillation,
        "train_student.teacher_checkpoint": checkpoint,
        "refine.quality_classifier": classifier,
    }


_ALL = _switches(pseudo=True, distillation=True, checkpoint=True, classifier=True)
_UNREAD = {
    "label_quality.slices": 60,
    "label_quality.schedule.epochs": 1,
    "label_quality.schedule.steps_per_epoch": 5,
    "train_classifier.folds": 2,
    "train_classifier.schedule.epochs": 1,
    "train_classifier.schedule.steps_per_epoch": 5,
}
"""Where nothing reads what the Quality Classifier says, it need not be good."""
_NOT_JUDGED = {**_switches(pseudo=True, distillation=True, checkpoint=True, classifier=False), **_UNREAD}
_STUDENT_ALONE = {**_switches(pseudo=True, distillation=False, checkpoint=False, classifier=False), **_UNREAD}
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
_STRONG_BASE = {**_NOT_JUDGED, **_STRONG}
TUNING_SEEDS = frozenset({11, 12})
"""Of the synthetic fish on which values of the rows were chosen; no table of synthetic fish has them."""


def _labelled(by: str, changes: Mapping[str, Any], *, mirrored: bool = False, longer: int = 1) -> Row:
    """With other pseudo-labels."""
    changes = {**_STRONG_BASE, **changes}
    return Row(f"S, labels of {by}", changes, control=STRONG_CONTROL, mirrored=mirrored, longer=longer)


def _learnt(how: str, changes: Mapping[str, Any]) -> Row:
    """The Student learns otherwise from them."""
    return Row(f"S, {how}", {**_STRONG_BASE, **changes}, control=STRONG_CONTROL)


ROWS: Mapping[str, Row] = {
    "teacher": Row("the Teacher, before any further step", _ALL, network="teacher"),
    "supervised": Row(
        "fully supervised",
        {**_switches(pseudo=False, distillation=False, checkpoint=False, classifier=False), **_UNREAD},
    ),
    CONTROL: Row("control: the Teacher trained on for the Student's steps", _ALL, network="control"),
    "pseudo": Row(
        "pseudo-labelling",
        _STUDENT_ALONE,
    ),
    "distillation": Row(
        "pseudo-labelling + distillation",
        {**_STUDENT_ALONE, "train_student.distillation": True},
    ),
    "checkpoint": Row(
        "pseudo-labelling + Teacher checkpoint",
        {**_STUDENT_ALONE, "train_student.teacher_checkpoint": True},
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
    "good_or_bad": Row(
        "all, a Quality Classifier that learns no Dice of organs", {**_ALL, "train_classifier.organ_weight": 0.0}
    ),
    "strong_teacher": Row(
        "the Teacher, stronger augmentation", _STRONG_BASE, network="teacher", control=STRONG_CONTROL
    ),
    STRONG_CONTROL: Row("control, stronger augmentation", _STRONG_BASE, network="control", control=STRONG_CONTROL),
    "strong_judged": Row("all, stronger augmentation", {**_ALL, **_STRONG}, control=STRONG_CONTROL),
    "strong": Row("S: all without the Quality Classifier, stronger augmentation", _STRONG_BASE, control=STRONG_CONTROL),
    AVERAGED_CONTROL: Row(
        "control, stronger augmentation, averaged weights",
        {**_STRONG_BASE, "train_student.schedule.averaging": 0.98},
        network="control",
        control=AVERAGED_CONTROL,
    ),
    "averaged": Row(
        "S, averaged weights",
        {**_STRONG_BASE, "train_student.schedule.averaging": 0.98},
        control=AVERAGED_CONTROL,
    ),
    "mirrored": _labelled("slices and their mirror images", {}, mirrored=True),
    "two_teachers": _labelled("two Teachers", {"pseudo_label.second_teacher": "slices"}),
    "three_axes": _labelled("two Teachers along three axes", {"pseudo_label.second_teacher": "three_axes"}),
    "unsure": _labelled(
        "two Teachers where they are sure of the organ",
        {"pseudo_label.second_teacher": "slices", "refine.least_confidence": 0.7},
    ),
    "second_round": _labelled("the Teacher and its Student", {"pseudo_label.second_teacher": "student"}),
    "clean_view": _learnt("the Teacher sees patches as they were", {"train_student.clean_view": True}),
    "last_labelled": _learnt("last steps on labels alone", {"train_student.last_labelled": 0.3}),
    "consistency": _learnt("consistency of changed patches", {"train_student.consistency": 0.5}),
    "heavy": _labelled(
        "two Teachers, the second trained for longer", {"pseudo_label.second_teacher": "slices"}, longer=2
    ),
    WHOLE: Row(
        "W: S, labels of slices and their mirror images by two Teachers, the second trained for longer",
        {**_STRONG_BASE, "pseudo_label.second_teacher": "slices"},
        control=STRONG_CONTROL,
        mirrored=True,
        longer=2,
    ),
    "one_in_ten": Row(
        "control, one slice in ten labelled",
        {**_NOT_JUDGED, "prepare.phantoms.label_every": 10},
        network="control",
        synthetic=True,
    ),
}

TABLES: Mapping[int, tuple[str, ...]] = {
    1: ("teacher", "supervised", CONTROL, "all", "strong_teacher", STRONG_CONTROL, "strong", WHOLE, "one_in_ten"),
    2: tuple(ROWS),
}
"""Rows of Table 1 (over label budgets) and of Table 2 (each part of the recipe)."""
