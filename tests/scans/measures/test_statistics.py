"""Organ statistics: the table of a volume by hand, and slabs that add up to it exactly."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from scans.geometry import Box, Frame, Spacing
from scans.measures.statistics import OrganRow, OrganStatistics
from scans.organs import OrganMap

ORGANS = OrganMap.from_mapping({1: "heart", 2: "brain"})
SHAPE = (4, 5, 6)
WHOLE = Box.of_shape(SHAPE)
FRAME = Frame.from_affine(np.array([[2.0, 0, 0, 10], [0, 0.5, 0, -1], [0, 0, 3, 0], [0, 0, 0, 1]]))

segmentations = arrays(np.uint8, SHAPE, elements=st.integers(0, 2))


def heart_of_three_voxels() -> NDArray[np.uint8]:
    segmentation = np.zeros(SHAPE, np.uint8)
    segmentation[1, 2, 3] = segmentation[2, 2, 3] = segmentation[2, 3, 3] = 1
    return segmentation


def test_voxels_that_nobody_has_looked_at_belong_to_no_organ() -> None:
    """A heart of three voxels among 255 is the same heart; 254 is still a class that there is not."""
    partly = np.where(heart_of_three_voxels() == 0, np.uint8(255), np.uint8(1))
    expected = OrganStatistics.of(heart_of_three_voxels(), box=WHOLE, classes=3)
    assert OrganStatistics.of(partly, box=WHOLE, classes=3) == expected
    partly[0, 0, 0] = 254
    with pytest.raises(ValueError, match="holds class index 254; the greatest is 2"):
        OrganStatistics.of(partly, box=WHOLE, classes=3)


def test_the_table_of_a_three_voxel_heart() -> None:
    """Voxels of 3 mm3 at (1,2,3), (2,2,3), (2,3,3); x = 10 + 2 x 3 mm, y = -1 + 7/3 / 2 mm, z = 3 x 5/3 mm in RAS+."""
    statistics = OrganStatistics.of(heart_of_three_voxels(), box=WHOLE, classes=3)

    heart, brain = statistics.table(ORGANS, FRAME, SHAPE)

    assert heart == OrganRow(
        index=1,
        name="heart",
        voxels=3,
        volume_mm3=pytest.approx(9.0),
        centroid_voxels=pytest.approx((5 / 3, 7 / 3, 3.0)),
        centroid_mm=pytest.approx((16.0, 1 / 6, 5.0)),
        box=Box((1, 2, 3), (3, 4, 4)),
        touches_border=False,
    )
    assert brain == OrganRow(2, "brain", 0, 0.0, None, None, None, touches_border=False)


@pytest.mark.parametrize("voxel", [(0, 2, 2), (3, 2, 2), (2, 0, 2), (2, 4, 2), (2, 2, 0), (2, 2, 5)])
def test_an_organ_at_a_face_of_the_volume_may_be_cut_off(voxel: tuple[int, int, int]) -> None:
    """Each of the six faces is noticed, by the volume's shape and not by the slab's."""
    segmentation = np.zeros(SHAPE, np.uint8)
    segmentation[voxel] = 2
    found = OrganStatistics.empty(3)
    for z in range(SHAPE[0]):
        found += OrganStatistics.of(segmentation[z : z + 1], box=Box((z, 0, 0), (z + 1, 5, 6)), classes=3)

    heart, brain = found.table(ORGANS, FRAME, SHAPE)

    assert brain.touches_border
    assert not heart.touches_border


@given(segmentation=segmentations, cuts=st.sets(st.integers(0, 4)), backwards=st.booleans())
def test_slabs_add_up_to_exactly_the_table_of_the_whole(
    segmentation: NDArray[np.uint8], cuts: set[int], backwards: bool
) -> None:
    """Whatever the slabs and their order, and through JSON between steps, no digit of the table changes."""
    edges = sorted({0, SHAPE[0]} | cuts)
    slabs = list(itertools.pairwise(edges))
    found = OrganStatistics.empty(3)
    for start, stop in reversed(slabs) if backwards else slabs:
        slab = OrganStatistics.of(segmentation[start:stop], box=Box((start, 0, 0), (stop, 5, 6)), classes=3)
        found = OrganStatistics.from_dict(json.loads(json.dumps((found + slab).to_dict())))

    whole = OrganStatistics.of(segmentation, box=WHOLE, classes=3)

    assert found == whole
    assert found.table(ORGANS, FRAME, SHAPE) == whole.table(ORGANS, FRAME, SHAPE)


@given(segmentation=segmentations)
def test_the_table_says_what_numpy_says(segmentation: NDArray[np.uint8]) -> None:
    """Voxels, centroid and box of each organ are those of its voxels' indices."""
    rows = OrganStatistics.of(segmentation, box=WHOLE, classes=3).table(ORGANS, FRAME, SHAPE)
    for row in rows:
        indices = np.argwhere(segmentation == row.index)
        assert row.voxels == len(indices)
        if row.centroid_voxels is None or row.box is None:
            assert not len(indices)
            continue
        np.testing.assert_allclose(row.centroid_voxels, indices.mean(axis=0))
        assert row.box == Box(tuple(indices.min(axis=0)), tuple(indices.max(axis=0) + 1))


def test_large_scans_do_not_overflow() -> None:
    """Sums over 3000 slices of a large scan stay exact: an organ far up in the volume has its centroid there."""
    slab = np.ones((1, 100, 100), np.uint8)
    far = Box((2_000_000_000, 0, 0), (2_000_000_001, 100, 100))

    row, _ = OrganStatistics.of(slab, box=far, classes=3).table(ORGANS, FRAME, (2_100_000_000, 200, 200))

    assert row.voxels == 10_000
    assert row.centroid_voxels == (2_000_000_000.0, 49.5, 49.5)


def test_rows_are_json() -> None:
    """A row is plain JSON, with null for what an organ that was not found does not have."""
    heart, brain = OrganStatistics.of(heart_of_three_voxels(), box=WHOLE, classes=3).table(ORGANS, FRAME, SHAPE)

    assert json.loads(json.dumps(heart.to_dict()))["box"] == {"start": [1, 2, 3], "stop": [3, 4, 4]}
    assert json.loads(json.dumps(brain.to_dict())) == {
        "index": 2,
        "name": "brain",
        "voxels": 0,
        "volume_mm3": 0.0,
        "centroid_voxels": None,
        "centroid_mm": None,
        "box": None,
        "touches_border": False,
    }


def test_volumes_are_in_mm3_where_axes_are_oblique() -> None:
    """A sheared voxel has the volume of its parallelepiped, not the product of its edges."""
    sheared = Frame.from_affine(np.array([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    heart, _ = OrganStatistics.of(heart_of_three_voxels(), box=WHOLE, classes=3).table(ORGANS, sheared, SHAPE)
    assert heart.volume_mm3 == pytest.approx(3.0)


def test_slabs_that_do_not_fit_are_refused() -> None:
    """A slab of another shape than its box, a class without an organ and a map of another size are all named."""
    slab = np.full((1, 5, 6), 3, np.uint8)
    with pytest.raises(ValueError, match="cannot fill a box"):
        OrganStatistics.of(slab, box=WHOLE, classes=4)
    with pytest.raises(ValueError, match="class index 3; the greatest is 2"):
        OrganStatistics.of(slab, box=Box.of_shape((1, 5, 6)), classes=3)
    with pytest.raises(ValueError, match="statistics of 3 organs; the map has 2"):
        OrganStatistics.empty(4).table(ORGANS, Frame.from_lps(Spacing(1, 1, 1)), SHAPE)
