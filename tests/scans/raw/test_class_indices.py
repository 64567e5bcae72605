"""Labels in the types that programs save them in become class indices, and what is no class is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from scans.raw.class_indices import as_text, class_indices


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_values_that_are_no_class_become_background_and_are_named(dtype: type[np.generic]) -> None:
    """With three classes, 3 is none; 255 is let through where labels may be of parts."""
    stored = np.array([0, 1, 2, 3, 255], dtype=dtype)
    indices, foreign = class_indices(stored, classes=3, not_labelled=False)
    assert indices.tolist() == [0, 1, 2, 0, 0] and as_text(foreign) == "3, 255"
    indices, foreign = class_indices(stored, classes=3, not_labelled=True)
    assert indices.tolist() == [0, 1, 2, 0, 255] and as_text(foreign) == "3"


def test_floating_point_is_whole_within_a_thousandth() -> None:
    """What resampling leaves of 1 is 1; half a class is none, and named with its digits."""
    indices, foreign = class_indices(np.float32([0.9995, 1.5, -0.2]), classes=3, not_labelled=True)
    assert indices.tolist() == [1, 0, 0] and as_text(foreign) == "-0.2, 1.5"


@given(arrays.arrays(np.int32, 5, elements=st.integers(-2, 300)), st.integers(2, 255), st.booleans())
def test_what_comes_out_is_a_class_and_what_was_one_is_kept(
    stored: np.ndarray, classes: int, not_labelled: bool
) -> None:
    """For every number of classes; some value is named exactly where one was none."""
    indices, foreign = class_indices(stored, classes=classes, not_labelled=not_labelled)
    allowed = [*range(classes), *([255] if not_labelled else [])]
    assert np.isin(indices, allowed).all()
    known = np.isin(stored, allowed)
    assert (indices[known] == stored[known]).all()
    assert set(foreign) == {float(value) for value in stored[~known]}
