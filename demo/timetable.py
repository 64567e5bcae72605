"""How long the rest of the demo will take: what each step takes as a rule, times how slow this machine has been."""

from __future__ import annotations

from collections.abc import Mapping

STAGES: Mapping[str, float] = {
    "resolve": 8,  # of which all but one are the imports, which the first stage waits for
    "prepare": 5,
    "train_teacher": 26,
    "pseudo_label": 4,
    "label_quality": 30,
    "train_classifier": 10,
    "refine": 2,
    "train_student": 24,
    "train_control": 18,
    "evaluate": 8,
    "export": 14,
    "register": 3,
}
"""Seconds of each stage of the pipeline, in their order, on two cores without a GPU."""
PARTS: Mapping[str, float] = {"promotion": 1, "server": 7, "request": 1, "report": 2}
"""Seconds of what follows the pipeline."""
SETTLING_SECONDS = 10.0
"""How long the figures above are believed as much as what was seen."""


class Timetable:
    """Steps that are still to come, in seconds of this machine."""

    def __init__(self, typical: Mapping[str, float]) -> None:
        self._left = dict(typical)
        self._expected = self._spent = SETTLING_SECONDS

    def done(self, step: str, seconds: float) -> None:
        """A step took so long."""
        self._expected += self._left.pop(step)
        self._spent += seconds

    def left_out(self, step: str) -> None:
        """A step was done before, and takes no time now."""
        self._left.pop(step, None)

    @property
    def seconds_left(self) -> float:
        """Of all steps that are neither done nor left out."""
        return sum(self._left.values()) * self._spent / self._expected


def clock(seconds: float) -> str:
    """As people say it: `4.2 s`, or `1 min 05 s` from a minute on."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def about(seconds: float) -> str:
    """An estimate, no finer than it is good: `about 10 s`, `about 2 min 20 s`."""
    rounded = max(round(seconds / 5) * 5, 5)
    return f"about {clock(rounded) if rounded >= 60 else f'{rounded} s'}"
