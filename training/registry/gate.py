"""The gate: whether a candidate may become the champion, from the scores of both on the same validation volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scans.measures.metrics import VolumeScores, summarise
from scans.organs import OrganMap
from training.params import Register

ROUNDING = 1e-9
"""A difference of decimal fractions may come out this much larger than it is."""


class GateError(ValueError):
    """Two models whose scores cannot be compared; the message says why."""


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

    @property
    def change(self) -> float | None:
        """How much better the candidate is; None where one of them has no score."""
        if self.candidate is None or self.champion is None:
            return None
        return self.candidate - self.champion

    @property
    def holds(self) -> bool:
        """True unless the candidate loses more than is allowed."""
        return self.change is None or self.change >= -self.allowed_loss - ROUNDING


@dataclass(frozen=True)
class Verdict:
    """The mean first, then each organ."""

    rows: tuple[Row, ...]
    volumes: int
    """Validation volumes that both were scored on."""

    @property
    def passed(self) -> bool:
        """True where every condition holds."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence for each condition that does not hold."""
        return tuple(
            f"{'mean Dice' if row.figure == 'mean' else f'Dice of {row.figure}'} falls from {row.champion:.4f} to "
            f"{row.candidate:.4f}; a loss of {row.allowed_loss:g} is allowed"
            for row in self.rows
            if not row.holds
        )


def judge(
    candidate: Mapping[str, VolumeScores], champion: Mapping[str, VolumeScores], *, organs: OrganMap, limits: Register
) -> Verdict:
    """Compares Dice over the same volumes: mean, and each organ's.

    Raises GateError if the two were not scored on the same volumes and organs.
    """
    if set(candidate) != set(champion):
        raise GateError(
            f"the candidate was scored on {', '.join(sorted(candidate)) or 'nothing'}, "
            f"the champion on {', '.join(sorted(champion)) or 'nothing'}; the gate needs the same volumes"
        )
    try:
        ours = summarise([candidate[volume_id] for volume_id in sorted(candidate)], organs)
        theirs = summarise([champion[volume_id] for volume_id in sorted(champion)], organs)
    except ValueError as error:
        raise GateError(str(error)) from error
    rows = [Row("mean", ours.mean_dice, theirs.mean_dice, limits.greatest_mean_loss)]
    rows += [Row(name, ours.dice[name], theirs.dice[name], limits.greatest_organ_loss) for name in organs.names]
    return Verdict(tuple(rows), volumes=len(candidate))


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
