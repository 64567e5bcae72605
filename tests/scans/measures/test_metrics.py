"""Metrics: Dice, IoU and surface distances by hand, and failures that count as failures."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from scans.geometry import Spacing
from scans.measures.metrics import OrganCounts, VolumeScores, slice_iou, summarise, surface_distances
from scans.organs import NOT_LABELLED, OrganMap

ORGANS = OrganMap.from_mapping({1: "heart", 2: "brain", 3: "liver"})
CLASSES = ORGANS.classes

label_volumes = arrays(np.uint8, (3, 4, 4), elements=st.integers(0, CLASSES - 1))


def labels(rows: list[list[int]]) -> NDArray[np.uint8]:
    """A volume of one slice."""
    return np.array([rows], dtype=np.uint8)


def scores(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], volume_id: str = "fish") -> VolumeScores:
    return VolumeScores.from_counts(volume_id, OrganCounts.of(prediction, truth, classes=CLASSES), ORGANS)


def volume_scores(volume_id: str, heart: float | None, brain: float | None, liver: float | None) -> VolumeScores:
    values = {"heart": heart, "brain": brain, "liver": liver}
    return VolumeScores(volume_id, dice=values, iou=values)


def test_counts_scores_and_absence_by_hand() -> None:
    """Heart: 2 voxels hit, 1 missed, 1 too many. Brain: missed. Liver: in neither, so it has no score."""
    truth = labels([[1, 1, 1, 0], [2, 0, 0, 0]])
    prediction = labels([[1, 1, 0, 1], [0, 0, 0, 0]])

    counts = OrganCounts.of(prediction, truth, classes=CLASSES)

    assert counts.true_positive.tolist() == [2, 0, 0]
    assert counts.false_positive.tolist() == [1, 0, 0]
    assert counts.false_negative.tolist() == [1, 1, 0]
    assert counts.true_positive.dtype == np.int64
    assert counts.dice == (4 / 6, 0.0, None)
    assert counts.iou == (2 / 4, 0.0, None)


def test_an_invented_organ_scores_zero() -> None:
    """An organ that is only in the prediction counts as a failure, not as absent."""
    assert scores(labels([[3, 0]]), labels([[0, 0]])).dice == {"heart": None, "brain": None, "liver": 0.0}


@given(prediction=label_volumes, other=label_volumes, truth=label_volumes, unlabelled=arrays(np.bool_, (3, 4, 4)))
def test_what_nobody_has_looked_at_counts_for_nobody(
    prediction: NDArray[np.uint8], other: NDArray[np.uint8], truth: NDArray[np.uint8], unlabelled: NDArray[np.bool_]
) -> None:
    """Whatever is predicted where the truth is 255, the counts are those of the other voxels alone."""
    partly = np.where(unlabelled, np.uint8(NOT_LABELLED), truth)
    found = OrganCounts.of(np.where(unlabelled, other, prediction), partly, classes=CLASSES)
    alone = OrganCounts.of(prediction[~unlabelled], truth[~unlabelled], classes=CLASSES)
    assert found.true_positive.tolist() == alone.true_positive.tolist()
    assert found.false_positive.tolist() == alone.false_positive.tolist()
    assert found.false_negative.tolist() == alone.false_negative.tolist()
    assert slice_iou(other[0], np.full((4, 4), NOT_LABELLED, np.uint8), classes=CLASSES) is None


@given(prediction=label_volumes, truth=label_volumes, cut=st.integers(0, 3))
def test_counts_of_slabs_add_up_to_those_of_the_whole(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], cut: int
) -> None:
    """Counting slab by slab and adding gives exactly what counting the whole gives."""
    lower = OrganCounts.of(prediction[:cut], truth[:cut], classes=CLASSES)
    upper = OrganCounts.of(prediction[cut:], truth[cut:], classes=CLASSES)
    whole, added = OrganCounts.of(prediction, truth, classes=CLASSES), lower + upper

    assert added.true_positive.tolist() == whole.true_positive.tolist()
    assert added.false_positive.tolist() == whole.false_positive.tolist()
    assert added.false_negative.tolist() == whole.false_negative.tolist()


@given(truth=label_volumes)
def test_a_perfect_prediction_scores_one(truth: NDArray[np.uint8]) -> None:
    """Against itself every organ that is there has Dice 1 and IoU 1, and every other none."""
    found = scores(truth, truth)
    expected = {organ.name: 1.0 if (truth == organ.index).any() else None for organ in ORGANS.organs}

    assert found.dice == expected
    assert found.iou == expected


def test_class_indices_out_of_range_are_refused() -> None:
    """A label beyond the organ map, or below background, is named instead of miscounted."""
    with pytest.raises(ValueError, match="truth holds class indices 0 to 4; expected 0 to 3"):
        OrganCounts.of(labels([[0, 0]]), labels([[0, 4]]), classes=CLASSES)
    with pytest.raises(ValueError, match="prediction holds class indices -1 to 0"):
        OrganCounts.of(np.array([[0, -1]]), np.array([[0, 0]]), classes=CLASSES)


def test_shapes_that_differ_are_refused() -> None:
    """Prediction and truth of different shapes are never broadcast."""
    with pytest.raises(ValueError, match="must be the same"):
        OrganCounts.of(np.zeros((1, 4), np.uint8), np.zeros((4, 4), np.uint8), classes=2)


def test_counts_of_another_organ_map_are_refused() -> None:
    """Counts of two organs cannot be given the names of three."""
    counts = OrganCounts.of(labels([[1]]), labels([[1]]), classes=3)
    with pytest.raises(ValueError, match="counts of 2 organs; the map has 3"):
        VolumeScores.from_counts("fish", counts, ORGANS)


def test_means_are_over_volumes_first_and_then_over_organs() -> None:
    """Heart 1.0 and 0.5 -> 0.75; brain 0.25 in one volume and absent in the other -> 0.25; mean of organs 0.5."""
    summary = summarise([volume_scores("a", 1.0, 0.25, None), volume_scores("b", 0.5, None, None)], ORGANS)

    assert summary.dice == {"heart": 0.75, "brain": 0.25, "liver": None}
    assert summary.mean_dice == 0.5
    assert summary.mean_iou == 0.5
    assert summary.left_out == {"heart": 0, "brain": 1, "liver": 2}
    assert summary.volumes == 2


def test_a_missed_organ_pulls_the_mean_down() -> None:
    """Missing the brain wholly gives 0 for it, and the mean over organs is over both."""
    truth = labels([[1, 1, 2, 2]])
    summary = summarise([scores(labels([[1, 1, 0, 0]]), truth)], ORGANS)

    assert summary.dice == {"heart": 1.0, "brain": 0.0, "liver": None}
    assert summary.mean_dice == 0.5


def test_summaries_are_json_without_nan() -> None:
    """What evaluate writes: means, and for each organ its scores and how often it was left out."""
    summary = summarise([volume_scores("a", 1.0, 0.5, None)], ORGANS)

    assert json.loads(json.dumps(summary.to_dict(), allow_nan=False)) == {
        "mean_dice": 0.75,
        "mean_iou": 0.75,
        "volumes": 1,
        "organs": {
            "heart": {"dice": 1.0, "iou": 1.0, "left_out": 0},
            "brain": {"dice": 0.5, "iou": 0.5, "left_out": 0},
            "liver": {"dice": None, "iou": None, "left_out": 1},
        },
    }


def test_nothing_to_score_is_an_error_not_nan() -> None:
    """Background alone in truth and prediction, or no volume at all, cannot have a mean."""
    with pytest.raises(ValueError, match=r"nothing can be scored.*empty tube"):
        summarise([volume_scores("empty tube", None, None, None)], ORGANS)
    with pytest.raises(ValueError, match="no volume"):
        summarise([], ORGANS)


def test_scores_of_other_organs_are_refused() -> None:
    """Volumes scored on another organ map are not averaged in silence."""
    with pytest.raises(ValueError, match="fish was scored on heart, not heart, brain, liver"):
        summarise([VolumeScores("fish", dice={"heart": 1.0}, iou={"heart": 1.0})], ORGANS)


def test_distance_between_two_voxels_is_in_mm() -> None:
    """Two single voxels one step apart along z and two along x, at 3 and 2 mm: 5 mm in both figures."""
    prediction, truth = np.zeros((2, 5, 5), bool), np.zeros((2, 5, 5), bool)
    prediction[0, 2, 1] = True
    truth[1, 2, 3] = True

    found = surface_distances(prediction, truth, Spacing(z=3.0, y=1.0, x=2.0))

    assert found.hd95_mm == found.assd_mm == 5.0


def test_a_row_one_voxel_too_long() -> None:
    """Truth 3 voxels in a row, prediction 4: distances 0 0 0 1 one way, 0 0 0 the other.

    The 95th percentile of the first is 0.85 (between its two greatest), the mean over all seven 1/7, times 2 mm.
    """
    truth, prediction = np.zeros((1, 1, 8), bool), np.zeros((1, 1, 8), bool)
    truth[..., 2:5] = True
    prediction[..., 2:6] = True

    found = surface_distances(prediction, truth, Spacing(1, 1, 2.0))

    assert found.hd95_mm == pytest.approx(2 * 0.85)
    assert found.assd_mm == pytest.approx(2 / 7)


def test_a_surface_may_be_off_by_the_tolerance() -> None:
    """Truth 3 voxels in a row, prediction 5: of eight two are off, by 2 and by 4 mm; a voxel is 2 mm long at most."""
    truth, prediction = np.zeros((1, 1, 8), bool), np.zeros((1, 1, 8), bool)
    truth[..., 1:4] = True
    prediction[..., 1:6] = True

    for tolerance_mm, share in ((0.0, 6 / 8), (1.9, 6 / 8), (2.0, 7 / 8), (None, 7 / 8), (4.0, 1.0)):
        found = surface_distances(prediction, truth, Spacing(1, 1, 2.0), tolerance_mm=tolerance_mm)
        assert found.surface_dice == share


def test_the_inside_of_an_organ_is_not_its_surface() -> None:
    """A 5 x 5 x 5 cube against the same with a hollow: 98 outer voxels agree, 6 around the hollow are new.

    Those 6 are one step from the cube's surface: 6 / 202 on average, and the 95th percentile of 98 zeros and 6 ones,
    97.85 steps from the least, is 0.85.
    """
    truth = np.zeros((7, 7, 7), bool)
    truth[1:6, 1:6, 1:6] = True
    prediction = truth.copy()
    prediction[3, 3, 3] = False  # its neighbours lie at 2 or 4: next to the cube's outer voxels at 1 and 5

    found = surface_distances(prediction, truth, Spacing(1, 1, 1))

    assert found.assd_mm == pytest.approx(6 * 1.0 / (98 + 6 + 98))
    assert found.hd95_mm == pytest.approx(0.85)


def test_missed_and_invented_organs_get_the_diagonal() -> None:
    """2 x 3 x 4 voxels at 6, 1, 2 mm are 12 x 3 x 8 mm: the worst case is the root of 217 mm, both ways."""
    nothing, organ = np.zeros((2, 3, 4), bool), np.zeros((2, 3, 4), bool)
    organ[0, 0, 0] = True
    for prediction, truth in ((nothing, organ), (organ, nothing)):
        found = surface_distances(prediction, truth, Spacing(6.0, 1.0, 2.0))
        assert found.hd95_mm == found.assd_mm == pytest.approx(math.sqrt(217))
        assert found.surface_dice == 0.0


def test_an_organ_absent_from_both_has_no_distance() -> None:
    """Nothing to compare is None, as for Dice."""
    found = surface_distances(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool), Spacing(1, 1, 1))
    assert found.hd95_mm is found.assd_mm is found.surface_dice is None


def test_masks_of_different_shapes_are_refused() -> None:
    """Masks of different volumes have no distance."""
    with pytest.raises(ValueError, match="the same"):
        surface_distances(np.zeros((1, 2, 2), bool), np.zeros((2, 2, 2), bool), Spacing(1, 1, 1))


@given(
    prediction=arrays(np.bool_, (3, 4, 4)),
    truth=arrays(np.bool_, (3, 4, 4)),
    steps=st.tuples(*[st.floats(0.01, 10)] * 3),
)
def test_distances_are_those_of_all_pairs_of_surface_voxels(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], steps: tuple[float, float, float]
) -> None:
    """The fast way agrees with comparing every surface voxel with every other, and no distance beats the worst case."""
    found = surface_distances(prediction, truth, Spacing(*steps))
    worst = math.hypot(*(3 * steps[0], 4 * steps[1], 4 * steps[2]))
    if not prediction.any() or not truth.any():
        return
    a, b = (np.argwhere(_surface_by_hand(mask)) * steps for mask in (prediction, truth))
    pairs = np.linalg.norm(a[:, None] - b[None], axis=2)
    there, back = pairs.min(axis=1), pairs.min(axis=0)

    assert found.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert found.assd_mm == pytest.approx(np.concatenate([there, back]).mean())
    within = np.concatenate([there, back]) <= max(steps) * (1 + 1e-9)
    assert found.surface_dice == pytest.approx(within.mean(), abs=1e-12)
    assert found.hd95_mm is not None
    assert found.hd95_mm < worst


@given(truth=label_volumes, prediction=label_volumes, organ=st.integers(1, CLASSES - 1))
def test_missing_an_organ_never_pays(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], organ: int) -> None:
    """Taking an organ that is in the truth out of the prediction raises no score and shortens no distance."""
    truth[0, 0, 0] = organ
    prediction[0, 0, 0] = organ
    missed = np.where(prediction == organ, 0, prediction).astype(np.uint8)

    before, after = (summarise([scores(p, truth)], ORGANS) for p in (prediction, missed))
    assert after.mean_dice <= before.mean_dice
    assert after.mean_iou <= before.mean_iou
    for index, name in enumerate(ORGANS.names, start=1):
        assert (after.dice[name] or 0.0) <= (before.dice[name] or 0.0)
        near, far = (surface_distances(p == index, truth == index, Spacing(2, 1, 1)) for p in (prediction, missed))
        assert (near.hd95_mm is None) == (far.hd95_mm is None)
        assert (far.hd95_mm or 0.0) >= (near.hd95_mm or 0.0)
        assert (far.assd_mm or 0.0) >= (near.assd_mm or 0.0)
        assert (far.surface_dice or 0.0) <= (near.surface_dice or 0.0)


def _surface_by_hand(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(3):
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return (padded & ~inner)[1:-1, 1:-1, 1:-1]
