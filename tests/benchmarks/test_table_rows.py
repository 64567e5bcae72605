"""The rows of Tables 1 and 2: what each of them changes, on every profile. No network is trained here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import clone
from benchmarks.tables import measuring
from benchmarks.tables.measuring import Protocol, measured
from benchmarks.tables.rows import ROWS, TABLES, WHOLE
from training.params import Params, load_params


def test_teacher_and_control_are_those_of_the_run_with_all_switches_on() -> None:
    """Three rows of one run, which needs no second clone; fully supervised is a network of its own, of new weights."""
    assert ROWS["teacher"].changes == ROWS["control"].changes == ROWS["all"].changes
    assert [ROWS[name].network for name in ("teacher", "control", "all")] == ["teacher", "control", "student"]
    assert not any(on for switch, on in ROWS["supervised"].changes.items() if switch.startswith("train_student"))


@pytest.mark.parametrize("table", TABLES)
def test_every_row_can_be_run_on_every_profile(table: int, tmp_path: Path) -> None:
    """Its addresses are those of values that there are."""
    content = (clone.REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    for profile in yaml.safe_load(content)["profiles"]:
        for name in TABLES[table]:
            assert _in_force(profile, {**ROWS[name].changes, "seed": 3}, tmp_path).seed == 3


@pytest.mark.parametrize("profile", ["demo", "headneck_ct", "paper", "strong"])
def test_a_row_and_its_control_draw_and_change_patches_alike(profile: str, tmp_path: Path) -> None:
    """In force, whatever the profile states beside what the rows change."""
    for row in ROWS.values():
        own, control = (
            _in_force(profile, changes, tmp_path).train_student for changes in (row.changes, ROWS[row.control].changes)
        )
        assert (own.augmentation, own.sampling) == (control.augmentation, control.sampling)
        assert own.schedule == control.schedule


@pytest.mark.parametrize("profile", ["demo", "headneck_ct", "paper", "strong"])
def test_strong_rows_change_the_patches_of_teacher_and_student(profile: str, tmp_path: Path) -> None:
    """Also where a profile states another noise for its Student."""
    params = _in_force(profile, ROWS["strong"].changes, tmp_path)
    for augmentation in (params.train_teacher.augmentation, params.train_student.augmentation):
        assert (augmentation.noise, augmentation.gamma, augmentation.class_contrast) == (0.1, 0.5, 0.2)


def _in_force(profile: str, changes: Mapping[str, Any], folder: Path) -> Params:
    path = folder / "params.yaml"
    path.write_text((clone.REPOSITORY / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    clone.Variant(profile, Path("/raw"), changes).write(path)
    return load_params(path)


@pytest.mark.parametrize(("profile", "axis", "epochs"), [("demo", "x", 8), ("headneck_ct", "y", 12)])
def test_a_row_knows_what_its_profile_has(
    profile: str, axis: str, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole's mirror images lie along the axis that patches are mirrored along there, and its second Teacher has
    twice the first one's epochs."""
    asked: list[clone.Variant] = []

    def evaluate(variant: clone.Variant, *, name: str) -> clone.Outcome:
        asked.append(variant)
        raise clone.BenchmarkError(name)

    monkeypatch.setattr(clone, "evaluate", evaluate)
    protocol = Protocol(1, (WHOLE,), (2,), (1,), clone.Variant(profile, Path("/raw")))
    with pytest.raises(clone.BenchmarkError):
        list(measured(protocol, []))
    assert asked[0].changes.get("pseudo_label.mirror") is None, "its control has neither"
    assert ROWS[WHOLE].mirrored and ROWS[WHOLE].longer == 2
    monkeypatch.setattr(measuring, "ROWS", {WHOLE: dataclasses.replace(ROWS[WHOLE], control=WHOLE)})
    with pytest.raises(clone.BenchmarkError):
        list(measured(protocol, []))
    params = asked[-1].params()
    assert (params.pseudo_label.mirror, params.pseudo_label.schedule.epochs) == (axis, epochs)
    assert params.pseudo_label.second_teacher == "slices"


def test_a_new_field_changes_no_row_that_does_not_state_it() -> None:
    """Else a table that goes on would be measured anew; what a row states counts, its label does not."""
    row = ROWS["mirrored"]
    assert dataclasses.replace(row, label="another").sha256 == row.sha256
    assert dataclasses.replace(row, mirrored=False).sha256 != row.sha256
    assert dataclasses.replace(row, longer=2).sha256 != row.sha256
    assert len({ROWS[name].sha256 for name in ("strong", "mirrored", "two_teachers", "heavy", WHOLE)}) == 5
