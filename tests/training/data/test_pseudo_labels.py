"""The store of pseudo-labels and the list of those that were kept."""

from pathlib import Path

import numpy as np
import pytest

from scans.geometry import Box
from training.data.prepared import SliceReader
from training.data.pseudo_labels import (
    Confidence,
    KeptSlice,
    PseudoLabelError,
    PseudoLabelReader,
    PseudoLabelWriter,
    read_refined,
    write_refined,
)

LABELS = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
CONFIDENCE = Confidence(
    np.array([0.1, 0.2, 0.3, 0.4, 0.5], dtype=np.float32), np.array([[0.5, np.nan]] * 5, dtype=np.float32)
)


def slab(start: int, stop: int) -> Box:
    return Box((start, 0, 0), (stop, 3, 4))


def test_slabs_are_read_back_slice_by_slice(tmp_path: Path) -> None:
    """Labels and confidence that were written in slabs of 2, 2 and 1 slices come back, by the training's reader too."""
    with PseudoLabelWriter(tmp_path, "fish", (5, 3, 4)) as writer:
        for start, stop in ((0, 2), (2, 4), (4, 5)):
            writer.write(slab(start, stop), LABELS[start:stop], Confidence(*(part[start:stop] for part in CONFIDENCE)))
    reader = PseudoLabelReader(tmp_path)
    assert np.array_equal(reader.labels("fish", 3), LABELS[3])
    assert reader.labels("fish", 3).dtype == np.uint8
    assert np.array_equal(reader.confidence("fish"), CONFIDENCE.slices)
    np.testing.assert_array_equal(reader.organ_confidence("fish"), CONFIDENCE.organs)
    assert np.array_equal(SliceReader(tmp_path, cache_megabytes=1).labels("fish", 4), LABELS[4])


def test_a_slab_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """A slab out of order, and a volume whose last slab never came, are refused, and say which slice was due."""
    writer = PseudoLabelWriter(tmp_path, "fish", (5, 3, 4))
    writer.write(slab(0, 2), LABELS[:2])
    with pytest.raises(PseudoLabelError, match="fish: slab at slice 3; the next slice is 2"):
        writer.write(slab(3, 5), LABELS[3:])
    with pytest.raises(PseudoLabelError, match="fish: 2 of 5 slices"):
        writer.close()


def test_a_volume_without_pseudo_labels_is_named(tmp_path: Path) -> None:
    """Asking for a volume that the Teacher never saw names its folder."""
    with pytest.raises(PseudoLabelError, match=r"medaka\.zarr does not exist"):
        PseudoLabelReader(tmp_path).labels("medaka", 0)


def test_kept_slices_come_back_in_order(tmp_path: Path) -> None:
    """What was kept is read back by volume and slice, whatever order it was written in."""
    kept = [KeptSlice("b", 0, 0.5), KeptSlice("a", 7, 1.0), KeptSlice("a", 2, 0.625)]
    write_refined(tmp_path, kept, volumes={})
    assert read_refined(tmp_path) == (KeptSlice("a", 2, 0.625), KeptSlice("a", 7, 1.0), KeptSlice("b", 0, 0.5))


def test_a_malformed_row_is_named(tmp_path: Path) -> None:
    """A hand-edited refined.json is refused with the number of the row at fault."""
    (tmp_path / "refined.json").write_text('{"kept": [["a", 1, 0.5], ["a", "2", 0.5]], "volumes": {}}')
    with pytest.raises(PseudoLabelError, match=r"refined.json: kept\[1\] is \['a', '2', 0.5\]"):
        read_refined(tmp_path)
