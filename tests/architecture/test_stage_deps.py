"""dvc.yaml against the code: an edit reruns what it must, because each stage depends on what it imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.stage_deps import PIPELINE, STAGES, Imports, is_code, rewritten, sections, stages
from training.params import Params
from training.recipe import Supervised

ROOT = Path(__file__).resolve().parents[2]
PASTE = "run `make deps`, or by hand in dvc.yaml, under deps of"


@pytest.fixture(scope="module")
def imports() -> Imports:
    return Imports()


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    monkeypatch.chdir(ROOT)
    return stages(PIPELINE.read_text(encoding="utf-8"))


def test_the_deps_on_code_are_the_packages_that_each_stage_imports(
    declared: Mapping[str, Any], imports: Imports
) -> None:
    """A stage depends on every package of which it imports a module, directly or not, and on no other."""
    wrong = []
    for name, stage in declared.items():
        code = {dep for dep in stage["deps"] if is_code(dep)}
        needed = set(imports.deps(f"training.stages.{name}"))
        wrong += [f"{PASTE} {name} add:    {path}" for path in sorted(needed - code)]
        wrong += [f"{PASTE} {name} remove: {path}" for path in sorted(code - needed)]
    assert not wrong, "\n" + "\n".join(wrong)


def test_a_missing_dep_is_put_back_and_a_superfluous_one_taken_out(
    declared: Mapping[str, Any], imports: Imports
) -> None:
    """The command that the failure above names mends a dvc.yaml, and leaves a right one as it is."""
    right = PIPELINE.read_text(encoding="utf-8")
    wrong = right.replace(" training/quality,", " training/phantom,").replace(" scans/tiling.py,", "")
    assert wrong != right
    assert stages(rewritten(wrong, imports)) == stages(right)
    assert rewritten(right, imports) == right


def test_what_is_imported_only_for_types_or_by_another_stage_is_no_dep(imports: Imports) -> None:
    """prepare reads volumes and makes fish: no network, no loss and no other stage has a part in it."""
    deps = imports.deps("training.stages.prepare")
    assert {"training/data", "training/__init__.py", "training/stages/prepare.py", "scans/volume.py"} <= set(deps)
    assert not {"training/learning", "training/stages", "training/stages/train_teacher.py", "scans"} & set(deps)


def test_only_export_and_register_depend_on_what_a_model_says_of_itself(declared: Mapping[str, Any]) -> None:
    """Manifest, golden slice and drift limits are written after everything has been trained."""
    assert [name for name, stage in declared.items() if "scans/model" in stage["deps"]] == ["export", "register"]


def test_no_stage_that_learns_can_read_the_truth_of_what_has_no_labels(
    declared: Mapping[str, Any], imports: Imports
) -> None:
    """Of synthetic fish it is known: prepare writes it, refine compares with it what it has kept, and nobody else."""
    reaching = [name for name in declared if "training.data.truth" in imports.modules(f"training.stages.{name}")]
    assert reaching == ["prepare", "refine"]


def test_what_python_leaves_beside_the_code_is_not_looked_at() -> None:
    """A package as a dep is the files in it that git knows: DVC ignores compiled ones."""
    assert "__pycache__" in (ROOT / ".dvcignore").read_text(encoding="utf-8").splitlines()


def test_stage_file_and_section_share_one_name(declared: Mapping[str, Any]) -> None:
    """Each stage of dvc.yaml is a file in training/stages and a section of params.yaml, and the other way round.

    Stage resolve alone has no section: it reads all of them. The control is trained by the Student's.
    """
    files = {path.stem for path in STAGES.glob("*.py")} - {"__init__"}
    assert set(declared) == files == {field.name for field in fields(Params)} - {"seed"} | {"resolve", "train_control"}
    for name, stage in declared.items():
        assert stage["cmd"] == f"python -m training.stages.{name}"


def test_a_stage_declares_the_params_that_it_reads(declared: Mapping[str, Any]) -> None:
    """The seed, its own section, and every other section that its file asks for are params of the stage in DVC.

    Stage prepare has a seed of its own in its section: another seed of weights and patches makes no other data. All are
    the values in force, which stage resolve takes from the whole of params.yaml.
    """
    for name, stage in declared.items():
        ((file, entries),) = stage["params"][0].items()
        if name == "resolve":
            assert (file, entries) == ("params.yaml", None)
            continue
        keys = {entry.split(".")[0] for entry in entries}
        seed = set() if name == "prepare" else {"seed"}
        own = {field.name for field in fields(Params)} & {name}
        assert (file, keys) == ("params.resolved.yaml", own | seed | sections(name)), f"params of {name}"


def test_the_control_has_all_of_the_student_s_section_but_its_switches(declared: Mapping[str, Any]) -> None:
    """A new parameter of `Supervised` is one of the control too; what concerns the Student alone leaves it as it is."""
    ((_, entries),) = declared["train_control"]["params"][0].items()
    assert sorted(entries) == sorted(["seed", *(f"train_student.{field.name}" for field in fields(Supervised))])


def test_what_a_stage_reads_another_writes_or_git_keeps(declared: Mapping[str, Any]) -> None:
    """No dep on data comes from nowhere: it is an out of an earlier stage, the raw folder, or a tracked file."""
    written = {"${raw_dir}", "data/reviews", "data/reviews.csv"}
    for name, stage in declared.items():
        data = {dep for dep in stage["deps"] if not is_code(dep)}
        assert data <= written, f"{name} reads {sorted(data - written)}"
        written |= outs(stage)


def outs(stage: Mapping[str, Any]) -> set[str]:
    """Paths of all that a stage writes."""
    entries = [entry for key in ("outs", "metrics", "plots") for entry in stage.get(key, [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}
