"""Checkpoints give back the same network, and what is none is refused with the name of the file."""

import pickle
from pathlib import Path

import pytest
import torch

from training.learning.checkpoints import (
    CheckpointError,
    load_architecture,
    load_classifier,
    load_network,
    read_details,
    save_checkpoint,
)
from training.learning.networks import Architecture, SegmentationNetwork, build_unet

ARCHITECTURE = Architecture("resnet18", encoder_depth=3, organs=2)


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    torch.manual_seed(3)
    return build_unet(ARCHITECTURE)


@pytest.fixture
def checkpoint(tmp_path: Path, network: SegmentationNetwork) -> Path:
    path = tmp_path / "models" / "teacher" / "checkpoint.pt"
    save_checkpoint(path, network, ARCHITECTURE, details={"seed": 3, "organs": {"1": "heart"}})
    return path


def test_a_loaded_network_answers_as_the_saved_one(checkpoint: Path, network: SegmentationNetwork) -> None:
    """The file holds all that is needed to build it, and it comes ready for inference."""
    slices = torch.rand(1, 1, 16, 16)
    loaded = load_network(checkpoint)
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(slices), network.eval()(slices))
    assert load_architecture(checkpoint) == ARCHITECTURE
    assert read_details(checkpoint) == {"seed": 3, "organs": {"1": "heart"}}


def test_the_same_weights_make_the_same_bytes(tmp_path: Path, network: SegmentationNetwork) -> None:
    """DVC reruns what comes after a stage only when the bytes of its checkpoint change."""
    paths = [tmp_path / "a" / "checkpoint.pt", tmp_path / "b" / "other.pt"]
    for path in paths:
        save_checkpoint(path, network, ARCHITECTURE, details={})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [path.name for path in tmp_path.rglob("*.partial")] == []


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    """A pickle that would create a file when it is loaded is refused, and no file is there."""

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "owned",)

    path = tmp_path / "checkpoint.pt"
    torch.save({"kind": "segmentation", "architecture": Malicious()}, path)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is not a checkpoint"):
        load_network(path)
    path.write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is not a checkpoint"):
        load_network(path)
    assert not (tmp_path / "owned").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    """Missing, truncated, a torch file of something else, and a checkpoint of the other kind of network."""
    with pytest.raises(CheckpointError, match=r"none\.pt does not exist; the stage that trains it has to run first"):
        load_network(tmp_path / "none.pt")
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"truncated\.pt is not a checkpoint, or is damaged"):
        read_details(truncated)
    foreign = tmp_path / "foreign.pt"
    torch.save({"state_dict": {}}, foreign)
    with pytest.raises(CheckpointError, match=r"foreign\.pt is a torch file, but not a checkpoint of Ricefish"):
        load_network(foreign)
    with pytest.raises(CheckpointError, match="holds a segmentation network; expected a quality classifier network"):
        load_classifier(checkpoint)
