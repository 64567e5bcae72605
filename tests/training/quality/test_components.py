"""Which components of an organ are left out of a segmentation, and how that is chosen."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy.ndimage import label

from scans.organs import NOT_LABELLED
from scans.volume import ArrayVoxels
from tests.training.tiny_volumes import ORGANS
from training.quality.components import OrganComponents, chosen_rule, read_rule, write_rule
from training.stage_files import StageFileError


def found(
    labels: NDArray[np.uint8], *, slab_slices: int = 2, truth: NDArray[np.uint8] | None = None
) -> OrganComponents:
    known = None if truth is None else ArrayVoxels(truth)
    return OrganComponents.of(ArrayVoxels(labels), classes=ORGANS.classes, slab_slices=slab_slices, truth=known)


def without(components: OrganComponents, rule: dict[str, float]) -> NDArray[np.uint8]:
    return np.concatenate([slab for _, slab in components.without(ORGANS, rule)])


def a_volume() -> NDArray[np.uint8]:
    """A left eye of four voxels that goes through three slices, one of two, and one of one; a heart of one voxel."""
    labels = np.zeros((4, 3, 6), dtype=np.uint8)
    labels[0:3, 0, 0] = 1
    labels[2, 0, 1] = 1
    labels[3, 2, 2:4] = 1
    labels[0, 2, 5] = 1
    labels[3, 0, 5] = 3
    return labels


@pytest.mark.parametrize("slab_slices", [1, 2, 3, 9])
def test_components_are_counted_through_slabs(slab_slices: int) -> None:
    """4, 2 and 1 voxels of a left eye and 1 of a heart, whatever is read at once."""
    components = found(a_volume(), slab_slices=slab_slices)
    counted = sorted(zip(components.organ.tolist(), components.voxels.tolist(), strict=True))
    assert counted == [(1, 1), (1, 2), (1, 4), (3, 1)]


@pytest.mark.parametrize(("share", "left"), [(0.0, 7), (0.25, 7), (0.3, 6), (0.5, 6), (0.6, 4), (1.0, 4)])
def test_a_component_needs_its_share_of_the_largest_one(share: float, left: int) -> None:
    """With 4 voxels in the largest: 0.3 of it are more than one voxel, half of it are two. Other organs stay."""
    cleaned = without(found(a_volume()), {"left_eye": share})
    assert np.count_nonzero(cleaned == 1) == left
    assert np.count_nonzero(cleaned == 3) == 1
    assert (cleaned[cleaned != a_volume()] == 0).all()


def test_organs_that_touch_are_components_of_their_own() -> None:
    """Two organs side by side, and one above the other across a border of slabs, are not one component."""
    labels = np.zeros((2, 1, 2), dtype=np.uint8)
    labels[0, 0], labels[1, 0] = (1, 2), (2, 1)
    assert found(labels, slab_slices=1).organ.tolist() == [1, 2, 1, 2]


@given(
    labels=npst.arrays(np.uint8, npst.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(0, 3)),
    slab_slices=st.integers(1, 6),
    share=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_what_is_left_is_what_the_whole_volume_at_once_would_leave(
    labels: NDArray[np.uint8], slab_slices: int, share: float
) -> None:
    """Slab by slab, as by labelling each organ of the whole volume."""
    expected = labels.copy()
    for organ in (1, 2, 3):
        parts, count = label(labels == organ)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        expected[(sizes < share * sizes.max())[parts] & (parts > 0)] = 0
    rule = dict.fromkeys(ORGANS.names, share)
    assert np.array_equal(without(found(labels, slab_slices=slab_slices), rule), expected)


def test_the_share_is_chosen_by_dice_over_volumes() -> None:
    """The speck of the left eye is invented, so that it has to go; that of the heart is real, so that all stay.

    The right eye is nowhere: nothing speaks for leaving anything out.
    """
    truth = np.zeros((2, 2, 8), dtype=np.uint8)
    truth[:, 0, :4], truth[0, 1, :4], truth[1, 1, 6] = 1, 3, 3
    predicted = truth.copy()
    predicted[0, 0, 6] = 1
    voxels = np.bincount(truth.ravel(), minlength=ORGANS.classes)
    rule = chosen_rule([(found(predicted, truth=truth), voxels)], ORGANS)
    assert rule == {"left_eye": 0.3, "right_eye": 0.0, "heart": 0.0}


def test_voxels_that_nobody_looked_at_choose_nothing() -> None:
    """A speck where the truth is not labelled is no reason to leave specks out."""
    truth = np.full((1, 1, 9), NOT_LABELLED, dtype=np.uint8)
    truth[0, 0, :5] = (1, 1, 1, 1, 0)
    predicted = np.zeros_like(truth)
    predicted[0, 0] = (1, 1, 1, 1, 0, 0, 0, 1, 0)
    voxels = np.array([1, 4, 0, 0])
    assert chosen_rule([(found(predicted, truth=truth), voxels)], ORGANS)["left_eye"] == 0.0


def test_a_truth_of_another_shape_is_refused() -> None:
    """The message has both shapes."""
    with pytest.raises(ValueError, match=r"\(1, 2, 3\), the labels \(4, 3, 6\)"):
        found(a_volume(), truth=np.zeros((1, 2, 3), dtype=np.uint8))


def test_a_rule_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And where none was written it is empty: all components stay."""
    assert read_rule(tmp_path) == {}
    write_rule(tmp_path, {"heart": 0.3, "left_eye": 0.0})
    assert read_rule(tmp_path) == {"heart": 0.3, "left_eye": 0.0}
    (tmp_path / "components.json").write_text("{", encoding="utf-8")
    with pytest.raises(StageFileError, match=r"components\.json"):
        read_rule(tmp_path)
