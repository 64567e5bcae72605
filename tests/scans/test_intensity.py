"""Intensity: windows from percentiles by hand, and a sample that depends on the voxels alone."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from scans.geometry import Spacing, Triple
from scans.intensity import IntensityRule, Window, sample, stride
from scans.volume import ArrayVoxels, Volume

RULE = IntensityRule(lower_percentile=10.0, upper_percentile=90.0)
MILLIMETRES = Spacing(1, 1, 1)


@dataclass(frozen=True)
class WatchedVoxels(ArrayVoxels):
    """Voxels that write down which slices are read."""

    reads: list[tuple[int, int]] = field(default_factory=list)

    def read(self, start: int, stop: int) -> NDArray[np.generic]:
        """Slices [start, stop)."""
        self.reads.append((start, stop))
        return super().read(start, stop)


def test_a_window_maps_its_ends_to_nought_and_one() -> None:
    """-100..300: -100 is 0, 0 is a quarter, 300 is 1, and what lies outside is clipped."""
    normalised = Window(-100.0, 300.0).normalise(np.array([-2000, -100, 0, 300, 5000], dtype=np.int16))

    assert normalised.dtype == np.float32
    assert normalised.tolist() == [0.0, 0.0, 0.25, 1.0, 1.0]


@given(
    grey=arrays(np.float32, (2, 3), elements=st.floats(-1e6, 1e6, width=32)),
    lower=st.floats(-1e5, 1e5, width=32),
    width=st.floats(1, 1e5, width=32),
)
def test_normalised_values_stay_in_range(grey: NDArray[np.float32], lower: float, width: float) -> None:
    """Whatever the grey values and the window, the network sees 0..1, in the order of the grey values."""
    normalised = Window(lower, lower + width).normalise(grey)
    assert ((normalised >= 0) & (normalised <= 1)).all()
    order = np.argsort(grey, axis=None)
    assert (np.diff(normalised.ravel()[order]) >= 0).all()


@pytest.mark.parametrize(("lower", "upper"), [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_windows_that_map_nothing_are_refused(lower: float, upper: float) -> None:
    """A window has two finite ends in order."""
    with pytest.raises(ValueError, match="window"):
        Window(lower, upper)


@pytest.mark.parametrize(("lower", "upper"), [(-1.0, 50.0), (50.0, 101.0), (50.0, 50.0), (90.0, 10.0)])
def test_percentiles_out_of_order_are_refused(lower: float, upper: float) -> None:
    """Percentiles are 0..100, the lower one first."""
    with pytest.raises(ValueError, match="percentiles"):
        IntensityRule(lower, upper)


def test_percentiles_of_eleven_values() -> None:
    """Of 0, 10 ... 100 the tenth percentile is 10 and the ninetieth 90; in between it is in proportion."""
    values = np.arange(0, 101, 10, dtype=np.uint8)
    assert RULE.window_of(values) == Window(10.0, 90.0)
    assert IntensityRule(5.0, 100.0).window_of(values) == Window(5.0, 100.0)


def test_extremes_do_not_move_the_window() -> None:
    """A few hot voxels, as metal or a broken pixel leaves, lie outside."""
    values = np.concatenate([np.full(50, 100), np.full(50, 200), [60_000]]).astype(np.uint16)
    assert RULE.window_of(values) == Window(100.0, 200.0)


@pytest.mark.parametrize("grey", [0.0, 7.0, -5.5, 1e9, 4_294_967_295.0, -1e20])
def test_a_volume_of_one_grey_value_has_a_window(grey: float) -> None:
    """Blank volumes work at every grey value, also where float32 cannot tell it from the next whole number."""
    volume = Volume.from_array(np.full((2, 3, 3), grey), MILLIMETRES)
    window = RULE.window(volume)
    assert window.lower == np.float32(grey)
    assert (window.normalise(volume.read()) == 0).all()


def test_grey_values_beyond_float32_are_refused() -> None:
    """The model computes in float32: 1e300 has no window, and no warning is all that is said of it."""
    with pytest.raises(ValueError, match="finite"):
        RULE.window_of(np.array([0.0, 1e300, 1e300]))


def test_no_grey_values_are_refused() -> None:
    """An empty sample has no percentiles."""
    with pytest.raises(ValueError, match="no grey values"):
        RULE.window_of(np.zeros(0))


def test_a_fixed_window_is_used_unread() -> None:
    """Where grey values are calibrated no voxel is read to find the window."""
    voxels = WatchedVoxels(np.zeros((4, 4, 4)))
    fixed = Window(-160.0, 240.0)
    assert (
        IntensityRule(0.5, 99.5, fixed).window(
            Volume(voxels, Volume.from_array(np.zeros((1, 1, 1)), MILLIMETRES).frame)
        )
        == fixed
    )
    assert voxels.reads == []


def test_the_window_of_a_small_volume_is_that_of_all_its_voxels() -> None:
    """A volume below the sample's size is measured whole."""
    grey = np.random.default_rng(0).integers(0, 5000, (6, 20, 20)).astype(np.uint16)
    lower, upper = np.percentile(grey, [10, 90])
    window = RULE.window(Volume.from_array(grey, MILLIMETRES))
    assert (window.lower, window.upper) == (np.float32(lower), np.float32(upper))


def test_a_sample_is_every_nth_voxel_along_each_axis() -> None:
    """Of 4 x 4 x 4 voxels at most 8 are 2 x 2 x 2 of them, at even indices."""
    grey = np.arange(64).reshape(4, 4, 4)
    volume = Volume.from_array(grey, MILLIMETRES)
    assert stride((4, 4, 4), 8) == 2
    assert sample(volume, 8).tolist() == grey[::2, ::2, ::2].ravel().tolist() == [0, 2, 8, 10, 32, 34, 40, 42]


@given(shape=st.tuples(*[st.integers(1, 300)] * 3), voxels=st.integers(1, 100_000))
def test_the_step_is_the_least_that_keeps_the_sample_small(shape: Triple, voxels: int) -> None:
    """The sample holds at most what was asked for, and one step less would hold more."""

    def taken(step: int) -> int:
        z, y, x = (len(range(0, n, step)) for n in shape)
        return z * y * x

    step = stride(shape, voxels)
    assert taken(step) <= voxels
    assert step == 1 or taken(step - 1) > voxels


def test_a_sample_reads_upwards_and_no_slice_twice() -> None:
    """Compressed files are unpacked once: slices are read one at a time in ascending order."""
    voxels = WatchedVoxels(np.zeros((9, 30, 30), np.uint8))
    volume = Volume(voxels, Volume.from_array(np.zeros((1, 1, 1)), MILLIMETRES).frame)

    assert len(sample(volume, 300)) == 3 * 10 * 10
    assert voxels.reads == [(0, 1), (3, 4), (6, 7)]
