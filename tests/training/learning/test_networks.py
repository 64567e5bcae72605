"""The U-Net takes slices of any size, and the Quality Classifier a slice and its masks."""

import pytest
import torch

from training.learning.networks import Architecture, ClassifierArchitecture, build_classifier, build_unet

TINY = Architecture("resnet18", encoder_depth=3, organs=2)


@pytest.mark.parametrize("shape", [(8, 8), (13, 30), (1, 1)], ids=str)
def test_logits_have_the_size_of_the_slice(shape: tuple[int, int]) -> None:
    """One logit per class and pixel, whether or not the sides are multiples of the stride of 8."""
    network = build_unet(TINY).eval()
    assert network(torch.rand(2, 1, *shape)).shape == (2, 3, *shape)


def test_padding_lies_below_and_right_and_is_cropped_away() -> None:
    """A slice of 5 x 6 gives what the same slice gives in the corner of an 8 x 8 one that is otherwise 0."""
    network = build_unet(TINY).eval()
    small, large = torch.rand(1, 1, 5, 6), torch.zeros(1, 1, 8, 8)
    large[..., :5, :6] = small
    with torch.inference_mode():
        assert torch.equal(network(small), network(large)[..., :5, :6])


def test_a_shallow_network_has_no_weights_that_nothing_reaches() -> None:
    """Every weight gets a gradient; distributed training would wait for ever for those of unused layers."""
    network = build_unet(TINY)
    network(torch.rand(2, 1, 16, 16)).sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_the_paper_s_network_is_a_u_net_with_a_whole_resnet_18() -> None:
    """Depth 5: four ResNet stages, a decoder that ends at 16 channels, and a background class beside ten organs."""
    network = build_unet(Architecture("resnet18", encoder_depth=5, organs=10))
    weights = network.state_dict()
    assert network.stride == 32
    assert weights["unet.encoder.layer4.1.conv2.weight"].shape == (512, 512, 3, 3)
    assert weights["unet.segmentation_head.0.weight"].shape == (11, 16, 3, 3)


def test_an_encoder_that_does_not_exist_is_refused_by_name() -> None:
    """The message says what was asked for and what would be right."""
    with pytest.raises(ValueError, match=r"^train_teacher\.encoder is 'resnet19'.*such as resnet18"):
        build_unet(Architecture("resnet19", encoder_depth=5, organs=1))
    with pytest.raises(ValueError, match=r"^train_teacher\.encoder is 'tu-resnet19'.*encoder_depth 3.*resnet19"):
        build_unet(Architecture("tu-resnet19", encoder_depth=3, organs=1))


@pytest.mark.parametrize("depth", [2, 6])
def test_depths_that_no_encoder_has_are_refused(depth: int) -> None:
    """From 3 to 5 times halved."""
    with pytest.raises(ValueError, match=f"encoder_depth is {depth}; it must be 3 to 5"):
        Architecture("resnet18", encoder_depth=depth, organs=1)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [3, 5])
def test_the_classifier_sees_both_slice_and_masks(depth: int) -> None:
    """One logit per slice, at any depth, which changes with the slice and with the mask of either organ."""
    network = build_classifier(ClassifierArchitecture(2, side=32, encoder_depth=depth, expects_dice=False)).eval()
    slices, masks = torch.rand(1, 1, 32, 32), torch.rand(1, 2, 32, 32)
    with torch.inference_mode():
        answer = network(slices, masks)
        assert answer.shape == (1, 1)
        assert network(slices + 1, masks) != answer
        for organ in range(2):
            changed = masks.clone()
            changed[:, organ] += 1
            assert network(slices, changed) != answer


def test_what_is_learnt_of_dice_leaves_the_verdict_as_it_is() -> None:
    """The same first weights with it and without, and no gradient of it in what says good or bad."""
    networks = []
    for expects_dice in (False, True):
        torch.manual_seed(1)
        networks.append(
            build_classifier(ClassifierArchitecture(2, side=32, encoder_depth=3, expects_dice=expects_dice))
        )
    slices, masks = torch.rand(2, 1, 32, 32), torch.rand(2, 2, 32, 32)
    alone, both = (network.train()(slices, masks) for network in networks)
    assert both.shape == (2, 3)
    assert torch.equal(alone[:, 0], both[:, 0])
    both[:, 1:].sum().backward()
    gradients = {name: value.grad for name, value in networks[1].named_parameters()}
    touched = {name for name, gradient in gradients.items() if gradient is not None and gradient.any()}
    assert touched == {"dice_head.weight", "dice_head.bias"}
