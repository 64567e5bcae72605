"""Which slices a scan offers, and how uncertain they are, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.model.judgement import Judgement, SampledSlice
from scans.organs import OrganMap
from scans.verdicts import Verdicts
from serving.review.offers import MOST_OFFERED, Offer, offers
from tests.serving.review.finished import judged

ORGANS = OrganMap.from_mapping({1: "heart", 2: "eye"})


def of(judgement: Judgement | None, depth: int, *, threshold: float | None = 0.5) -> list[Offer]:
    return offers(depth, judgement=judgement, threshold=threshold, organs=ORGANS)


def test_a_slice_at_the_threshold_is_the_most_uncertain() -> None:
    """Threshold 0.8: 0.8 is 1; 0.4 lies half as far as 0 does, 0.5; 1.0 a quarter, 0.75; 0 is sure."""
    found = of(judged([0.8, 0.4, 1.0, 0.0]), 4, threshold=0.8)
    assert [offer.uncertainty for offer in found] == pytest.approx([1.0, 0.5, 0.75, 0.0], abs=1e-6)
    assert [(offer.good, offer.organ, offer.dice) for offer in found][:2] == [(0.8, "", None), (0.4, "", None)]


def test_the_organ_of_the_least_dice_is_in_question() -> None:
    """At the threshold, with a heart of 0.9 and an eye of 0.2: (1 + 0.8) / 2; and the heart, (1 + 0.5) / 2."""
    first, second = of(judged([0.5, 0.5], [(0.9, 0.2), (0.5, 0.7)]), 2)
    assert (first.organ, first.dice, first.uncertainty) == ("eye", pytest.approx(0.2), pytest.approx(0.9))
    assert (second.organ, second.dice, second.uncertainty) == ("heart", pytest.approx(0.5), pytest.approx(0.75))


def test_slices_without_organs_are_not_offered_where_something_is_known() -> None:
    """Two slices with organs and one without: the classifier has learnt nothing of it."""
    empty = Judgement.of_quality(np.zeros((1, 4, 4), np.uint8), Verdicts(np.array([0.5], np.float32), None), organs=2)
    assert [offer.slice_index for offer in of(judged([0.4, 0.4]) + empty, 3)] == [0, 1]
    assert of(empty, 1) == []


def test_without_a_classifier_confidence_decides() -> None:
    """Of sampled slices, with the organ that the model is least sure of; others are not offered."""
    sampled = (SampledSlice(4, 0.9, 1), SampledSlice(12, 0.6, 2))
    found = of(replace(Judgement.empty(2), sampled=sampled), 16, threshold=None)
    assert found == [
        Offer(4, pytest.approx(0.1), "heart", confidence=0.9),
        Offer(12, pytest.approx(0.4), "eye", confidence=0.6),
    ]


def test_where_nothing_is_known_slices_are_spread_evenly() -> None:
    """Of 3200 slices 32 with 50 on either side; the first, the middle one and the quarters go before the rest."""
    found = of(None, 3200, threshold=None)
    assert [offer.slice_index for offer in found] == list(range(50, 3200, 100))
    order = [offer.slice_index for offer in sorted(found, key=lambda offer: -offer.uncertainty)]
    assert order[:4] == [50, 1650, 850, 2450]
    assert [offer.slice_index for offer in of(Judgement.empty(2), 3, threshold=None)] == [0, 1, 2]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=200))
def test_neighbours_are_not_all_offered(good: list[float]) -> None:
    """At most one in each stretch, and never more than MOST_OFFERED; the most uncertain of all is among them."""
    found = of(judged(good), len(good))
    assert len(found) == min(len(good), MOST_OFFERED)
    indices = [offer.slice_index for offer in found]
    assert indices == sorted(set(indices))
    assert max(offer.uncertainty for offer in found) == pytest.approx(
        max(1 - abs(p - 0.5) / 0.5 for p in good), abs=1e-5
    )
