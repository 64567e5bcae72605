"""Noise that is the same on every device: each value is worked out from a key and its place, none is drawn in turn.

A generator of torch gives other numbers on a GPU than on a processor, and to draw them on a processor takes longer than
a GPU needs for the whole step. Here 32-bit integers are mixed ("lowbias32": C. Wellons, Prospecting for Hash Functions,
2018) and made normal (Box and Muller 1958); processor and GPU agree but for the rounding of logarithm and cosine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BITS = 24
"""That a float32 holds."""


def normal_noise(keys: Tensor, *, count: int) -> Tensor:
    """float32 (N, count) from int64 (N, 2) keys of 32 bits each: independent, of mean 0 and standard deviation 1."""
    half = -(-count // 2)
    bits = _mixed(keys, count=2 * half).bitwise_right_shift_(32 - _BITS).bitwise_and_((1 << _BITS) - 1)
    uniform = bits.to(torch.float32).add_(0.5).mul_(2.0**-_BITS)
    radius, angle = uniform[:, :half].log().mul_(-2).sqrt_(), uniform[:, half:] * (2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def _mixed(keys: Tensor, *, count: int) -> Tensor:
    """int32 (N, count), every bit of which is as good as any other; products are those of integers that wrap."""
    first, second = (key.unsqueeze(1) for key in keys.to(torch.int32).unbind(1))
    mixed = torch.arange(count, dtype=torch.int32, device=keys.device) ^ first
    mixed = _shifted(mixed, 16).mul_(0x7FEB352D).add_(second)
    mixed = _shifted(mixed, 15).mul_(0x846CA68B - (1 << 32))
    return _shifted(mixed, 16)


def _shifted(values: Tensor, by: int) -> Tensor:
    """x ^ (x >> by), of bits without a sign."""
    return values ^ (values >> by).bitwise_and_((1 << (32 - by)) - 1)
