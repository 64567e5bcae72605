"""dvc.yaml against the code: an edit reruns what it must, because each stage depends on what it imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.stage_deps import PIPELINE, STAGES, Imports, rewritten, sections, stages
from training.params import Params

ROOT = Path(__file__).resolve().parents[2]
PASTE = "run `python -m tests.architecture.stage_deps`, or by hand in dvc.yaml, under deps of"


@pytest.fixture(scope="module")
def imports() -> Imports:
    return Imports()


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    monkeypatch.chdir(ROOT)
    return stages(PIPELINE.read_text(encoding="utf-8"))


def test_the_deps_on_code_are_the_modules_that_each_stage_imports(
    declared: Mapping[str, Any], imports: Imports
) -> None:
    """A stage has every module that it imports, directly or not, among its deps, and no other."""
    wrong = []
    for name, stage in declared.items():
        code = {dep for dep in stage["deps"] if dep.endswith(".py")}
        needed = set(imports.files(f"training.stages.{name}"))
        wrong += [f"{PASTE} {name} add:    - {path}" for path in sorted(needed - code)]
        wrong += [f"{PASTE} {name} remove: - {path}" for path in sorted(code - needed)]
    assert not wrong, "\n" + "\n".join(wrong)


def test_a_missing_dep_is_put_back_and_a_superfluous_one_taken_out(
    declared: Mapping[str, Any], imports: Imports
) -> None:
    """The command that the failure above names mends a dvc.yaml, and leaves a right one as it is."""
    right = PIPELINE.read_text(encoding="utf-8")
    wrong = right.replace("      - training/quality/roc.py\n", "      - training/phantom/fish.py\n")
    assert wrong != right
    assert stages(rewritten(wrong, imports)) == stages(right)
    assert rewritten(right, imports) == right


def test_what_is_imported_only_for_types_or_by_another_stage_is_no_dep(imports: Imports) -> None:
    """prepare reads volumes and makes fish: no network, no loss and no other stage has a part in it."""
    files = imports.files("training.stages.prepare")
    assert "training/data/prepared.py" in files
    assert "training/__init__.py" in files
    absent = {"training/learning/networks.py", "training/learning/losses.py", "training/stages/train_teacher.py"}
    assert not absent & set(files)


def test_stage_file_and_section_share_one_name(declared: Mapping[str, Any]) -> None:
    """Each stage of dvc.yaml is a file in training/stages and a section of params.yaml, and the other way round."""
    files = {path.stem for path in STAGES.glob("*.py")} - {"__init__"}
    assert set(declared) == files == {field.name for field in fields(Params)} - {"seed"}
    for name, stage in declared.items():
        assert stage["cmd"] == f"python -m training.stages.{name}"


def test_a_stage_declares_the_params_that_it_reads(declared: Mapping[str, Any]) -> None:
    """The seed, its own section, and every other section that its file asks for are params of the stage in DVC."""
    for name, stage in declared.items():
        keys = {entry.removeprefix("profiles.${profile}.").split(".")[0] for entry in stage["params"]}
        assert keys == {"seed", name} | sections(name), f"params of {name} in dvc.yaml"


def test_what_a_stage_reads_another_writes_or_git_keeps(declared: Mapping[str, Any]) -> None:
    """No dep on data comes from nowhere: it is an out of an earlier stage, the raw folder, or a tracked file."""
    written = {"${raw_dir}", "data/reviews.csv"}
    for name, stage in declared.items():
        data = {dep for dep in stage["deps"] if not dep.endswith(".py")}
        assert data <= written, f"{name} reads {sorted(data - written)}"
        written |= outs(stage)


def outs(stage: Mapping[str, Any]) -> set[str]:
    """Paths of all that a stage writes."""
    entries = [entry for key in ("outs", "metrics", "plots") for entry in stage.get(key, [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}
