"""What the benchmarks change, count and write down; no network is trained here."""

import dataclasses
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import clone, results, seeds
from benchmarks.effort import Effort
from training.params import load_params

PARAMS = yaml.safe_load((clone.REPOSITORY / "params.yaml").read_text(encoding="utf-8"))


def scores(teacher: float, control: float, student: float) -> dict[str, Any]:
    return {
        name: {"mean_dice": dice, "mean_iou": dice / 2, "organs": {"heart": {"dice": dice, "iou": dice / 2}}}
        for name, dice in (("teacher", teacher), ("control", control), ("student", student))
    }


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(PARAMS))
    return path


def effort(folder: Path) -> Effort:
    return Effort(Namespace(), quick=False, commit="abc", folder=folder)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[clone.Variant]:
    """Variants that were asked for, instead of being run; each Student is 0.1 better, and there are four fish."""
    variants: list[clone.Variant] = []

    def evaluate(variant: clone.Variant, *, name: str) -> clone.Outcome:
        variants.append(variant)
        return clone.Outcome(scores(0.5, 0.55, 0.6), seconds=2.0, restored=1, training_volumes=4)

    monkeypatch.setattr(clone, "evaluate", evaluate)
    monkeypatch.setattr(results, "machine", dict)
    return variants


def test_a_variant_changes_what_it_names_and_nothing_else(params: Path) -> None:
    """One number of a profile is another one, be it the profile's own or inherited; all else is as it was."""
    before = load_params(params)
    clone.Variant("demo", Path("/raw"), {"refine.threshold": 0.9}).write(params)
    written = yaml.safe_load(params.read_text())
    demo = {**PARAMS["profiles"]["demo"], "refine": {"threshold": 0.9}}
    profiles = {**PARAMS["profiles"], "demo": demo}
    assert written == {**PARAMS, "profile": "demo", "raw_dir": "/raw", "profiles": profiles}
    prepare = dataclasses.replace(before.prepare, raw_dir=Path("/raw"))
    refine = dataclasses.replace(before.refine, threshold=0.9)
    assert load_params(params) == dataclasses.replace(before, prepare=prepare, refine=refine)


@pytest.mark.parametrize(
    ("profile", "key", "message"),
    [
        ("demo", "refine.limit", "profiles.demo.refine.limit is unknown"),
        ("demo", "student.alpha", "profiles.demo.student is unknown"),
        ("paper", "refine.threshold.low", "profiles.paper.refine.threshold is"),
        ("mouse", "seed", "no profile mouse"),
    ],
)
def test_a_variant_that_cannot_be_is_refused(params: Path, profile: str, key: str, message: str) -> None:
    """A misspelt key or profile is an error that names it, not a row that measures nothing."""
    with pytest.raises(clone.BenchmarkError, match=message):
        clone.Variant(profile, Path("/raw"), {key: 1}).write(params)


def test_seeds_are_run_one_by_one_and_written_down(asked: list[clone.Variant], tmp_path: Path) -> None:
    """Each seed is one variant of a profile, the control with it; the file holds commit, means and the time."""
    seeds.measure([3, 4], clone.Variant("demo", Path("data/phantom")), effort(tmp_path))
    assert [variant.changes for variant in asked] == [{"prepare.seed": 3, "seed": 3}, {"prepare.seed": 4, "seed": 4}]
    written = json.loads((tmp_path / "seeds.json").read_text())
    assert (written["commit"], written["profile"]) == ("abc", "demo")
    assert written["rows"][0] == {
        "seed": 3,
        "teacher": {"mean_dice": 0.5, "mean_iou": 0.25},
        "control": {"mean_dice": 0.55, "mean_iou": 0.275},
        "student": {"mean_dice": 0.6, "mean_iou": 0.3},
        "seconds": 2.0,
        "stages_restored": 1,
    }
    assert seeds.wins(written["rows"]) == 2


def test_seeds_may_share_the_data(asked: list[clone.Variant], tmp_path: Path) -> None:
    """With a seed of the data of their own, the runs differ in weights and patches alone."""
    seeds.measure([3, 4], clone.Variant("demo", Path("data/phantom"), {"prepare.seed": 7}), effort(tmp_path))
    assert [(v.changes["prepare.seed"], v.changes["seed"]) for v in asked] == [(7, 3), (7, 4)]


def test_a_student_that_is_as_good_as_its_teacher_has_not_won() -> None:
    """Only a higher mean Dice counts."""
    even = {"teacher": {"mean_dice": 0.5}, "student": {"mean_dice": 0.5}}
    assert seeds.wins([even]) == 0


def test_differences_are_taken_seed_by_seed_with_the_interval_of_student_s_t() -> None:
    """+0.02, +0.04 and +0.06: a mean of 0.04, and 4.303 times 0.02 / sqrt(3) on each side; one seed has no interval."""
    rows = [
        {
            name: {"mean_dice": dice}
            for name, dice in (("teacher", start), ("control", start), ("student", start + gain))
        }
        for start, gain in ((0.5, 0.02), (0.7, 0.04), (0.6, 0.06))
    ]
    found = seeds.differences(rows)["student-teacher"]
    assert found["mean"] == pytest.approx(0.04)
    assert (found["low"], found["high"]) == pytest.approx((0.04 - 0.04968, 0.04 + 0.04968), abs=1e-4)
    assert seeds.differences(rows)["control-teacher"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert list(seeds.differences(rows[:1])["student-control"]) == ["mean"]
