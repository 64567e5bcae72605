"""Scans that a model should not trust itself with: each is what its name says, and the same at every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import drift, results
from benchmarks.unlike import KINDS
from scans.intensity import IntensityRule
from scans.model.drift import grey_quantiles, quantile_distance
from training.phantom.canvas import spacing_of

pytestmark = pytest.mark.slow

SHAPE = (40, 72, 72)
RULE = IntensityRule(0.5, 99.8)


@pytest.mark.parametrize("name", ["ordinary", "tail_first", "another_animal", "empty_tube", "misstated"])
def test_the_arguments_alone_decide_a_scan(name: str) -> None:
    """Made twice it is the same; another number is another scan; each is of the shape of ordinary ones."""
    make = KINDS[name].make
    first, again, other = make(5, 1), make(5, 1), make(5, 4)
    np.testing.assert_array_equal(first.grey, again.grey)
    assert first.spacing == again.spacing
    assert (first.grey != other.grey).mean() > 0.5
    assert first.grey.shape == SHAPE


def test_a_fish_that_is_turned_is_the_same_fish() -> None:
    """End for end: its brightest slices are as far from the other end; on its side: each slice is as bright."""
    ordinary, tail_first, on_its_side = (KINDS[name].make(5, 0) for name in ("ordinary", "tail_first", "on_its_side"))
    means = [scan.grey.mean(axis=(1, 2)) for scan in (ordinary, tail_first, on_its_side)]
    np.testing.assert_allclose(means[1][::-1], means[0], rtol=0.02)
    np.testing.assert_allclose(means[2], means[0], rtol=0.02)
    assert tail_first.spacing == on_its_side.spacing == spacing_of(SHAPE)


def test_a_fish_across_the_tube_is_scanned_as_finely_as_ever() -> None:
    """30 mm lie along y, 9.2 mm along z, and the spacing is that of ordinary scans."""
    across = KINDS["across"].make(5, 0)
    assert across.grey.shape == (12, 234, 72)
    assert across.spacing == spacing_of(SHAPE)


def test_grey_values_are_changed_as_described() -> None:
    """By hand from the ordinary scan."""
    grey = KINDS["ordinary"].make(5, 0).grey.astype(float)
    for name, expected in (("darker", 0.4 * grey), ("eight_bits", grey / 256), ("inverted", 65535 - grey)):
        np.testing.assert_allclose(KINDS[name].make(5, 0).grey, expected, atol=0.51)


def test_sampling_otherwise_is_no_other_fish() -> None:
    """The control of the turned ones has the grey values of an ordinary scan; the coarse one says that it is coarse."""
    ordinary, control, coarse = (KINDS[name].make(5, 0) for name in ("ordinary", "regridded", "coarse"))
    first, second = (grey_quantiles(RULE.window_of(scan.grey), scan.grey) for scan in (ordinary, control))
    assert quantile_distance(first, second) < 0.01
    assert coarse.grey.shape == (20, 36, 36) and coarse.spacing == spacing_of((20, 36, 36))
    assert tuple(KINDS["misstated"].make(5, 0).spacing) == pytest.approx([10 * mm for mm in ordinary.spacing])


def test_rows_of_the_same_model_and_seed_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was cut off goes on; another model or seed begins anew."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(results, "machine", dict)
    about: dict[str, Any] = {"model_sha256": "ab", "seed": 1}
    row = {"kind": "ordinary", "about": "fish", "scans": 4, "flagged": 1, "codes": {"confidence": 1}}
    path = results.write("drift", commit="c", rows=[row], about=about)
    assert json.loads(path.read_text())["seed"] == 1
    assert drift._before("drift", about) == [row]
    assert drift._before("drift", {**about, "seed": 2}) == [] == drift._before("other", about)
    assert [list(column.cells) for column in drift.table([row]).columns] == [["fish"], ["4"], ["25%"], ["confidence 1"]]
