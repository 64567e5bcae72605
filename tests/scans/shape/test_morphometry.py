"""Morphometry of ellipsoids and boxes by hand, in any pose, on any grid, in slabs of any depth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scans.geometry import Frame, Spacing
from scans.organs import OrganMap
from scans.shape import crops, morphometry
from scans.shape.morphometry import FishShape, NothingLabelled, OrganShape, measure
from scans.volume import Volume
from tests.scans.shape.ellipsoids import FISH, ORGANS, Ellipsoid, fish_volume, rotation

FINE = Spacing(0.1, 0.1, 0.1)
POSES = [
    (permutation, signs)
    for permutation in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
"""All ways in which the axes of an array may run."""


def by_name(shape: FishShape) -> dict[str, OrganShape]:
    return {organ.name: organ for organ in shape.organs}


def assert_alike(one: FishShape, other: FishShape, *, within_mm: float, share: float) -> None:
    """Sizes and areas to a share, places and extents to so many mm, the same organs found and cut off."""
    for a, b in zip(one.organs, other.organs, strict=True):
        assert (a.name, a.found, a.touches_border, a.paired) == (b.name, b.found, b.touches_border, b.paired)
        assert a.volume_mm3 == pytest.approx(b.volume_mm3, rel=share)
        assert a.share == pytest.approx(b.share, rel=share)
        assert a.surface_mm2 == pytest.approx(b.surface_mm2, rel=share)
        assert a.place_mm == pytest.approx(b.place_mm, abs=within_mm)
        assert a.extent_mm == pytest.approx(b.extent_mm, abs=within_mm)
        assert a.asymmetry == pytest.approx(b.asymmetry, abs=share)


def test_a_ball_by_hand() -> None:
    """Radius 2 mm: 33.51 mm3, 50.27 mm2, sphericity 1, 4 mm along every axis, at its own middle, both halves alike."""
    organs = OrganMap.from_mapping({1: "gonad"})
    volume = fish_volume({"gonad": Ellipsoid((5, -3, 2), (2, 2, 2))}, names=organs, spacing=FINE)
    (ball,) = measure(volume, organs).organs
    assert ball.volume_mm3 == pytest.approx(4 / 3 * math.pi * 8, rel=0.01)
    assert ball.surface_mm2 == pytest.approx(4 * math.pi * 4, rel=0.02)
    assert ball.sphericity == pytest.approx(1.0, abs=0.02)
    assert ball.place_mm == pytest.approx((0, 0, 0), abs=1e-9)
    assert ball.extent_mm == pytest.approx((4, 4, 4), abs=0.11)
    assert ball.asymmetry == pytest.approx(0.0, abs=0.01)
    assert (ball.share, ball.touches_border, ball.surface_step) == (1.0, False, 1)


def test_a_box_by_hand() -> None:
    """40 x 8 x 5 voxels of 0.5 x 1 x 2 mm: 20 x 8 x 10 mm, along x, y, z; a second organ of one voxel behind it."""
    labels = np.zeros((9, 12, 50), np.uint8)
    labels[2:7, 2:10, 4:44] = 1
    labels[4, 5, 46] = 2
    organs = OrganMap.from_mapping({1: "liver", 2: "gut", 3: "gonad"})
    shape = measure(Volume.from_array(labels, Spacing(2, 1, 0.5)), organs)
    liver, gut, gonad = shape.organs
    assert (liver.volume_mm3, gut.volume_mm3) == (pytest.approx(1600), pytest.approx(1))
    assert liver.share == pytest.approx(1600 / 1601)
    assert liver.surface_mm2 == pytest.approx(2 * (20 * 8 + 20 * 10 + 8 * 10), rel=0.1)  # edges are rounded
    assert liver.extent_mm == pytest.approx((20, 8, 10), abs=0.1)
    assert gonad == OrganShape(3, "gonad")
    assert shape.share_of == "labelled organs"


def test_an_ellipsoid_along_its_own_axes() -> None:
    """Turned anyhow in the scan, it is 12 x 2.4 x 4 mm along its body's axes, which no axis of the scan is."""
    organs = OrganMap.from_mapping({1: "gonad"})
    turned = rotation((1, 2, 3), 0.8)
    volume = fish_volume({"gonad": Ellipsoid((0, 0, 0), (6, 1.2, 2))}, names=organs, turned=turned, spacing=FINE)
    (found,) = measure(volume, organs).organs
    assert found.extent_mm == pytest.approx((12, 2.4, 4), abs=0.15)


def test_the_fish_in_its_own_coordinates() -> None:
    """Every organ has the size, the length along the body and the place towards the head that it was given."""
    shape = measure(fish_volume(spacing=FINE), ORGANS)
    head, *_ = shape.axes.centre_mm
    for name, organ in by_name(shape).items():
        given_ = FISH[name]
        assert organ.volume_mm3 == pytest.approx(given_.volume_mm3, rel=0.05)
        assert organ.place_mm is not None and organ.extent_mm is not None
        assert organ.place_mm[0] == pytest.approx(given_.middle[0] - head, abs=0.35)
        assert organ.extent_mm[0] == pytest.approx(2 * given_.radii[0], abs=0.35)


def test_asymmetry_of_a_pair_and_of_an_organ_that_lies_left() -> None:
    """A left eye of twice the right one's volume: (2 - 1) / (2 + 1); of a heart wholly on the left: 1."""
    larger = Ellipsoid(FISH["left_eye"].middle, (1.8, 0.7, 0.9))
    fish = {**FISH, "left_eye": larger, "heart": Ellipsoid((2, 1.5, -1.5), (0.8, 0.5, 0.7))}
    organs = by_name(measure(fish_volume(fish, spacing=FINE), ORGANS))
    assert organs["left_eye"].asymmetry == organs["right_eye"].asymmetry == pytest.approx(1 / 3, abs=0.02)
    assert organs["heart"].asymmetry == pytest.approx(1.0)
    assert (organs["left_eye"].paired, organs["heart"].paired) == (True, False)


def test_sides_are_words_of_a_name() -> None:
    """`cleft_right` is a right organ: of three voxels left and one right, (3 - 1) / (3 + 1), whichever comes first."""
    labels = np.zeros((5, 5, 9), np.uint8)
    labels[2, 2, 1:4] = 1
    labels[2, 2, 6] = 2
    volume = Volume.from_array(labels, Spacing(1, 1, 1))
    organs = measure(volume, OrganMap.from_mapping({1: "cleft_left", 2: "cleft_right"})).organs
    assert [organ.asymmetry for organ in organs] == [0.5, 0.5]


def test_an_organ_that_is_cut_off_says_so_and_has_no_asymmetry() -> None:
    """The scan ends within the left eye: its pair has none either; all the others have."""
    volume = fish_volume()
    place = np.argwhere(volume.read() == 1)[:, 1]
    cut = Volume.from_array(volume.read()[:, : place.max()], volume.frame)
    shape = measure(cut, ORGANS)
    organs = by_name(shape)
    assert shape.touches_border
    assert {name for name, organ in organs.items() if organ.touches_border} == {"left_eye"}
    assert {name for name, organ in organs.items() if organ.asymmetry is None} == {"left_eye", "right_eye"}


def test_shares_are_of_the_fish_where_a_label_is_its_body() -> None:
    """The body is what no organ takes; all labels together are the fish."""
    organs = OrganMap.from_mapping({1: "body", 2: "gonad"})
    fish = {"body": Ellipsoid((0, 0, 0), (6, 1.5, 2)), "gonad": Ellipsoid((-1, 0, 0), (2, 0.5, 1))}
    shape = measure(fish_volume(fish, names=organs, spacing=FINE), organs)
    assert shape.share_of == "fish"
    assert shape.organs[1].share == pytest.approx((2 * 0.5 * 1) / (6 * 1.5 * 2), rel=0.03)


@settings(max_examples=25)
@given(pose=st.sampled_from(POSES), axis=st.tuples(*[st.floats(-1, 1)] * 3), angle=st.floats(0, 6))
def test_how_the_array_runs_and_lies_in_the_world_changes_nothing(
    pose: tuple[tuple[int, ...], tuple[int, ...]], axis: tuple[float, float, float], angle: float
) -> None:
    """Axes in another order, backwards or not, in a frame that is turned and moved: the same fish."""
    volume = fish_volume(spacing=Spacing(0.4, 0.3, 0.2))
    permutation, signs = pose
    labels = volume.read().transpose(permutation)[tuple(slice(None, None, sign) for sign in signs)]
    index = np.zeros((4, 4))
    index[3, 3] = 1
    for new, (old, sign) in enumerate(zip(permutation, signs, strict=True)):
        index[2 - old, 2 - new] = sign
        index[2 - old, 3] = 0 if sign == 1 else volume.shape[old] - 1
    turn = np.eye(4)
    turn[:3, :3] = rotation(axis, angle) if np.linalg.norm(axis) > 0.1 else np.eye(3)
    turn[:3, 3] = (5, -6, 7)
    moved = Volume.from_array(np.ascontiguousarray(labels), Frame.from_affine(turn @ volume.frame.matrix @ index))
    assert_alike(measure(volume, ORGANS), measure(moved, ORGANS), within_mm=1e-4, share=0.01)


@settings(max_examples=15)
@given(axis=st.tuples(*[st.floats(-1, 1)] * 3), angle=st.floats(0, 6))
def test_how_the_fish_lies_in_the_scan_changes_no_more_than_voxels_do(
    axis: tuple[float, float, float], angle: float
) -> None:
    """Turned by any angle about any axis, and scanned anew with voxels twice as high as wide: within a voxel or two."""
    turned = rotation(axis, angle) if np.linalg.norm(axis) > 0.1 else np.eye(3)
    straight = measure(fish_volume(spacing=FINE), ORGANS)
    anew = measure(fish_volume(turned=turned, spacing=Spacing(0.2, 0.1, 0.15)), ORGANS)
    assert_alike(straight, anew, within_mm=0.4, share=0.12)
    assert straight.axes.told == anew.axes.told


def test_slabs_rounds_and_thinning_change_nothing_but_the_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by single slices, in several rounds: the same. Of thinned boxes: only areas differ, and rows say so."""
    volume = fish_volume(spacing=FINE)
    whole = measure(volume, ORGANS)
    monkeypatch.setattr(morphometry, "_SLAB_VOXELS", 1)
    monkeypatch.setattr(crops, "_HELD_VOXELS", 30_000)
    assert_alike(measure(volume, ORGANS), whole, within_mm=1e-9, share=1e-6)
    monkeypatch.setattr(crops, "_BOX_VOXELS", 8_000)
    thin = by_name(measure(volume, ORGANS))
    for name, organ in by_name(whole).items():
        assert thin[name].surface_mm2 == pytest.approx(organ.surface_mm2, rel=0.12)
    assert (thin["heart"].surface_step, thin["spine"].surface_step) == (1, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [(255, "holds 255, not labelled"), (7, "holds the value 7, which is no organ's; organs are 1 to 6")],
)
def test_labels_that_say_no_size_are_refused(value: int, message: str) -> None:
    """Those of a part of the fish, and of organs that there are not."""
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = value
    with pytest.raises(ValueError, match=message):
        measure(Volume.from_array(labels, FINE), ORGANS)


def test_where_nothing_is_labelled_nothing_is_measured() -> None:
    """Said in words; progress is told up to its end where there is something."""
    with pytest.raises(NothingLabelled, match="no voxel is of any organ"):
        measure(Volume.from_array(np.zeros((3, 3, 3), np.uint8), FINE), ORGANS)
    told: list[float] = []
    measure(fish_volume(), ORGANS, report=told.append)
    assert told == sorted(told) and told[-1] == 1.0
