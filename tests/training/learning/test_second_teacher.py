"""A second Teacher, also along three axes: what it sees, and where what it says is put."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scans.intensity import Window
from tests.training.tiny_volumes import ORGANS, TEACHER_SECTION, WINDOW, write_catalogue, write_volume
from training.data.planes import ACROSS, AXES, Axis
from training.learning.loop import Epoch
from training.learning.networks import Architecture
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR
from training.learning.second_teacher import (
    StoredVotes,
    View,
    forget_second_teacher,
    train_second_teacher,
    views_of,
)
from training.params import Mirror

ARCHITECTURE = Architecture("resnet18", 3, len(ORGANS))
LEFT_EYE, RIGHT_EYE, HEART = 1, 2, 3
PARTNERS = torch.from_numpy(ORGANS.mirrored.astype("int64"))


class FirstColumn(nn.Module):
    """Takes the first column of a plane for the left eye, whatever is there, and is sure of all it says."""

    def forward(self, planes: Tensor) -> Tensor:
        logits = torch.full((len(planes), ORGANS.classes, *planes.shape[2:]), -50.0)
        logits[:, LEFT_EYE, :, 0] = 50.0
        logits[:, 0, :, 1:] = 50.0
        return logits


PIXELS = 17
"""That go through a network together."""


def seen(view: View, shape: tuple[int, int, int]) -> Tensor:
    """Probabilities (planes, classes, rows, columns) of empty planes."""
    planes = np.zeros(shape, dtype=np.uint16)
    return torch.cat([part for _, part in view.probabilities(planes, Window(0, 1), pixels=PIXELS)]).cpu()


def test_without_a_second_teacher_one_looks_along_z() -> None:
    """As in the paper."""
    assert [view.axis for view in views_of(FirstColumn(), None, "none", ORGANS, mirror="none")] == [0]


@pytest.mark.parametrize(
    ("mirror", "across_z", "across_y", "across_x"),
    [("none", "", "", ""), ("x", "columns", "columns", ""), ("y", "rows", "", "columns")],
)
def test_a_plane_is_mirrored_along_the_axis_that_lies_in_it(
    mirror: Mirror, across_z: str, across_y: str, across_x: str
) -> None:
    """Columns lie along x in planes across z and y, along y in those across x. Of a mirror image the eye is the right
    one; where columns were mirrored it is in the last of them."""
    views = views_of(FirstColumn(), FirstColumn(), "three_axes", ORGANS, mirror=mirror)
    assert [view.axis for view in views] == list(AXES)
    for view, mirrored in zip(views, (across_z, across_y, across_x), strict=True):
        found = seen(view, (3, 2, 4))
        assert torch.allclose(found[:, LEFT_EYE, :, 0], torch.tensor(0.5 if mirrored else 1.0), atol=1e-5)
        last = {"": 0.0, "rows": 0.0, "columns": 0.5}[mirrored]
        assert torch.allclose(found[:, RIGHT_EYE, :, 3], torch.tensor(last), atol=1e-5)
        assert torch.allclose(found[:, 0, :, 1:3], torch.tensor(1.0), atol=1e-5)


def test_the_teacher_and_the_second_are_averaged_along_z_alone() -> None:
    """A Teacher that sees nothing, and a second that sees an eye: half and half along z, sure along y and x. Shown
    slices, the second one looks along z with the first, and nowhere else."""

    class Blind(nn.Module):
        def forward(self, planes: Tensor) -> Tensor:
            logits = torch.full((len(planes), ORGANS.classes, *planes.shape[2:]), -50.0)
            logits[:, 0] = 50.0
            return logits

    along_z, *others = views_of(Blind(), FirstColumn(), "three_axes", ORGANS, mirror="none")
    assert torch.allclose(seen(along_z, (2, 3, 3))[:, LEFT_EYE, :, 0], torch.tensor(0.5), atol=1e-5)
    (alone,) = views_of(Blind(), FirstColumn(), "slices", ORGANS, mirror="none")
    assert torch.equal(seen(alone, (2, 3, 3)), seen(along_z, (2, 3, 3)))
    for view in others:
        assert torch.allclose(seen(view, (2, 3, 3))[:, LEFT_EYE, :, 0], torch.tensor(1.0), atol=1e-5)


class Levels(nn.Module):
    """Sees background, an eye or the heart where grey is below a third, two thirds, or above; keeps the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, planes: Tensor) -> Tensor:
        self.batches.append(len(planes))
        grey = planes[:, 0]
        seen = torch.where(grey < 1 / 3, 0, torch.where(grey < 2 / 3, LEFT_EYE, HEART))
        return 50.0 * nn.functional.one_hot(seen, ORGANS.classes).movedim(-1, 1).float()


@pytest.mark.parametrize(("axis", "together"), [(1, [1, 1, 1]), (2, [2, 2])])
def test_votes_are_put_where_they_were_seen(tmp_path: Path, axis: Axis, together: list[int]) -> None:
    """Planes of 5 x 4 go through the network by themselves, two of 5 x 3 together, for 30 pixels are allowed; each
    voxel of a slab of slices has its own class."""
    grey = np.random.default_rng(1).integers(0, 100, (5, 3, 4)).astype(np.uint16)
    network, votes = Levels(), StoredVotes(tmp_path / "votes", axis, grey.shape)
    done = list(votes.fill(View(axis, network), grey, Window(0, 99), PARTNERS, pixels=30))
    assert done == list(range(grey.shape[axis]))
    assert network.batches == together
    classes, probability = votes.slices(1, 4, torch.device("cpu"))
    assert np.array_equal(classes, np.where(grey[1:4] < 33, 0, np.where(grey[1:4] < 66, LEFT_EYE, HEART)))
    assert probability.dtype == torch.float32 and torch.allclose(probability, torch.tensor(1.0))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="there is no posix_fallocate on this system")
def test_where_there_is_no_room_for_votes_an_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a plane is looked at: a mapped file that outgrows the disk would end the process without a word."""

    def full(_file: int, _start: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        StoredVotes(tmp_path / "votes", 1, (2, 3, 4))


def two_bars(seed: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """An eye, a bar along z, and a heart, a block of three slices: in a slice both are bright squares of one size."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((24, 40, 40), dtype=np.uint8)
    y, x = (int(value) for value in rng.integers(4, 12, size=2))
    labels[2:22, y : y + 8, x : x + 8] = LEFT_EYE
    labels[8:11, y + 12 : y + 20, x + 12 : x + 20] = HEART
    grey = np.where(labels > 0, 900, 300) + rng.normal(0, 30, labels.shape)
    return grey.astype(np.uint16), labels


@pytest.mark.slow
def test_a_second_teacher_sees_what_slices_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In slices the two organs are alike; along y and x one is long and one is short, and most of both is found.

    No copy stays, and what it could go on from stays until it is told to forget.
    """
    monkeypatch.chdir(tmp_path)
    prepared = tmp_path / "prepared"
    records = [write_volume(prepared, f"train_{n}", *two_bars(n), split="train") for n in range(2)]
    epochs: list[Epoch] = []
    network = train_second_teacher(
        TEACHER_SECTION.supervised,
        write_catalogue(prepared, *records),
        "three_axes",
        ARCHITECTURE,
        seed=1,
        ranks=Processes(),
        report=epochs.append,
        scratch=tmp_path,
        prepared_dir=prepared,
    )
    assert [epoch.number for epoch in epochs] == [1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(RESUME_DIR), "prepared"]
    assert list(RESUME_DIR.iterdir())
    image, labels = two_bars(7)
    for axis in ACROSS:
        planes, truth = np.moveaxis(image, axis, 0), np.moveaxis(labels, axis, 0)
        parts = [part.argmax(1) for _, part in View(axis, network).probabilities(planes, WINDOW, pixels=8 * 40 * 24)]
        classes = torch.cat(parts).numpy()
        assert (classes[truth == HEART] == HEART).mean() > 0.6
        assert (classes[truth == LEFT_EYE] == LEFT_EYE).mean() > 0.6
    forget_second_teacher()
    forget_second_teacher()
    assert not list(RESUME_DIR.iterdir())
