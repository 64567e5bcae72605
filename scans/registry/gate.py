"""The gate: whether a candidate may become the champion, from the scores of both on the same validation volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from scans.measures.metrics import Summary, VolumeScores, summarise
from scans.organs import OrganMap

ROUNDING = 1e-9
"""A difference of decimal fractions may come out this much larger than it is."""


TAG_PREFIX = "register."
"""What the names of the limits' tags begin with: they are called as in params.yaml."""


class GateError(ValueError):
    """Two models whose scores cannot be compared; the message says why."""


@dataclass(frozen=True)
class GateLimits:
    """What is asked of a champion, in Dice, 0..1: `register` in params.yaml, and noted with each version."""

    least_mean_dice: float
    """No model whose mean Dice is lower becomes champion, be it the first."""
    greatest_mean_loss: float
    """How much lower than the champion's the mean Dice may be."""
    greatest_organ_loss: float
    """How much lower than the champion's any organ's Dice may be."""

    @property
    def tags(self) -> dict[str, str]:
        """As they are noted with a version."""
        return {f"{TAG_PREFIX}{limit.name}": repr(getattr(self, limit.name)) for limit in fields(self)}

    @classmethod
    def noted(cls, values: Mapping[str, str], *, prefix: str = TAG_PREFIX) -> GateLimits | None:
        """From the tags of a version or, without a prefix, the parameters of a run; None where one is missing.

        Raises GateError for what is no number from 0 to 1.
        """
        names = [limit.name for limit in fields(cls)]
        if not all(f"{prefix}{name}" in values for name in names):
            return None
        return cls(**{name: _share(f"{prefix}{name}", values[f"{prefix}{name}"]) for name in names})


def _share(name: str, said: str) -> float:
    try:
        value = float(said)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise GateError(f"{name} is noted as {said!r}; a limit of the gate is a number from 0 to 1")
    return value


@dataclass(frozen=True)
class Row:
    """One line of the verdict: a figure of both, and whether the condition on it holds."""

    figure: str
    """An organ's name, or `mean`."""
    candidate: float | None
    """Dice, 0..1; None: absent from every volume and every answer."""
    champion: float | None
    """Dice, 0..1; None: absent from every volume and every answer."""
    allowed_loss: float
    """How much lower than the champion's the candidate's may be."""
    least: float = 0.0
    """What the candidate's has to reach, whatever the champion's is."""

    @property
    def change(self) -> float | None:
        """How much better the candidate is; None where one of them has no score."""
        if self.candidate is None or self.champion is None:
            return None
        return self.candidate - self.champion

    @property
    def holds(self) -> bool:
        """True unless the candidate loses more than is allowed, or is below what is asked of all."""
        return self.reaches and (self.change is None or self.change >= -self.allowed_loss - ROUNDING)

    @property
    def reaches(self) -> bool:
        """True unless the candidate is below what is asked of all."""
        return (self.candidate or 0.0) >= self.least - ROUNDING

    @property
    def failure(self) -> str:
        """What does not hold, as a sentence."""
        what = "mean Dice" if self.figure == "mean" else f"Dice of {self.figure}"
        if not self.reaches:
            return (
                f"{what} is {self.candidate or 0.0:.4f}; no model below {self.least:g} becomes champion "
                f"(register.least_mean_dice in params.yaml)"
            )
        return (
            f"{what} falls from {self.champion:.4f} to {self.candidate:.4f}; a loss of {self.allowed_loss:g} is allowed"
        )


@dataclass(frozen=True)
class Verdict:
    """The mean first, then each organ."""

    rows: tuple[Row, ...]
    volumes: int
    """Validation volumes that the candidate, and the champion where there is one, were scored on."""

    @property
    def passed(self) -> bool:
        """True where every condition holds."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence for each condition that does not hold."""
        return tuple(row.failure for row in self.rows if not row.holds)


def judge(
    candidate: Mapping[str, VolumeScores],
    champion: Mapping[str, VolumeScores] | None,
    *,
    organs: OrganMap,
    limits: GateLimits,
) -> Verdict:
    """What is asked of every champion, and Dice of both over the same volumes: mean, and each organ's.

    `champion` is None where there is none. Raises GateError if the two were not scored on the same volumes and organs.
    """
    if champion is not None and set(candidate) != set(champion):
        raise GateError(
            f"the candidate was scored on {', '.join(sorted(candidate)) or 'nothing'}, "
            f"the champion on {', '.join(sorted(champion)) or 'nothing'}; the gate needs the same volumes"
        )
    ours = _summary(candidate, organs)
    theirs = None if champion is None else _summary(champion, organs)
    mean = None if theirs is None else theirs.mean_dice
    rows = [Row("mean", ours.mean_dice, mean, limits.greatest_mean_loss, least=limits.least_mean_dice)]
    for name in organs.names:
        before = None if theirs is None else theirs.dice[name]
        rows.append(Row(name, ours.dice[name], before, limits.greatest_organ_loss))
    return Verdict(tuple(rows), volumes=len(candidate))


def _summary(scores: Mapping[str, VolumeScores], organs: OrganMap) -> Summary:
    try:
        return summarise([scores[volume_id] for volume_id in sorted(scores)], organs)
    except ValueError as error:
        raise GateError(str(error)) from error


def volume_scores(evaluation: Mapping[str, Any]) -> dict[str, VolumeScores]:
    """Volume id -> scores, from the part of metrics/evaluate.json that is one model's."""
    return {
        volume_id: VolumeScores(
            volume_id=volume_id,
            dice={organ: scores["dice"] for organ, scores in volume["organs"].items()},
            iou={organ: scores["iou"] for organ, scores in volume["organs"].items()},
        )
        for volume_id, volume in evaluation["volumes"].items()
    }
