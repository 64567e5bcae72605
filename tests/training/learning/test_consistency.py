"""Consistency: what is pasted, what counts, and that the same seed gives the same loss and leaves nothing behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.learning.consistency import channels_left_out, consistency_loss, pasted
from training.learning.losses import with_consistency
from training.learning.networks import Architecture, SegmentationNetwork, build_unet


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    """With random weights, so that it is sure of nothing."""
    torch.manual_seed(1)
    return build_unet(Architecture("resnet18", 3, organs=2)).train()


class Certain(nn.Module):
    """Says class 1 where a pixel is above 0.5, else class 0, with odds of e^`odds`; it has no features to leave out."""

    def __init__(self, network: SegmentationNetwork, odds: float) -> None:
        super().__init__()
        self.network, self.odds = network, odds

    def forward(self, patches: Tensor) -> Tensor:
        bright = (patches[:, 0] > 0.5).float()
        return self.odds * torch.stack([1 - bright, bright], dim=1)


def test_a_box_of_the_next_patch_is_pasted() -> None:
    """By hand: three patches of 1, 2 and 3, pasted in the left column; the last takes the first's. Labels alike."""
    patches = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    box = torch.tensor([[True, False], [True, False]]).expand(3, 2, 2)
    assert pasted(patches, box)[:, 0, 0].tolist() == [[2, 1], [3, 2], [1, 3]]
    assert torch.equal(pasted(patches[:, 0], box), pasted(patches, box)[:, 0])


def test_an_answer_that_is_taken_over_costs_what_cross_entropy_says(network: SegmentationNetwork) -> None:
    """Bright patches stay bright: ln(1 + e^-4) for each pixel; where the changed ones are dark, half of the mean is
    ln(1 + e^4), boxes or none."""
    bright = torch.ones(3, 1, 8, 8)
    agrees = torch.log1p(torch.exp(torch.tensor(-4.0)))
    model = Certain(network, odds=4.0)
    assert consistency_loss(model, bright, bright, seed=3).item() == pytest.approx(agrees.item(), rel=1e-5)
    found = consistency_loss(model, bright, torch.zeros_like(bright), seed=3).item()
    assert found == pytest.approx((4 + 2 * agrees.item()) / 2, rel=1e-5)


def test_what_the_network_is_not_sure_of_costs_nothing(network: SegmentationNetwork) -> None:
    """Odds of e^2 are 0.88: below 0.95 nothing is taken over."""
    patches = torch.rand(3, 1, 8, 8)
    assert consistency_loss(Certain(network, odds=2.0), patches, 1 - patches, seed=3).item() == 0


def test_the_seed_decides_and_nothing_else(network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same seed, same loss, whatever torch drew in between; another seed, another one; the network is as before."""
    monkeypatch.setattr("training.learning.consistency.SURE", 0.0)
    patches = torch.rand(4, 1, 32, 32)
    kept = {name: value.clone() for name, value in network.state_dict().items() if value.is_floating_point()}
    first = consistency_loss(network, patches, patches * 0.9, seed=5)
    torch.rand(7)
    assert consistency_loss(network, patches, patches * 0.9, seed=5).item() == first.item()
    assert consistency_loss(network, patches, patches * 0.9, seed=6).item() != first.item()
    first.backward()
    assert all(value.grad is not None for value in network.parameters())
    network.zero_grad()
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in kept.items()), "means of batches among them"


def test_channels_are_left_out_inside_alone(network: SegmentationNetwork) -> None:
    """Half of them, the others count double; afterwards the network answers as before."""
    patches = torch.rand(2, 1, 32, 32)
    answer = network.eval()(patches)
    seen: list[Tensor] = []
    with channels_left_out(network, torch.Generator().manual_seed(1)):
        spy = network.unet.encoder.register_forward_hook(lambda _module, _inputs, features: seen.extend(features))
        inside = network(patches)
        spy.remove()
    features = network.unet.encoder(patches)
    for thinned, whole in zip(seen[1:], features[1:], strict=True):
        silent = (thinned == 0).all(dim=(2, 3))
        assert 0.2 < silent.float().mean() < 0.8
        assert torch.allclose(thinned[~silent], 2 * whole[~silent])
    assert not torch.equal(inside, answer)
    assert torch.equal(network(patches), answer)
    network.train()


def test_the_term_stands_beside_the_others() -> None:
    """Its weight times it is added to the loss."""
    losses = with_consistency({"loss": torch.tensor(1.0)}, torch.tensor(0.5), weight=3.0)
    assert {name: value.item() for name, value in losses.items()} == {"loss": 2.5, "consistency": 0.5}
