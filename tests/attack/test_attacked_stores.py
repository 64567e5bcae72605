"""Damaged stores and strange calls: a few of each here, hundreds and thousands by `make attack ARGS=--long`."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from attack import calls, integrity, specimens
from attack.doctor import Examination
from attack.specimens import BROKEN, REFUSED
from attack.tally import Arena, Tally
from tests.serving.models import write_model

pytestmark = pytest.mark.process


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("attacked-model"))


def arena(folder: Path, model: Path) -> Arena:
    place = folder / "arena"
    place.mkdir()
    return Arena(place, folder / "kept", 1, model, lambda line: None)


def test_a_damaged_store_hands_out_nothing_wrong(tmp_path: Path, model: Path) -> None:
    """Bits of some files are flipped, and some files are gone: answers are right, or refused."""
    other = write_model(tmp_path / "other", thresholds=(0.3, 0.6))
    tally = integrity.attack(arena(tmp_path, model), flips=4, removals=2, other_model=other)
    assert tally.counts["places"] == 6
    wrong = [one for one in tally.findings if not one.what.startswith("doctor")]
    assert [f"{finding.what} ({finding.repeat})" for finding in wrong] == []
    assert tally.counts["answers: right"]


def test_generated_calls_have_documented_answers(tmp_path: Path, model: Path) -> None:
    """By everybody: only what the document has, no 5xx but 503 and 507, nothing without a valid key or of others."""
    tally = calls.attack(arena(tmp_path, model), calls=60)
    assert tally.counts["calls"] == 60
    assert [f"{finding.what} ({finding.repeat})" for finding in tally.findings] == []


def test_a_damage_is_named_by_its_file_or_by_what_it_was_for(tmp_path: Path) -> None:
    """A shard by its scan; the last note of a model by that model, for nothing else tells what the file was called."""
    shard = PurePosixPath("scans/5e88f922634b60fcf0972b4e3b9f4ad2/segmentation.ome.zarr/0/c/0/0/0")
    note = PurePosixPath("models/references/0aab97c05b8b8f2f5bdbd94fd0d39c3a.json")
    (tmp_path / note).parent.mkdir(parents=True)
    (tmp_path / note).write_text('{"versions": [{"identity": {"name": "medaka"}}]}', encoding="utf-8")
    said = "scan 5e88f922634b60fcf0972b4e3b9f4ad2, segmentation.ome.zarr"
    assert Examination(said, 1, tmp_path).verdict(shard) == "names it"
    assert Examination(said, 0, tmp_path).verdict(shard) == "sees nothing"
    assert Examination(said, 1, tmp_path).verdict(note) == "names something else"
    lost = "the note of what was served as {} is gone; scan 1 began with it"
    assert Examination(lost.format("medaka"), 1, tmp_path).names(note)
    assert not Examination(lost.format("zebrafish"), 1, tmp_path).names(note)


def test_what_is_wrong_is_a_finding(tmp_path: Path) -> None:
    """An answer that is another, which is kept, and a 500; one that is refused or broken off is none."""
    damage = integrity.Damage(PurePosixPath("scans/1/segmentation.ome.zarr/0/c/0/0/0"), 3)
    answers = {"a": b"other", "b": f"{REFUSED}: 500", "c": f"{REFUSED}: 503", "d": f"{BROKEN}: ReadError", "e": b"true"}
    tally = Tally("integrity")
    truth = dict.fromkeys(answers, b"true")
    place = arena(tmp_path, tmp_path)
    integrity._judge(tally, place, damage, "a scan", truth=truth, found=answers, repeat="so")
    assert [one.what for one in tally.findings] == [
        "other a of a scan, shard damaged",
        "500 for b of a scan, shard damaged",
    ]
    assert dict(tally.counts) == {"answers: refused": 1, "answers: broken off": 1, "answers: right": 1}
    assert {file.name: file.read_bytes() for file in place.kept.iterdir()} == {
        "integrity-0-found": b"other",
        "integrity-0-true": b"true",
    }


def test_the_same_voxels_in_other_bytes_are_the_same_answer() -> None:
    """ISA-L does not pack them alike every time; another voxel, or another tag, is another answer."""
    voxels = np.zeros((3, 8, 8), np.uint8)
    other = voxels.copy()
    other[2, 7, 7] = 1
    packed = [_tiff(voxels, level=level) for level in (1, 9)]
    assert packed[0] != packed[1]
    assert specimens.unpacked(packed[0]) == specimens.unpacked(packed[1])
    assert specimens.unpacked(packed[0]) != specimens.unpacked(_tiff(other, level=1))
    assert specimens.unpacked(packed[0]) != specimens.unpacked(_tiff(voxels, level=1, description="other"))
    assert specimens.unpacked(b"no TIFF") == b"no TIFF"


def _tiff(voxels: NDArray[np.uint8], *, level: int, description: str = "labels") -> bytes:
    file = io.BytesIO()
    arguments = {"compression": "zlib", "compressionargs": {"level": level}, "description": description}
    tifffile.imwrite(file, voxels, photometric="minisblack", metadata=None, **arguments)
    return file.getvalue()
