"""Ricefish and independent readers see the same in files drawn at random; `python -m tests.sweep` draws thousands."""

from __future__ import annotations

import pytest

from tests.sweep.__main__ import KINDS, sweep


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_file_is_read_as_others_read_it(kind: str) -> None:
    """Voxels, voxel size and place; some files of each format."""
    assert [found for found in sweep([kind], files=12, seed=1_000_000) if found] == []
