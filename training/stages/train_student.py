"""train_student: a network like the Teacher learns from labelled and refined pseudo-labelled slices (section 2.2).

Its three switches make the rows of Table 2: pseudo-labels, distillation, and the Teacher's weights to start from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from training.command import run_command
from training.data.prepared import Catalogue
from training.data.pseudo_labels import KeptSlice, read_refined
from training.learning.checkpoints import STUDENT
from training.learning.further_training import FurtherTraining, TeacherTerm, train_further
from training.learning.loop import Epoch
from training.learning.processes import Processes
from training.learning.run_training import run_training, trained
from training.params import Params, TrainStudent
from training.recipe import Schedule
from training.run_stage import Report

EPOCHS = Path("plots/train_student.csv")

log = logging.getLogger(__name__)


def main() -> None:
    """Runs the stage in the repository root; under torchrun, in each of its processes."""
    run_training("train_student", _train, shared=True)


def _train(params: Params, ranks: Processes, report: Callable[[Epoch], None]) -> Report | None:
    teacher_schedule = params.train_teacher.schedule
    metrics = train_student(
        params.train_student, teacher_schedule=teacher_schedule, seed=params.seed, ranks=ranks, report=report
    )
    return trained(metrics, epochs=EPOCHS)


def train_student(
    section: TrainStudent,
    *,
    teacher_schedule: Schedule,
    seed: int,
    ranks: Processes,
    report: Callable[[Epoch], None],
) -> dict[str, float]:
    """Trains the Student and writes its checkpoint and epochs, as `train_further` does.

    `teacher_schedule` is what a Student with new weights goes through first, so that it has as many steps behind it as
    one that starts from the Teacher's weights.
    """
    training = FurtherTraining(
        name="train_student",
        recipe=section,
        catalogue=Catalogue.read(),
        seed=seed,
        kept=_kept(section),
        labelled_share=section.labelled_share,
        last_labelled=section.last_labelled,
        balanced_experiments=section.balanced_experiments,
        teacher_term=_teacher_term(section),
        consistency=section.consistency,
        first_schedule=None if section.teacher_checkpoint else teacher_schedule,
    )
    return train_further(training, checkpoint=STUDENT, epochs_file=EPOCHS, ranks=ranks, report=report)


def _teacher_term(section: TrainStudent) -> TeacherTerm | None:
    if not section.distillation:
        return None
    return TeacherTerm(section.alpha, section.temperature, clean_view=section.clean_view)


def _kept(section: TrainStudent) -> tuple[KeptSlice, ...]:
    """The refined slices to learn from; none where the switch is off."""
    if not section.pseudo_labels:
        log.info("train_student: pseudo_labels is off; learning from labelled slices alone")
        return ()
    kept = read_refined()
    if not kept:
        log.warning("train_student: refine kept no pseudo-labelled slice; learning from labelled slices alone")
    return kept


if __name__ == "__main__":
    run_command("train_student", main)
