"""The losses of the paper against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scans.organs import NOT_LABELLED
from training.learning.losses import (
    cross_entropy,
    dice_loss,
    distillation,
    expected_dice_loss,
    good_or_bad_loss,
    log_softened,
    quality_loss,
    student_loss,
    supervised_loss,
)

LN2, LN3 = math.log(2), math.log(3)


def pixels(*logits: tuple[float, ...]) -> torch.Tensor:
    """(1, classes, 1, W) logits of a row of pixels."""
    return torch.tensor(logits).T[None, :, None, :].contiguous()


def row(*labels: int) -> torch.Tensor:
    return torch.tensor([[labels]], dtype=torch.uint8)


def test_cross_entropy_is_the_mean_over_pixels_of_minus_log_p() -> None:
    """Probabilities 1/4, 3/4 and 1/2, 1/2 with labels 0 and 1 give (ln 4 + ln 2) / 2 = 1.5 ln 2."""
    assert cross_entropy(pixels((0.0, LN3), (0.0, 0.0)), row(0, 1)).item() == pytest.approx(1.5 * LN2)


@settings(max_examples=30, deadline=None)
@given(
    other=st.floats(-50, 50),
    unlabelled=st.lists(st.booleans(), min_size=6, max_size=6),
    classes=st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_pixels_that_nobody_has_looked_at_change_no_loss_and_no_gradient(
    other: float, unlabelled: list[bool], classes: list[int]
) -> None:
    """Whatever is predicted where labels are 255, the losses are those of the other pixels; it has no gradient."""
    labels = torch.tensor([[classes]], dtype=torch.uint8)
    logits = torch.sin(torch.arange(18.0)).reshape(1, 3, 1, 6)
    apart = torch.tensor(unlabelled)
    changed = torch.where(apart, logits + other * torch.arange(3.0).view(1, 3, 1, 1), logits).requires_grad_()
    partly = labels.masked_fill(apart, NOT_LABELLED)
    found = supervised_loss(changed, partly, dice_weight=1.0)
    alone = supervised_loss(logits[..., ~apart], labels[..., ~apart], dice_weight=1.0)
    if not apart.all():
        assert {name: value.item() for name, value in found.items()} == pytest.approx(
            {name: value.item() for name, value in alone.items()}, abs=1e-6
        )
    else:
        assert found["loss"].item() == 0
    found["loss"].backward()
    assert changed.grad is not None
    assert torch.all(changed.grad[..., apart] == 0)
    assert changed.grad.isfinite().all()


def test_temperature_divides_logits_before_the_softmax() -> None:
    """Logits 0 and 2 ln 3 are 1/10 and 9/10; softened with tau = 2 they are 1/4 and 3/4."""
    softened = log_softened(pixels((0.0, 2 * LN3)), 2.0).exp().flatten()
    assert softened.tolist() == pytest.approx([0.25, 0.75])


def test_distillation_has_the_student_first() -> None:
    """Student 1/2, 1/2 and Teacher 1/4, 3/4: KL(s || t) = 1/2 ln 2 + 1/2 ln 2/3 = ln 2 - 1/2 ln 3.

    The other way round it would be 1/4 ln 1/2 + 3/4 ln 3/2 = 3/4 ln 3 - ln 2, which is 0.1308, not 0.1438.
    """
    even, uneven = pixels((0.0, 0.0)), pixels((0.0, LN3))
    assert distillation(even, uneven, temperature=1.0).item() == pytest.approx(LN2 - LN3 / 2)
    assert distillation(uneven, even, temperature=1.0).item() == pytest.approx(0.75 * LN3 - LN2)


def test_distillation_softens_both_sides_and_has_no_factor_of_tau() -> None:
    """Logits four times as far apart, with tau = 4, give the same loss, not 16 times as much."""
    even, uneven = pixels((0.0, 0.0)), pixels((0.0, 4 * LN3))
    assert distillation(even, uneven, temperature=4.0).item() == pytest.approx(LN2 - LN3 / 2)
    assert distillation(uneven, even, temperature=4.0).item() == pytest.approx(0.75 * LN3 - LN2)


def test_distillation_is_a_sum_over_classes_and_a_mean_over_pixels() -> None:
    """One pixel where both agree and one where they do not: half of the loss of the second, however many classes."""
    student = pixels((0.0, 0.0, -1e4), (5.0, 1.0, -1e4))
    teacher = pixels((0.0, LN3, -1e4), (5.0, 1.0, -1e4))
    assert distillation(student, teacher, temperature=1.0).item() == pytest.approx((LN2 - LN3 / 2) / 2)


def test_total_weighs_cross_entropy_and_distillation_with_alpha() -> None:
    """With alpha = 0.1: 0.9 * 1.5 ln 2 + 0.1 * kl; the parts are reported unweighted."""
    supervised = supervised_loss(pixels((0.0, LN3), (0.0, 0.0)), row(0, 1), dice_weight=0.0)
    losses = student_loss(supervised, torch.tensor(0.5), alpha=0.1)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(
        {"loss": 0.9 * 1.5 * LN2 + 0.05, "cross_entropy": 1.5 * LN2, "distillation": 0.5}
    )


def test_dice_counts_only_organs_that_are_labelled() -> None:
    """Two pixels of class 1, p = 3/4 and 1/2: Dice = 2 * 5/4 / (5/4 + 2) = 10/13. Class 2, not labelled, is left out.

    Class 2 has probability 1/4 in the second pixel, which would have scored 0.
    """
    logits = pixels((0.0, LN3, -1e4), (0.0, LN2, 0.0))
    assert dice_loss(logits, row(1, 1)).item() == pytest.approx(3 / 13)


def test_dice_is_zero_where_only_background_is_labelled() -> None:
    """Nothing to overlap with is no loss, and no division by zero."""
    logits = pixels((0.0, 1.0)).requires_grad_()
    loss = dice_loss(logits, row(0))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_dice_weight_zero_leaves_the_paper_s_loss() -> None:
    """With a weight of 0 the loss is the cross-entropy alone; with 2 twice the Dice term is added."""
    logits, labels = pixels((0.0, LN3)), row(1)
    assert set(supervised_loss(logits, labels, dice_weight=0.0)) == {"loss", "cross_entropy"}
    with_dice = supervised_loss(logits, labels, dice_weight=2.0)
    # p = 3/4: -ln p = ln 4/3, Dice = 2 * 3/4 / (3/4 + 1) = 6/7
    assert with_dice["loss"].item() == pytest.approx(math.log(4 / 3) + 2 / 7)


def test_good_or_bad_is_binary_cross_entropy() -> None:
    """Odds of 3 to 1 for good: a good slice costs ln 4/3, a bad one ln 4."""
    loss = good_or_bad_loss(torch.tensor([LN3, LN3]), torch.tensor([1, 0]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_expected_dice_costs_least_where_it_is_said() -> None:
    """A Dice of 3/4 at odds of 3 to 1: 3/4 ln 4/3 + 1/4 ln 4, and no slope; nothing where there is none."""
    logits = torch.tensor([[LN3, 5.0], [-2.0, 7.0]], requires_grad=True)
    nan = float("nan")
    loss = expected_dice_loss(logits, torch.tensor([[0.75, nan], [nan, nan]]))
    assert loss.item() == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    loss.backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.zeros(2, 2), atol=1e-6)
    assert expected_dice_loss(logits, torch.full((2, 2), nan)).item() == 0


def test_a_quality_classifier_learns_dice_where_it_has_a_weight() -> None:
    """Good or bad, and twice what the expected Dice costs; as in the paper without."""
    logits, good = torch.tensor([[LN3, LN3]]), torch.tensor([1.0])
    parts = quality_loss(logits, good, torch.tensor([[1.0]]), organ_weight=2.0)
    assert parts["loss"].item() == pytest.approx(3 * math.log(4 / 3))
    alone = quality_loss(logits[:, :1], good, torch.tensor([[1.0]]), organ_weight=0.0)
    assert set(alone) == {"loss", "good_or_bad"}
    assert alone["loss"].item() == pytest.approx(math.log(4 / 3))
