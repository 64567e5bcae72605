"""Limits: what `register` in params.yaml asks of a champion."""

from __future__ import annotations

from scans.registry.gate import GateLimits
from training.params import Register


def gate_limits(register: Register) -> GateLimits:
    """The same, as the gate takes them."""
    return GateLimits(
        least_mean_dice=register.least_mean_dice,
        greatest_mean_loss=register.greatest_mean_loss,
        greatest_organ_loss=register.greatest_organ_loss,
    )
