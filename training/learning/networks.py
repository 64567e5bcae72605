"""The two networks: the U-Net of Teacher and Student, and the Quality Classifier (section 2.1 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.command import StageError

if TYPE_CHECKING:
    import segmentation_models_pytorch as smp

DECODER_CHANNELS = (256, 128, 64, 32, 16)
"""Of a U-Net of depth 5, from the coarsest level; a shallower one leaves the coarsest out."""

LEAST_DEPTH, GREATEST_DEPTH = 3, 5


@dataclass(frozen=True)
class Architecture:
    """What a U-Net is built from; with it, a checkpoint's weights are enough."""

    encoder: str
    """Name of a segmentation-models-pytorch encoder, such as resnet18."""
    encoder_depth: int
    """Times that the encoder halves its input, 3 to 5."""
    organs: int
    """Foreground classes; the network has one output more, for background."""

    def __post_init__(self) -> None:
        if not LEAST_DEPTH <= self.encoder_depth <= GREATEST_DEPTH:
            raise ValueError(f"encoder_depth is {self.encoder_depth}; it must be {LEAST_DEPTH} to {GREATEST_DEPTH}")
        if self.organs < 1:
            raise ValueError(f"organs is {self.organs}; there must be at least 1")


@dataclass(frozen=True)
class ClassifierArchitecture:
    """What a Quality Classifier is built from."""

    organs: int
    """Channels of its mask, one per organ."""
    side: int
    """Pixels a side of the slices and masks that it is shown."""
    encoder_depth: int
    """Times that the encoder halves its input, 3 to 5."""
    expects_dice: bool = False
    """It says which Dice it expects of each organ as well; False as in the paper."""

    def __post_init__(self) -> None:
        if self.organs < 1 or self.side < 1:
            raise ValueError(f"organs is {self.organs} and side {self.side}; each must be at least 1")


class SegmentationNetwork(nn.Module):
    """A U-Net that takes slices of any height and width."""

    def __init__(self, unet: smp.Unet, *, stride: int) -> None:
        super().__init__()
        unet.requires_divisible_input_shape = False  # `forward` sees to it, and the check cannot be traced for export
        self.unet = unet
        self.stride = stride

    def forward(self, normalised: Tensor) -> Tensor:
        """float32 (N, 1, H, W) slices, 0 to 1 -> float32 (N, classes, H, W) logits.

        What is missing to the next multiple of the stride is padded with 0, as patches are that reach over the edge of
        a slice in training, and is cropped away again.
        """
        height, width = normalised.shape[-2:]
        below, right = -height % self.stride, -width % self.stride
        logits: Tensor = self.unet(functional.pad(normalised, (0, right, 0, below)))
        return logits[..., :height, :width]


class QualityClassifier(nn.Module):
    """Says whether a pseudo-label is good: slice and one channel per organ of its mask, concatenated (section 2.1)."""

    def __init__(self, encoder: nn.Module, *, features: int, organs: int) -> None:
        """It expects a Dice of so many organs; 0: it says good or bad alone."""
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(features, 1)
        self.dice_head = nn.Linear(features, organs) if organs else None

    def forward(self, slices: Tensor, masks: Tensor) -> Tensor:
        """float32 (N, 1, S, S) slices, 0 to 1, and float32 (N, organs, S, S) masks -> float32 (N, 1 + organs) logits.

        The first of `good`, the others of the Dice of each organ in the slice, where it expects any. What is learnt of
        Dice changes nothing of what it says of `good`: on synthetic fish one encoder for both let worse slices pass.
        """
        coarsest: Tensor = self.encoder(torch.cat([slices, masks], dim=1))[-1]
        features = coarsest.mean(dim=(2, 3))
        good: Tensor = self.head(features)
        return good if self.dice_head is None else torch.cat([good, self.dice_head(features.detach())], dim=1)


def build_unet(architecture: Architecture) -> SegmentationNetwork:
    """A new network with weights from torch's random state, in the memory layout that is fastest for convolutions.

    Raises StageError where segmentation-models-pytorch has no encoder of that name, or can build none of that depth.
    """
    import segmentation_models_pytorch as smp  # noqa: PLC0415 - 10 s that only those who build a network pay

    if architecture.encoder not in smp.encoders.get_encoder_names() and not architecture.encoder.startswith("tu-"):
        raise StageError(
            f"train_teacher.encoder is {architecture.encoder!r}, which segmentation-models-pytorch does not have; "
            f"expected one such as resnet18, resnet34, efficientnet-b0"
        )
    try:
        unet = smp.Unet(
            encoder_name=architecture.encoder,
            encoder_depth=architecture.encoder_depth,
            encoder_weights=None,
            decoder_channels=DECODER_CHANNELS[-architecture.encoder_depth :],
            in_channels=1,
            classes=architecture.organs + 1,
        )
    except Exception as error:  # of timm, by many names
        raise StageError(
            f"train_teacher.encoder is {architecture.encoder!r}, of which no U-Net of encoder_depth "
            f"{architecture.encoder_depth} can be made: {error}; expected one such as resnet18, tu-resnet18"
        ) from error
    _remove_unused(unet.encoder, architecture.encoder_depth)
    network = SegmentationNetwork(unet, stride=2**architecture.encoder_depth)
    return network.to(memory_format=torch.channels_last)


def build_classifier(architecture: ClassifierArchitecture) -> QualityClassifier:
    """A new Quality Classifier: the ResNet-18 encoder of the U-Net, averaged over the image, and its outputs."""
    import segmentation_models_pytorch as smp  # noqa: PLC0415 - as in build_unet

    depth = architecture.encoder_depth
    encoder = smp.encoders.get_encoder("resnet18", in_channels=1 + architecture.organs, depth=depth, weights=None)
    _remove_unused(encoder, depth)
    organs = architecture.organs if architecture.expects_dice else 0
    network = QualityClassifier(encoder, features=encoder.out_channels[-1], organs=organs)
    return network.to(memory_format=torch.channels_last)


def _remove_unused(encoder: nn.Module, depth: int) -> None:
    """A ResNet keeps the stages that it does not use at that depth."""
    for level in range(depth, GREATEST_DEPTH):
        if hasattr(encoder, f"layer{level}"):
            delattr(encoder, f"layer{level}")
