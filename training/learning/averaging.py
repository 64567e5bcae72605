"""Averages of weights over the steps of a training: less of the last batches' chance, at no cost when serving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

_WARM_UP = 10
"""The average forgets faster while a training is young: its decay is at most (1 + t) / (10 + t) after t steps."""


class WeightAverage:
    """The exponential moving average of a network's weights and statistics (Tarvainen & Valpola 2017, section 2)."""

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self._decay = decay
        self._averaged = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def add(self, network: nn.Module, *, step: int) -> None:
        """Takes in the weights after step number `step`, from 1."""
        decay = min(self._decay, (1 + step) / (_WARM_UP + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self._averaged[name].lerp_(value, 1 - decay)
            else:  # how many batches a normalisation has seen
                self._averaged[name].copy_(value)

    def state(self) -> Mapping[str, Tensor]:
        """The averaged weights by name, as `nn.Module.load_state_dict` takes them."""
        return self._averaged

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave."""
        for name, value in state.items():
            self._averaged[name].copy_(value)
