"""Averages of weights, worked out on one weight."""

import pytest
import torch
from torch import nn

from training.learning.averaging import WeightAverage


def with_weight(value: float) -> nn.Module:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        network[0].weight.fill_(value)
    network[1].num_batches_tracked.fill_(int(value))
    return network


def weight(average: WeightAverage) -> float:
    return float(average.state()["0.weight"])


def test_the_first_steps_weigh_more_than_the_decay_says() -> None:
    """From 0 to 11: after step 1 the decay is 2/11, 9 are taken in; after step 2 it is 3/12, and of 11 comes 3/4."""
    average = WeightAverage(with_weight(0.0), decay=0.999)
    average.add(with_weight(11.0), step=1)
    assert weight(average) == pytest.approx(9.0)
    average.add(with_weight(11.0), step=2)
    assert weight(average) == pytest.approx(10.5)


def test_later_steps_weigh_as_the_decay_says() -> None:
    """Of 0 nine tenths stay, of 10 a tenth comes; the count of batches is the last one."""
    average = WeightAverage(with_weight(0.0), decay=0.9)
    average.add(with_weight(10.0), step=1000)
    assert weight(average) == pytest.approx(1.0)
    assert int(average.state()["1.num_batches_tracked"]) == 10


def test_an_average_goes_on_where_it_was() -> None:
    """From its state; what it was made from beside that has no say."""
    average, other = WeightAverage(with_weight(4.0), decay=0.9), WeightAverage(with_weight(7.0), decay=0.9)
    other.restore(average.state())
    for going_on in (average, other):
        going_on.add(with_weight(10.0), step=1000)
    assert weight(other) == weight(average) == pytest.approx(4.6)
