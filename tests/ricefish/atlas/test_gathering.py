"""Many fish at once: one that is bad, or whose process dies, stops no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ricefish.atlas.gathering import gather
from ricefish.atlas.measuring import AtlasOptions, measure_fish
from ricefish.atlas.sources import AtlasSource
from scans.geometry import Spacing
from tests.ricefish.atlas.made_fish import save
from tests.scans.shape.ellipsoids import ORGANS, fish_volume

OPTIONS = AtlasOptions()


@dataclass(frozen=True)
class DeadlySource(AtlasSource):
    """A file that ends the process that measures it, as too large a one does where memory is short."""

    @property
    def shown(self) -> str:
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return "deadly.nii"


@pytest.fixture
def sources(tmp_path: Path) -> list[AtlasSource]:
    volume = fish_volume(spacing=Spacing(0.3, 0.3, 0.3))
    good = [AtlasSource(f"fish_{n}", save(tmp_path / f"fish_{n}.nii.gz", volume, ORGANS)) for n in range(3)]
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(good[0].path.read_bytes()[:400] if good[0].path else b"")
    return [good[0], AtlasSource("bad", bad), *good[1:]]


def test_one_by_one_a_bad_file_is_told_and_the_others_are_measured(sources: list[AtlasSource]) -> None:
    """Its reason names the file; progress reaches the end of each."""
    told: list[list[float]] = []
    gathered = gather(sources, OPTIONS, jobs=1, progress=lambda shares: told.append(list(shares)))
    assert [one.name for one in gathered.fish] == ["fish_0", "fish_1", "fish_2"]
    (failed,) = gathered.failed
    assert failed.name == "bad" and "bad.nii.gz: " in failed.why
    assert told[-1][0] == 1.0 and told[-1][3] == 1.0


def test_no_job_measures_nothing(sources: list[AtlasSource]) -> None:
    """Said in words."""
    with pytest.raises(ValueError, match="0 jobs"):
        gather(sources, OPTIONS, jobs=0, progress=lambda _: None)


@pytest.mark.process
def test_in_processes_it_is_the_same(sources: list[AtlasSource]) -> None:
    """To the last digit, in the order in which they were named."""
    alone = gather(sources, OPTIONS, jobs=1, progress=lambda _: None)
    told: list[list[float]] = []
    together = gather(sources, OPTIONS, jobs=3, progress=lambda shares: told.append(list(shares)))
    assert together == alone
    assert told[-1] == [1.0] * 4


@pytest.mark.process
def test_a_process_that_is_killed_takes_no_other_fish_with_it(sources: list[AtlasSource]) -> None:
    """SIGKILL while one is measured: it is named, with what to do, and all others are there."""
    deadly = DeadlySource("deadly", sources[0].path)
    gathered = gather([sources[0], deadly, *sources[2:]], OPTIONS, jobs=2, progress=lambda _: None)
    assert [one.name for one in gathered.fish] == ["fish_0", "fish_1", "fish_2"]
    (failed,) = gathered.failed
    assert failed.name == "deadly" and "want of memory" in failed.why


def test_a_record_has_what_was_measured_and_three_pictures(sources: list[AtlasSource]) -> None:
    """The fish of ellipsoids: PNG files as wide as it is long in mm, and a row for each organ of the map."""
    record = measure_fish(sources[0], OPTIONS)
    assert [organ.organ for organ in record.organs] == list(ORGANS.names)
    assert (record.determined, record.mirrored, record.touches_border) == (True, False, False)
    assert record.axes == "head: organs, left: pairs, back: organs"
    assert record.pictures.length_mm == pytest.approx(16, abs=1)
    for png in (record.pictures.side, record.pictures.top, record.pictures.front):
        assert png.startswith(b"\x89PNG")
    assert replace(record, name="x").organ("heart") == record.organs[3]
