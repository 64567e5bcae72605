"""Checkpoints: weights, what the network is built from, and what it was trained on. Loaded without running any code."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from training.learning.networks import (
    Architecture,
    ClassifierArchitecture,
    QualityClassifier,
    SegmentationNetwork,
    build_classifier,
    build_unet,
)
from training.stage_files import AGAIN, in_short

TEACHER = Path("models/teacher/checkpoint.pt")
CONTROL = Path("models/control/checkpoint.pt")
STUDENT = Path("models/student/checkpoint.pt")
QUALITY_CLASSIFIER = Path("models/quality_classifier/checkpoint.pt")

_KINDS = {Architecture: "segmentation", ClassifierArchitecture: "quality classifier"}


class CheckpointError(ValueError):
    """A file that is no checkpoint of the kind asked for; the message names it."""


def save_checkpoint(
    path: Path,
    network: SegmentationNetwork | QualityClassifier,
    architecture: Architecture | ClassifierArchitecture,
    *,
    details: dict[str, Any],
) -> None:
    """Writes a checkpoint, whole or not at all; the same weights and details give the same bytes.

    `details` are plain values (numbers, strings, lists, dictionaries of them) that `read_details` gives back.
    """
    write_atomically(
        path,
        {
            "kind": _KINDS[type(architecture)],
            "architecture": asdict(architecture),
            "weights": {name: value.detach().cpu() for name, value in network.state_dict().items()},
            "details": details,
        },
    )


def load_network(path: Path) -> SegmentationNetwork:
    """A Teacher, control or Student, on the CPU, for evaluation. Raises CheckpointError where the file holds none."""
    content = _read(path, kind=_KINDS[Architecture])
    network = build_unet(Architecture(**content["architecture"]))
    network.load_state_dict(content["weights"])
    return network.eval()


def load_classifier(path: Path) -> QualityClassifier:
    """A Quality Classifier, on the CPU, in evaluation mode. Raises CheckpointError where the file holds none."""
    content = _read(path, kind=_KINDS[ClassifierArchitecture])
    network = build_classifier(ClassifierArchitecture(**content["architecture"]))
    network.load_state_dict(content["weights"])
    return network.eval()


def load_architecture(path: Path) -> Architecture:
    """What the Teacher, control or Student in the file is built from. Raises CheckpointError as `load_network` does."""
    return Architecture(**_read(path, kind=_KINDS[Architecture])["architecture"])


def load_classifier_architecture(path: Path) -> ClassifierArchitecture:
    """What the Quality Classifier in the file is built from. Raises CheckpointError as `load_classifier` does."""
    return ClassifierArchitecture(**_read(path, kind=_KINDS[ClassifierArchitecture])["architecture"])


def read_details(path: Path) -> dict[str, Any]:
    """The details that a checkpoint was saved with. Raises CheckpointError where the file is no checkpoint."""
    details: dict[str, Any] = _read(path, kind=None)["details"]
    return details


def write_atomically(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain values beside `path` and moves them there when they are on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _read(path: Path, *, kind: str | None) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; the stage that trains it has to run first") from None
    except Exception as error:  # what torch says of a file that is none of its own has many names
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged ({in_short(error)}); {AGAIN}") from error
    if not isinstance(content, dict) or not {"kind", "architecture", "weights", "details"} <= set(content):
        raise CheckpointError(f"{path} is a torch file, but not a checkpoint of Ricefish")
    if kind is not None and content["kind"] != kind:
        raise CheckpointError(f"{path} holds a {content['kind']} network; expected a {kind} network")
    return content
