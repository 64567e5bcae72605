"""The axes of a body: by its organs, its pairs, its heavier end; what is said where nothing tells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from scans.organs import OrganMap
from scans.shape.body_axes import BodyAxes, Told
from scans.shape.morphometry import measure
from scans.volume import Volume
from tests.scans.shape.ellipsoids import FISH, ORGANS, Ellipsoid, fish_volume, rotation

LATERAL = (0.0, 1.0, 0.0)


def axes_of(organs: Mapping[str, Ellipsoid], names: OrganMap = ORGANS) -> BodyAxes:
    return measure(fish_volume(organs, names=names), names).axes


def nameless(**organs: Ellipsoid) -> tuple[dict[str, Ellipsoid], OrganMap]:
    """Organs whose names tell nothing."""
    return organs, OrganMap.from_mapping(dict(enumerate(organs, 1)))


def test_head_left_and_back_are_told_by_organs_and_pairs() -> None:
    """The fish lies along x, its left towards y, its back towards z; its axes tilt by a degree or two as organs do."""
    axes = axes_of(FISH)
    assert axes.told == (Told.ORGANS, Told.PAIRS, Told.ORGANS)
    np.testing.assert_allclose(axes.matrix, np.eye(3), atol=0.15)
    np.testing.assert_allclose(axes.matrix @ axes.matrix.T, np.eye(3), atol=1e-9)
    assert axes.determined and not axes.mirrored


def test_a_fish_the_other_way_round_has_its_head_there() -> None:
    """Turned by 180 degrees about its back: head and left point the other way, the back does not."""
    axes = measure(fish_volume(turned=rotation((0, 0, 1), np.pi)), ORGANS).axes
    np.testing.assert_allclose(axes.matrix, np.diag([-1.0, -1.0, 1.0]), atol=0.15)


def test_a_mirror_image_is_noticed() -> None:
    """Names of both eyes exchanged: left is where the left eye is, and the back is not where it is in a fish."""
    swapped = {**FISH, "left_eye": FISH["right_eye"], "right_eye": FISH["left_eye"]}
    axes = axes_of(swapped)
    assert axes.mirrored
    np.testing.assert_allclose(axes.matrix, np.diag([1.0, -1.0, 1.0]), atol=0.15)


def test_without_names_the_heavier_end_is_the_head_and_the_shorter_side_the_width() -> None:
    """A trunk at +x with a thin tail, higher (z) than wide (y); its back is its lighter side, and left follows."""
    organs, names = nameless(trunk=Ellipsoid((0, 0, 0), (3, 0.7, 1.2)), tail=Ellipsoid((-6, 0, 0.5), (3, 0.3, 0.5)))
    axes = axes_of(organs, names)
    assert axes.told == (Told.WEIGHT, Told.OTHER_AXES, Told.WEIGHT)
    assert axes.matrix[0] @ [1, 0, 0] > 0.95
    assert abs(axes.matrix[1] @ LATERAL) > 0.95
    assert np.linalg.det(axes.matrix) == pytest.approx(1.0)


def test_without_back_or_belly_the_back_follows_from_head_and_left() -> None:
    """Eyes and a trunk: towards z, as in every fish that looks to x with its left towards y."""
    organs = {name: FISH[name] for name in ("left_eye", "right_eye")} | {"gonad": Ellipsoid((0, 0, 0), (4, 0.7, 1.2))}
    axes = axes_of(organs)
    assert axes.told == (Told.ORGANS, Told.PAIRS, Told.OTHER_AXES)
    np.testing.assert_allclose(axes.matrix, np.eye(3), atol=0.15)


def test_in_a_round_body_left_is_where_the_pairs_say() -> None:
    """Both shorter axes are alike, so that the principal ones could lie anyhow in their plane."""
    organs = {
        "left_eye": Ellipsoid((4, 1.0, 0), (0.6, 0.6, 0.6)),
        "right_eye": Ellipsoid((4, -1.0, 0), (0.6, 0.6, 0.6)),
        "gonad": Ellipsoid((0, 0, 0), (5, 1.6, 1.6)),
    }
    assert axes_of(organs).matrix[1] @ LATERAL == pytest.approx(1.0, abs=0.01)


def test_in_a_round_body_without_pairs_the_back_is_where_the_spine_is() -> None:
    """As wide as high, a spine at +z + y: the back points there, and not along whichever axis came out longer."""
    organs, names = nameless(
        brain=Ellipsoid((3.5, 0, 0), (1, 0.6, 0.6)),
        trunk=Ellipsoid((0, 0, 0), (4, 1, 1)),
        spine=Ellipsoid((0, 0.5, 0.5), (1, 0.2, 0.2)),
    )
    axes = axes_of(organs, names)
    assert axes.told == (Told.ORGANS, Told.OTHER_AXES, Told.ORGANS)
    assert axes.matrix[2] @ [0, np.sqrt(0.5), np.sqrt(0.5)] > 0.98
    assert np.linalg.det(axes.matrix) == pytest.approx(1.0) and axes.determined


def test_of_a_round_body_that_nothing_tells_back_from_belly_no_place_is_said() -> None:
    """As wide as high, and its organs on its middle: left and back could be anywhere."""
    organs, names = nameless(brain=Ellipsoid((3.5, 0, 0), (1, 0.6, 0.6)), trunk=Ellipsoid((0, 0, 0), (4, 1, 1)))
    axes = axes_of(organs, names)
    assert axes.told[2] is Told.SCAN and not axes.determined
    np.testing.assert_allclose(axes.matrix @ axes.matrix.T, np.eye(3), atol=1e-9)


def test_a_ball_has_no_length_that_means_anything() -> None:
    """Its axes are said not to be determined, and run along the scan's, as far as they run anywhere."""
    organs, names = nameless(ball=Ellipsoid((0, 0, 0), (2, 2, 2)))
    axes = axes_of(organs, names)
    assert not axes.determined
    assert set(axes.told) == {Told.SCAN, Told.OTHER_AXES}


def test_a_fish_that_is_the_same_at_both_ends_has_no_head() -> None:
    """Long, and nothing tells its ends apart: they run as the scan's axes do, and nobody may go by them."""
    organs, names = nameless(rod=Ellipsoid((0, 0, 0), (5, 1, 2)))
    axes = axes_of(organs, names)
    assert axes.told[0] is Told.SCAN and not axes.determined
    np.testing.assert_allclose(axes.matrix[0], (1, 0, 0), atol=1e-6)


def test_a_single_voxel_has_axes() -> None:
    """It is the box that it is: of 3 x 1 x 2 voxels' sides, its longest is its length."""
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = 6
    frame = fish_volume(spacing=fish_volume().spacing).frame
    found = measure(Volume.from_array(labels, frame), ORGANS)
    assert np.isfinite(found.axes.matrix).all()
    assert found.organs[5].extent_mm == pytest.approx((0.2, 0.2, 0.2))
