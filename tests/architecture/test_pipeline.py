"""DVC runs the stages that it must, and no others: the real dvc.yaml, in a copy, with a stand-in for the work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.architecture.reproduced import Pipeline, committed_copy, reading_fast, write_stand_in
from tests.architecture.stage_deps import stages

TRAINING = ["prepare", "train_teacher", "pseudo_label", "label_quality", "train_classifier", "refine"]
FROM_STUDENT = ["train_student", "evaluate", "export", "register"]
FURTHER = ["train_student", "train_control"]
ORDER = ["resolve", *TRAINING, *FURTHER, "evaluate", "export", "register"]
LEARNING = ["train_teacher", "pseudo_label", "label_quality", "train_classifier", *FURTHER]
pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # of DVC, in this process
]


@dataclass(frozen=True)
class FirstRun:
    """A committed copy of the repository where the pipeline has run once."""

    root: Path
    ran: list[str]
    """The stages that were run."""
    changed: str
    """What git saw of it."""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`python`, for the commands of dvc.yaml, is the stand-in."""
    script = tmp_path_factory.mktemp("bin") / "python"
    write_stand_in(script)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("DVC_NO_ANALYTICS", "1")
        yield


@pytest.fixture(scope="module", autouse=True)
def fast() -> Iterator[None]:
    with reading_fast():
        yield


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, stand_in: None) -> FirstRun:
    """The pipeline is run in a fresh copy."""
    root = tmp_path_factory.mktemp("first_run")
    pipeline = committed_copy(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        ran = pipeline.repro()
    changed = pipeline.git("status", "--porcelain")
    pipeline.git("add", "--all")
    pipeline.git("commit", "--quiet", "--message", "Reproduce")
    return FirstRun(root, ran, changed)


@pytest.fixture
def pipeline(first_run: FirstRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A copy that has been reproduced once and may be changed."""
    shutil.copytree(first_run.root, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return Pipeline(tmp_path / "copy")


def test_the_first_run_runs_every_stage_once_in_order(first_run: FirstRun) -> None:
    """All stages run, and git sees no change but the new dvc.lock."""
    assert first_run.ran == ORDER
    assert first_run.changed == "?? dvc.lock\n"


def test_a_second_run_does_nothing(pipeline: Pipeline) -> None:
    """Where nothing has changed, nothing runs."""
    assert pipeline.repro() == []


def test_changing_alpha_reruns_from_train_student_on(pipeline: Pipeline) -> None:
    """The weight of the distillation term concerns the Student and what comes after it, and the metrics say so; the
    control has no such term.

    That the values in force are written anew concerns nobody else.
    """
    from dvc.repo import Repo

    pipeline.edit("params.yaml", "alpha: 0.1", "alpha: 0.2")
    assert pipeline.repro(answer="2") == ["resolve", *FROM_STUDENT]
    with Repo(str(pipeline.root)) as repo:
        changes = repo.metrics.diff()["diff"]
    assert changes == {"metrics/headline.json": {"answer": {"old": 1, "new": 2, "diff": 1}}}


def test_changing_the_seed_makes_no_other_data(pipeline: Pipeline) -> None:
    """It decides weights and patches; the data have a seed of their own, which no stage after prepare asks for."""
    pipeline.edit("params.yaml", "seed: 1  # of weights", "seed: 2  # of weights")
    assert pipeline.repro() == [stage for stage in ORDER if stage != "prepare"]
    pipeline.edit("params.yaml", "seed: 1  # which", "seed: 2  # which")
    assert pipeline.repro() == ["resolve", "prepare"]


def test_changing_another_profile_reruns_nothing(pipeline: Pipeline) -> None:
    """The numbers of a profile that is not active concern nobody: no value in force is another."""
    before, _, after = (pipeline.root / "params.yaml").read_text().partition("  headneck_ct:")
    assert "threshold: 0.7" in after
    changed = before + "  headneck_ct:" + after.replace("threshold: 0.7", "threshold: 0.6")
    (pipeline.root / "params.yaml").write_text(changed)
    assert pipeline.repro() == ["resolve"]


def test_changing_what_stages_share_reruns_those_that_have_it(pipeline: Pipeline) -> None:
    """Augmentation stands once, and six stages train with it, one of them where it is asked to."""
    pipeline.edit("params.yaml", "  noise: 0.03", "  noise: 0.04")
    assert pipeline.repro() == ["resolve", *LEARNING]


def test_writing_a_value_in_another_way_reruns_nothing(pipeline: Pipeline) -> None:
    """A comment, and 4.0e+0 in the place of 4.0: the values in force are what they were."""
    pipeline.edit("params.yaml", "temperature: 4.0", "temperature: 4.0e+0")
    pipeline.edit("params.yaml", "seed: 1  #", "seed: 1  # any")
    assert pipeline.repro() == []


def test_changing_a_line_of_a_package_reruns_the_stages_that_import_it(pipeline: Pipeline) -> None:
    """Phantoms are made by prepare alone; what it writes is the same, so no other stage runs."""
    pipeline.edit("training/phantom/anatomy.py", "from __future__", "# one line more\nfrom __future__")
    assert pipeline.repro() == ["prepare"]


def test_changing_what_a_stage_does_reruns_that_stage(pipeline: Pipeline) -> None:
    """The file of a stage is a dep of that stage, and of no other."""
    pipeline.edit("training/stages/refine.py", "from __future__", "# one line more\nfrom __future__")
    assert pipeline.repro() == ["refine"]


def test_changing_the_gate_reruns_no_training(pipeline: Pipeline) -> None:
    """The gate is asked by `ricefish models promote` and by servers; of all stages, register alone imports it."""
    pipeline.edit("scans/registry/gate.py", "from __future__", "# one line more\nfrom __future__")
    assert pipeline.repro() == ["register"]


def test_changing_the_drift_limits_reruns_export_and_nothing_before_it(pipeline: Pipeline) -> None:
    """They are written into the manifest; the new manifest is then registered."""
    pipeline.edit("scans/model/drift.py", "from __future__", "# another limit\nfrom __future__")
    assert pipeline.repro(answer="2") == ["export", "register"]


def test_changing_what_serves_reruns_nothing(pipeline: Pipeline) -> None:
    """No stage has a dep on the server, the client or the page."""
    deps = {dep for stage in stages((pipeline.root / "dvc.yaml").read_text()).values() for dep in stage["deps"]}
    assert not {dep for dep in deps if dep.startswith(("serving", "ricefish"))}


def exp_run(pipeline: Pipeline, *changes: str) -> list[str]:
    """`dvc exp run` with changes to params.yaml; returns the stages that ran."""
    from dvc.cli import main

    log = pipeline.root / "ran.txt"
    log.unlink(missing_ok=True)
    (pipeline.root / "answer.txt").write_text("1")
    assert main(["exp", "run", "--quiet", *(word for change in changes for word in ("-S", change))]) == 0
    return log.read_text().split() if log.exists() else []


def in_force(pipeline: Pipeline, address: str) -> object:
    """A value of params.resolved.yaml."""
    value = yaml.safe_load((pipeline.root / "params.resolved.yaml").read_text())
    for key in address.split("."):
        value = value[key]
    return value


@pytest.mark.parametrize(
    ("changes", "address", "value", "ran"),
    [
        (["train_student.alpha=0.2"], "train_student.alpha", 0.2, ["train_student"]),
        (["+train_student.augmentation.noise=0.04"], "train_student.augmentation.noise", 0.04, FURTHER),
        (["+profiles.demo.refine.threshold=0.6"], "refine.threshold", 0.6, ["train_classifier", "refine", "export"]),
    ],
)
def test_one_command_changes_any_value_by_its_address(
    pipeline: Pipeline, changes: list[str], address: str, value: float, ran: list[str]
) -> None:
    """`dvc exp run -S ADDRESS=VALUE` where it stands; a + gives a stage or a profile a value of its own."""
    assert exp_run(pipeline, *changes) == ["resolve", *ran]
    assert in_force(pipeline, address) == value


def test_a_profile_s_own_values_are_changed_and_what_it_inherits_as_well(
    pipeline: Pipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    """Epochs are the paper's own and alpha is not; what the paper's value hides changes nothing, and that is said."""
    pipeline.edit("params.yaml", "profile: demo", "profile: paper")
    pipeline.repro()
    assert exp_run(pipeline, "profiles.paper.train_student.schedule.epochs=3") == ["resolve", *FURTHER]
    assert exp_run(pipeline, "train_student.alpha=0.2") == ["resolve", "train_student"]
    assert "no value that is in force has changed" not in capfd.readouterr().err
    assert exp_run(pipeline, "train_student.schedule.epochs=9") == ["resolve"]
    assert "no value that is in force has changed" in capfd.readouterr().err
    assert (in_force(pipeline, "train_student.schedule.epochs"), in_force(pipeline, "train_student.alpha")) == (3, 0.2)


def test_one_command_runs_another_profile_on_a_raw_folder_anywhere(pipeline: Pipeline, tmp_path: Path) -> None:
    """`dvc exp run -S profile=... -S raw_dir=...` sets the two in params.yaml, changes nothing else there, and runs."""
    from dvc.cli import main

    raw = tmp_path / "elsewhere"
    raw.mkdir()
    (raw / "organs.yaml").write_text("1: heart\n")
    (pipeline.root / "ran.txt").unlink()
    assert main(["exp", "run", "--quiet", "-S", "profile=headneck_ct", "-S", f"raw_dir={raw}", "prepare"]) == 0
    assert (pipeline.root / "ran.txt").read_text().split() == ["resolve", "prepare"]
    before = pipeline.git("show", "HEAD:params.yaml")
    after = (pipeline.root / "params.yaml").read_text()
    assert yaml.safe_load(after) == yaml.safe_load(before) | {"profile": "headneck_ct", "raw_dir": str(raw)}
    assert [line for line in after.splitlines() if "#" in line] == [line for line in before.splitlines() if "#" in line]


def test_a_raw_folder_that_does_not_exist_is_named(pipeline: Pipeline) -> None:
    """Nothing is read or trained, and the message says which folder is missing."""
    from dvc.exceptions import DvcException

    pipeline.edit("params.yaml", "raw_dir: data/phantom", "raw_dir: /nowhere/scans")
    with pytest.raises(DvcException) as error:
        pipeline.repro()
    assert "/nowhere/scans" in f"{error.value} {error.value.__cause__}"
    assert (pipeline.root / "ran.txt").read_text().split() == ["resolve"]
