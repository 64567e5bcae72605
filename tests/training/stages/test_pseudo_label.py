"""Stage pseudo_label, with a network that is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scans.geometry import Box
from tests.training.tiny_volumes import ORGANS, TEACHER_SECTION, fish, tiny_data_set, write_catalogue, write_volume
from training.data.pseudo_labels import PSEUDO_LABELS_DIR, PseudoLabelReader, PseudoLabelWriter
from training.learning.checkpoints import TEACHER, save_checkpoint
from training.learning.loop import Epoch
from training.learning.networks import Architecture, build_unet
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR
from training.learning.second_teacher import views_of
from training.params import PseudoLabel, SecondTeacher, load_params
from training.stages.pseudo_label import _pseudo_label, pseudo_label

REPOSITORY = Path(__file__).resolve().parents[3]
ARCHITECTURE = Architecture("resnet18", 3, len(ORGANS))


class Bright(nn.Module):
    """Sees a heart (class 3) where the normalised grey value is above a half; as sure as the value is far from it."""

    def forward(self, normalised: Tensor) -> Tensor:
        batch, _, height, width = normalised.shape
        logits = torch.full((batch, 4, height, width), -1000.0)
        logits[:, 0] = 0.0
        logits[:, 3] = 20 * (normalised[:, 0] - 0.5)
        return logits


ALONE = views_of(Bright(), None, "none", ORGANS, mirror="none")


def test_every_slice_of_every_unlabelled_volume_is_labelled(tmp_path: Path) -> None:
    """Batches that do not divide the slices, two volumes: each pixel as the network says, confidence its mean."""
    prepared, out = tmp_path / "prepared", tmp_path / "pseudo"
    image = np.full((5, 4, 6), 100, dtype=np.uint16)
    image[3, 1:3, 2:5] = 1100
    records = [
        write_volume(prepared, "fish_1", image, None, split="unlabelled"),
        write_volume(prepared, "fish_2", image[:2], None, split="unlabelled"),
        write_volume(prepared, "seen", image, np.zeros(image.shape, dtype=np.uint8), split="train"),
    ]
    write_catalogue(prepared, *records)
    confidence = pseudo_label(ALONE, prepared_dir=prepared, output_dir=out, batch_size=2)
    reader = PseudoLabelReader(out)
    expected = np.zeros((4, 6), dtype=np.uint8)
    expected[1:3, 2:5] = 3
    assert np.array_equal(reader.labels("fish_1", 3), expected)
    assert not reader.labels("fish_1", 2).any()
    assert not reader.labels("fish_2", 1).any()
    assert sorted(path.name for path in out.iterdir()) == ["fish_1.zarr", "fish_2.zarr"]
    sure = 1 / (1 + np.exp(-10))  # logits 10 apart, both at 0 and at 1 in grey
    np.testing.assert_allclose(reader.confidence("fish_1"), np.full(5, sure), rtol=1e-6)
    assert set(confidence) == {"fish_1", "fish_2"}


def test_what_an_interrupted_run_left_is_replaced(tmp_path: Path) -> None:
    """Pseudo-labels of a volume that is no longer there, and half of one that is, are gone after the next run."""
    prepared, out = tmp_path / "prepared", tmp_path / "pseudo"
    record = write_volume(prepared, "fish", np.full((2, 4, 6), 100, dtype=np.uint16), None, split="unlabelled")
    write_catalogue(prepared, record)
    for name in ("fish", "gone"):
        half = np.full((1, 4, 6), 2, dtype=np.uint8)
        PseudoLabelWriter(out, name, (2, 4, 6)).write(Box((0, 0, 0), (1, 4, 6)), half)
    pseudo_label(ALONE, prepared_dir=prepared, output_dir=out, batch_size=2)
    assert [path.name for path in out.iterdir()] == ["fish.zarr"]
    assert not PseudoLabelReader(out).labels("fish", 0).any()


class Blind(Bright):
    """Sees background everywhere, and is surer of it: logits 20 apart."""

    def forward(self, normalised: Tensor) -> Tensor:
        return 2 * super().forward(torch.zeros_like(normalised))


def test_labels_of_three_axes_are_fused(tmp_path: Path) -> None:
    """A Teacher that sees no heart outweighs, along z, a second that does; along y and x the second is alone. So two of
    three, and half of the third, are for the heart. Planes are no multiple of the batch."""
    prepared, out = tmp_path / "prepared", tmp_path / "pseudo"
    image = np.full((5, 4, 7), 100, dtype=np.uint16)
    image[3, 1:3, 2:5] = 1100
    write_catalogue(prepared, write_volume(prepared, "fish", image, None, split="unlabelled"))
    views = views_of(Blind(), Bright(), "three_axes", ORGANS, mirror="none")
    pseudo_label(views, prepared_dir=prepared, output_dir=out, batch_size=3)
    reader = PseudoLabelReader(out)
    expected = np.zeros(image.shape, dtype=np.uint8)
    expected[3, 1:3, 2:5] = 3
    assert np.array_equal(reader.array("fish")[:], expected)
    sure = 1 / (1 + np.exp(-10))
    assert reader.confidence("fish")[[0, 1, 2, 4]] == pytest.approx(np.full(4, sure), abs=1e-3)
    assert reader.confidence("fish")[3] == pytest.approx((22 * sure + 6 * 2.5 * sure / 3) / 28, abs=1e-3)
    assert [path.name for path in out.iterdir()] == ["fish.zarr"]


def stage(root: Path, *, second: SecondTeacher, unlabelled: int) -> list[Epoch]:
    """Runs the stage on a few small fish, with a Teacher that has learnt nothing; gives the epochs of the second."""
    tiny_data_set(root, unlabelled=unlabelled)
    torch.manual_seed(5)
    save_checkpoint(root / TEACHER, build_unet(ARCHITECTURE), ARCHITECTURE, details={})
    params = load_params(REPOSITORY / "params.yaml")
    section = PseudoLabel(**vars(TEACHER_SECTION.supervised), batch_size=4, mirror="x", second_teacher=second)
    epochs: list[Epoch] = []
    _pseudo_label(replace(params, pseudo_label=section), Processes(), epochs.append)
    return epochs


def precision_of_organs(folder: Path) -> float:
    """Share of the voxels labelled as an organ that are of that organ."""
    labels, truth = PseudoLabelReader(folder).array("unlabelled_0")[:], fish(100)[1]
    return float((labels == truth)[labels > 0].mean()) if labels.any() else 0.0


@pytest.mark.slow
def test_a_second_teacher_is_trained_where_there_is_something_to_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs, and labels that are better than those of the first alone; of the training, of votes and of copies
    nothing is left. Without unlabelled volumes there is nothing to train it for."""
    precision: dict[SecondTeacher, float] = {}
    of_second: tuple[tuple[SecondTeacher, int, int], ...] = (
        *(("none", 1, 0), ("three_axes", 1, 2), ("student", 1, 2)),
        ("three_axes", 0, 0),
    )
    for second, unlabelled, epochs in of_second:
        (root := tmp_path / f"{second}-{unlabelled}").mkdir()
        monkeypatch.chdir(root)
        assert len(stage(root, second=second, unlabelled=unlabelled)) == epochs
        assert [path.name for path in PSEUDO_LABELS_DIR.iterdir()] == ["unlabelled_0.zarr"] * unlabelled
        assert not RESUME_DIR.exists() or not list(RESUME_DIR.iterdir())
        if unlabelled:
            precision[second] = precision_of_organs(PSEUDO_LABELS_DIR)
    assert min(precision["three_axes"], precision["student"]) > precision["none"] + 0.2, precision
