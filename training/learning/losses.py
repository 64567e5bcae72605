"""The losses of the paper, equations 1 to 4, and a Dice term that the paper does not have.

Logits are float (N, classes, H, W), labels integer (N, H, W); every loss is one number, a mean over all pixels.
Pixels that are NOT_LABELLED have no part in what compares with labels: no loss, and no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from scans.organs import BACKGROUND, NOT_LABELLED


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p of the labelled class, p = softmax(logits), mean over labelled pixels (eq. 1); 0 where there is none."""
    labelled, classes = _labelled(labels.flatten(1))
    log_p = functional.log_softmax(logits.float().flatten(2), dim=1).gather(1, classes.unsqueeze(1)).squeeze(1)
    return -torch.where(labelled, log_p, 0.0).sum() / labelled.sum().clamp_min(1)


def _labelled(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of uint8 (N, pixels): bool, where they are labelled, and int64 classes, background where they are not."""
    labelled = labels != NOT_LABELLED
    return labelled, labels.long().masked_fill(~labelled, BACKGROUND)


def log_softened(logits: Tensor, temperature: float) -> Tensor:
    """Logarithm of the softened probabilities, softmax(logits / tau) over the classes (eq. 2)."""
    return functional.log_softmax(logits.float() / temperature, dim=1)


def distillation(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL(p_student || p_teacher), both softened by tau (eq. 3).

    The sum over classes of p_s log(p_s / p_t), mean over pixels. The Student stands first, as in the paper: it is
    pulled to where the Teacher is sure, and pays little for leaving out what the Teacher holds possible. (Hinton et
    al. have the Teacher first, and a factor tau^2; here is neither.)
    """
    log_student = log_softened(student_logits.flatten(2), temperature)
    log_teacher = log_softened(teacher_logits.flatten(2), temperature)
    return (log_student.exp() * (log_student - log_teacher)).sum(dim=1).mean()


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - soft Dice, mean over the organs that occur in the batch's labels; 0 where none does. Not in the paper.

    Soft Dice of an organ is 2 sum(p t) / (sum(p) + sum(t)) over all labelled pixels of the batch, p its probability and
    t 1 where the label is the organ, else 0.
    """
    patches, classes = logits.shape[:2]
    labelled, of_class = _labelled(labels.flatten(1))
    probabilities, weights = functional.softmax(logits.float().flatten(2), dim=1), labelled.float()
    of_truth = probabilities.gather(1, of_class.unsqueeze(1)).view(patches, -1) * weights
    nothing = torch.zeros(classes, device=logits.device)
    overlap = nothing.index_add(0, of_class.flatten(), of_truth.flatten())[1:]
    truth_pixels = nothing.index_add(0, of_class.flatten(), weights.flatten())[1:]
    sums = torch.bmm(probabilities, weights.unsqueeze(2)).sum(dim=(0, 2))[1:]
    dice = 2 * overlap / (sums + truth_pixels).clamp_min(1.0)
    occurs = (truth_pixels > 0).to(dice.dtype)
    return ((1 - dice) * occurs).sum() / occurs.sum().clamp_min(1.0)


def supervised_loss(logits: Tensor, labels: Tensor, *, dice_weight: float) -> dict[str, Tensor]:
    """The loss of a Teacher, `loss`, and its parts: cross-entropy, and the Dice term where its weight is not 0."""
    parts = {"cross_entropy": cross_entropy(logits, labels)}
    total = parts["cross_entropy"]
    if dice_weight:
        parts["dice_loss"] = dice_loss(logits, labels)
        total = total + dice_weight * parts["dice_loss"]
    return {"loss": total, **parts}


def student_loss(supervised: dict[str, Tensor], kl: Tensor, *, alpha: float) -> dict[str, Tensor]:
    """The loss of a Student and its parts: (1 - alpha) CE + alpha KL (eq. 4).

    `supervised` is what `supervised_loss` gives, `kl` what `distillation` gives. A Dice term stands beside CE.
    """
    return {**supervised, "loss": (1 - alpha) * supervised["loss"] + alpha * kl, "distillation": kl}


def with_consistency(losses: dict[str, Tensor], consistency: Tensor, *, weight: float) -> dict[str, Tensor]:
    """The losses of a Student and `consistency`, which `loss` is added to by that weight. Not in the paper."""
    return {**losses, "loss": losses["loss"] + weight * consistency, "consistency": consistency}


def good_or_bad_loss(logits: Tensor, good: Tensor) -> Tensor:
    """Binary cross-entropy of the Quality Classifier: (N,) logits against (N,) 1 for good and 0 for bad."""
    return functional.binary_cross_entropy_with_logits(logits.float(), good.to(torch.float32))


def expected_dice_loss(logits: Tensor, dice: Tensor) -> Tensor:
    """Cross-entropy of (N, organs) logits against Dice from 0 to 1, which is least where they say it; 0 for no organ.

    Mean over the organs that have one; where `dice` is NaN there is no loss and no gradient. Not in the paper.
    """
    known = ~torch.isnan(dice)
    aims = torch.where(known, dice, 0.0).to(torch.float32)
    losses = functional.binary_cross_entropy_with_logits(logits.float(), aims, reduction="none")
    return torch.where(known, losses, 0.0).sum() / known.sum().clamp_min(1)


def quality_loss(logits: Tensor, good: Tensor, dice: Tensor, *, organ_weight: float) -> dict[str, Tensor]:
    """The loss of the Quality Classifier, `loss`, and its parts: good or bad, and the Dice of organs where it has a
    weight.

    Logits are (N, 1 + organs), or (N, 1) where the weight is 0.
    """
    parts = {"good_or_bad": good_or_bad_loss(logits[:, 0], good)}
    if organ_weight:
        parts["expected_dice"] = expected_dice_loss(logits[:, 1:], dice)
        return {"loss": parts["good_or_bad"] + organ_weight * parts["expected_dice"], **parts}
    return {"loss": parts["good_or_bad"], **parts}
