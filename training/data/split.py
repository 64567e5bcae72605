"""Which labelled volumes are held out, and in which order a label budget takes the others: whole volumes, always."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_DOWN, Decimal

import numpy as np

from training.command import StageError

DRAWS = 200
"""Random splits that are tried for one in which every organ occurs on both sides."""

Organs = Mapping[str, frozenset[int]]
"""Class indices of the organs that occur in each volume, by volume id."""


def held_out(organs: Organs, *, share: float, seed: int) -> frozenset[str]:
    """The ids of the validation volumes: a `share` of all, rounded, halves down, at least one and not all.

    So a quarter of 30 is 7, and 23 are left to train on, as in section 3.1 of the paper.
    Of `DRAWS` random splits the first is taken that shows most organs on both sides, so that every organ can be learnt
    and is measured wherever the data allow it. The same ids, organs, share and seed give the same answer; how many of
    the other volumes are used has no say in it. Raises StageError for fewer than two volumes.
    """
    ids = sorted(organs)
    if len(ids) < 2:
        raise StageError(f"{len(ids)} labelled volume; two are the least, one to learn from and one to hold out")
    count = held_out_count(len(ids), share=share)
    generator = np.random.default_rng(seed)
    draws = [frozenset(ids[i] for i in generator.permutation(len(ids))[:count]) for _ in range(DRAWS)]
    return max(draws, key=lambda out: len(_seen(organs, out) & _seen(organs, frozenset(ids) - out)))


def held_out_count(volumes: int, *, share: float) -> int:
    """How many of the labelled volumes are held out; of fewer than two none can be."""
    wanted = int((Decimal(str(share)) * volumes).to_integral_value(ROUND_HALF_DOWN))
    return min(max(1, wanted), volumes - 1) if volumes > 1 else 0


def budget_order(organs: Organs, *, seed: int) -> tuple[str, ...]:
    """The ids in the order in which a label budget takes them: the first k are the budget of k, so budgets are nested.

    Shuffled, except that each place goes to the volume that shows most organs which none before it did, so that a small
    budget has seen every organ where it can.
    """
    ids = sorted(organs)
    waiting = [ids[i] for i in np.random.default_rng(seed).permutation(len(ids))]
    order: list[str] = []
    while waiting:
        seen = _seen(organs, order)
        best = max(waiting, key=lambda volume: len(organs[volume] - seen))
        waiting.remove(best)
        order.append(best)
    return tuple(order)


def _seen(organs: Organs, ids: Sequence[str] | frozenset[str]) -> frozenset[int]:
    return frozenset[int]().union(*(organs[volume] for volume in ids))
