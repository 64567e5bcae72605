"""A second Teacher along three axes: what it sees, and where what it says is put."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scans.intensity import Window
from tests.training.tiny_volumes import ORGANS, TEACHER_SECTION, WINDOW, fish, tiny_data_set
from training.data.planes import AXES, Axis
from training.learning.fusion import Opinion
from training.learning.loop import Epoch
from training.learning.multiplanar import Look, SecondTeacher, StoredOpinion, looks_of
from training.learning.networks import Architecture
from training.learning.processes import Processes
from training.learning.resume import RESUME_DIR
from training.params import Mirror, PseudoLabel
from training.recipe import Supervised

ARCHITECTURE = Architecture("resnet18", 3, len(ORGANS))
LEFT_EYE, HEART = 1, 3


class FirstColumn(nn.Module):
    """Takes the first column of a plane for the left eye, whatever is there, and is sure of all it says."""

    def forward(self, planes: Tensor) -> Tensor:
        logits = torch.full((len(planes), ORGANS.classes, *planes.shape[2:]), -50.0)
        logits[:, LEFT_EYE, :, 0] = 50.0
        logits[:, 0, :, 1:] = 50.0
        return logits


def seen(look: Look, shape: tuple[int, int, int]) -> Opinion:
    """What a look along an axis sees in a volume of that shape."""
    return look.opinion(np.zeros(shape, dtype=np.uint16), Window(0, 1), pixels=17)


def test_without_a_second_teacher_one_looks_along_z() -> None:
    """As in the paper."""
    assert [look.axis for look in looks_of(FirstColumn(), None, ORGANS, mirror="none")] == [0]


@pytest.mark.parametrize(
    ("mirror", "across_z", "across_y", "across_x"),
    [("none", "", "", ""), ("x", "columns", "columns", ""), ("y", "rows", "", "columns")],
)
def test_a_plane_is_mirrored_along_the_axis_that_lies_in_it(
    mirror: Mirror, across_z: str, across_y: str, across_x: str
) -> None:
    """Columns lie along x in planes across z and y, along y in those across x. Of a mirror image the eye is the right
    one; where columns were mirrored it is in the last of them."""
    looks = looks_of(FirstColumn(), FirstColumn(), ORGANS, mirror=mirror)
    assert [look.axis for look in looks] == list(AXES)
    for look, mirrored in zip(looks, (across_z, across_y, across_x), strict=True):
        classes, certainty = seen(look, (3, 2, 4))
        assert certainty[:, :, 0] == pytest.approx(0.5 if mirrored else 1.0, abs=1e-5)
        assert certainty[:, :, 3] == pytest.approx(0.5 if mirrored == "columns" else 1.0, abs=1e-5)
        assert not classes[:, :, 1:3].any()


def test_the_teacher_and_the_second_are_averaged_along_z_alone() -> None:
    """A Teacher that sees nothing, and a second that sees an eye: half and half along z, sure along y and x."""

    class Blind(nn.Module):
        def forward(self, planes: Tensor) -> Tensor:
            logits = torch.full((len(planes), ORGANS.classes, *planes.shape[2:]), -50.0)
            logits[:, 0] = 50.0
            return logits

    along_z, *others = looks_of(Blind(), FirstColumn(), ORGANS, mirror="none")
    assert np.allclose(seen(along_z, (2, 3, 3)).certainty[:, :, 0], 0.5)
    for look in others:
        classes, certainty = seen(look, (2, 3, 3))
        assert (classes[:, :, 0] == LEFT_EYE).all() and np.allclose(certainty, 1.0)


@pytest.mark.parametrize("axis", AXES)
def test_what_is_seen_along_an_axis_is_put_where_it_was_seen(tmp_path: Path, axis: Axis) -> None:
    """Two batches of planes, and slabs of slices: each voxel has its own."""
    shape = (4, 5, 6)
    classes = np.random.default_rng(1).integers(0, 4, shape).astype(np.uint8)
    planes = np.moveaxis(classes, axis, 0)
    stored = StoredOpinion(tmp_path / "opinion", shape)
    for first in range(0, len(planes), 3):
        some = planes[first : first + 3]
        stored.write(axis, first, Opinion(some, some.astype(np.float32) / 4))
    slab = stored.slab(1, 3)
    assert np.array_equal(slab.classes, classes[1:3])
    assert slab.certainty.dtype == np.float32 and np.array_equal(slab.certainty, classes[1:3] / 4)


@pytest.mark.slow
def test_a_second_teacher_knows_the_organs_along_each_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After seconds of training it finds most of the heart of a fish that it learnt from, in planes across z, y and x.
    No turned copy stays, and what it could go on from stays until it is told to forget."""
    catalogue = tiny_data_set(tmp_path)
    monkeypatch.chdir(tmp_path)
    prepared = tmp_path / "data" / "prepared"
    shared = {field.name: getattr(TEACHER_SECTION, field.name) for field in fields(Supervised)}
    section = PseudoLabel(**shared, batch_size=4, mirror="none", three_axes=True)
    teacher = SecondTeacher(section, catalogue, ARCHITECTURE, seed=1, prepared_dir=prepared)
    epochs: list[Epoch] = []
    network = teacher.trained(Processes(), epochs.append)
    assert [epoch.number for epoch in epochs] == [1, 2]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["prepared", "pseudo_labels", "refined"]
    image, labels = fish(1)
    for axis in AXES:
        planes, truth = np.moveaxis(image, axis, 0), np.moveaxis(labels, axis, 0)
        classes = Look(axis, network).opinion(planes, WINDOW, pixels=8 * 40 * 40).classes
        assert (classes[truth == HEART] == HEART).mean() > 0.6
    assert list(RESUME_DIR.iterdir())
    teacher.forget(Processes())
    assert not list(RESUME_DIR.iterdir())


class Counting(FirstColumn):
    """Remembers how many planes came together."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, planes: Tensor) -> Tensor:
        self.seen.append(len(planes))
        return super().forward(planes)


@pytest.mark.parametrize(("axis", "together"), [(0, [2, 2, 1]), (1, [1, 1, 1]), (2, [2, 2])])
def test_large_planes_go_through_the_network_with_fewer_others(axis: Axis, together: list[int]) -> None:
    """At most 30 pixels together: two slices of 3 x 4, one plane of 5 x 4, two of 5 x 3."""
    network = Counting()
    seen = list(Look(axis, network).opinions(np.zeros((5, 3, 4), dtype=np.uint16), Window(0, 1), pixels=30))
    assert network.seen == together
    assert [first for first, _ in seen] == [sum(together[:number]) for number in range(len(together))]
