"""The line of the gate about a shadow, and the tag that brings it there."""

from __future__ import annotations

import pytest

from scans.model.shadow_agreement import ShadowAgreement

AGREEMENT = ShadowAgreement("fish", "3", 12, {"heart": 0.9, "liver": 0.6, "eye": None})


def test_the_mean_is_over_the_organs_that_were_found() -> None:
    """(0.9 + 0.6) / 2 = 0.75; the eye, which neither found, counts neither as agreement nor as disagreement."""
    assert AGREEMENT.mean_dice == pytest.approx(0.75)
    assert AGREEMENT.worst == ("liver", 0.6)
    assert ShadowAgreement("fish", "3", 1, {"eye": None}).mean_dice is None


@pytest.mark.parametrize(
    ("agreement", "sentence"),
    [
        (
            AGREEMENT,
            "shadow: agreement with champion version 3 over 12 scans: mean Dice 0.7500, worst organ liver 0.6000",
        ),
        (
            ShadowAgreement("fish", "2", 1, {"heart": 1.0}),
            "shadow: agreement with champion version 2 over 1 scan: mean Dice 1.0000, worst organ heart 1.0000; "
            "the champion is version 3 now",
        ),
        (
            ShadowAgreement("student", None, 2, {"heart": None}),
            "shadow: agreement with student from a folder over 2 scans: neither found any organ",
        ),
    ],
)
def test_the_line_says_with_whom(agreement: ShadowAgreement, sentence: str) -> None:
    """The champion of now, the one of before, or another model."""
    assert agreement.sentence(name="fish", champion="3") == sentence


def test_a_tag_is_read_as_it_was_written() -> None:
    """And what is no such tag is refused, with the tag's name."""
    assert ShadowAgreement.from_tag(AGREEMENT.to_tag()) == AGREEMENT
    for wrong in ("", "[]", "{}", '{"champion": {"name": "a"}, "scans": 1, "dice": {}}', "nonsense"):
        with pytest.raises(ValueError, match="shadow_agreement"):
            ShadowAgreement.from_tag(wrong)
