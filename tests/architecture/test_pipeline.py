"""DVC runs the stages that it must, and no others: the real dvc.yaml, in a copy, with a stand-in for the work."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.architecture.stage_deps import stages
from tests.architecture.test_stage_deps import outs

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore", "models", "data")
TRAINING = ["prepare", "train_teacher", "pseudo_label", "label_quality", "train_classifier", "refine"]
ORDER = [*TRAINING, "train_student", "evaluate", "export", "register"]
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of DVC, in this process
STAND_IN = """#!/bin/sh
# in the place of `python -m training.stages.NAME`: notes the name, and writes what the stage writes
stage=${2##*.}
echo $stage >> ran.txt
exec sh -e write/$stage
"""


@dataclass(frozen=True)
class Pipeline:
    """A copy of the repository that has been reproduced once."""

    root: Path

    def repro(self, *, answer: str = "1") -> list[str]:
        """Runs `dvc repro`; returns the stages that it ran. What they write holds `answer`."""
        from dvc.repo import Repo

        (self.root / "answer.txt").write_text(answer)
        log = self.root / "ran.txt"
        log.unlink(missing_ok=True)
        with Repo(str(self.root)) as repo:
            repo.reproduce()
        return log.read_text().split() if log.exists() else []

    def edit(self, path: str, old: str, new: str) -> None:
        """Replaces the first `old` in a file."""
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new, 1))

    def git(self, *arguments: str) -> str:
        """What git prints."""
        identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout


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
    script.write_text(STAND_IN)
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("DVC_NO_ANALYTICS", "1")
        yield


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, stand_in: None) -> FirstRun:
    """The pipeline is run in a fresh copy."""
    root = tmp_path_factory.mktemp("first_run")
    for name in (*COPIED, "scans", "training"):
        _copy(name, root)
    (root / "write").mkdir()
    for name, stage in stages((root / "dvc.yaml").read_text()).items():
        (root / "write" / name).write_text("".join(_command(path) for path in sorted(outs(stage))))
    pipeline = Pipeline(root)
    pipeline.git("init", "--quiet")
    (root / ".git/info/exclude").write_text("write\nran.txt\nanswer.txt\n")
    pipeline.git("add", "--all")
    pipeline.git("commit", "--quiet", "--message", "Start")
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
    """All ten stages run, and git sees no change but the new dvc.lock."""
    assert first_run.ran == ORDER
    assert first_run.changed == "?? dvc.lock\n"


def test_a_second_run_does_nothing(pipeline: Pipeline) -> None:
    """Where nothing has changed, nothing runs."""
    assert pipeline.repro() == []


def test_changing_alpha_reruns_from_train_student_on(pipeline: Pipeline) -> None:
    """The weight of the distillation term concerns the Student and what comes after it, and the metrics say so."""
    from dvc.repo import Repo

    pipeline.edit("params.yaml", "alpha: 0.1", "alpha: 0.2")
    assert pipeline.repro(answer="2") == ["train_student", "evaluate", "export", "register"]
    with Repo(str(pipeline.root)) as repo:
        changes = repo.metrics.diff(targets=["metrics/evaluate.json", "metrics/refine.json"])["diff"]
    assert changes == {"metrics/evaluate.json": {"answer": {"old": 1, "new": 2, "diff": 1}}}


def test_changing_another_profile_reruns_nothing(pipeline: Pipeline) -> None:
    """The numbers of a profile that is not active concern nobody."""
    before, _, after = (pipeline.root / "params.yaml").read_text().partition("  headneck_ct:")
    assert "alpha: 0.1" in after
    changed = before + "  headneck_ct:" + after.replace("alpha: 0.1", "alpha: 0.2")
    (pipeline.root / "params.yaml").write_text(changed)
    assert pipeline.repro() == []


def test_changing_a_line_of_a_shared_module_reruns_the_stages_that_import_it(pipeline: Pipeline) -> None:
    """The losses are imported by the four stages that train; what these write is the same, so no other runs."""
    pipeline.edit("training/learning/losses.py", "from __future__", "# one line more\nfrom __future__")
    assert pipeline.repro() == ["train_teacher", "label_quality", "train_classifier", "train_student"]


def test_changing_a_module_that_no_stage_imports_reruns_nothing(pipeline: Pipeline) -> None:
    """The gate is asked by `ricefish models promote`, not by the pipeline."""
    pipeline.edit("training/registry/gate.py", "from __future__", "# one line more\nfrom __future__")
    assert pipeline.repro() == []


def test_one_command_runs_another_profile_on_a_raw_folder_anywhere(pipeline: Pipeline, tmp_path: Path) -> None:
    """`dvc exp run -S profile=... -S raw_dir=...` sets the two in params.yaml, changes nothing else there, and runs."""
    from dvc.cli import main

    raw = tmp_path / "elsewhere"
    raw.mkdir()
    (raw / "organs.yaml").write_text("1: heart\n")
    (pipeline.root / "ran.txt").unlink()
    assert main(["exp", "run", "--quiet", "-S", "profile=headneck_ct", "-S", f"raw_dir={raw}", "prepare"]) == 0
    assert (pipeline.root / "ran.txt").read_text().split() == ["prepare"]
    before = pipeline.git("show", "HEAD:params.yaml")
    after = (pipeline.root / "params.yaml").read_text()
    assert yaml.safe_load(after) == yaml.safe_load(before) | {"profile": "headneck_ct", "raw_dir": str(raw)}
    assert [line for line in after.splitlines() if "#" in line] == [line for line in before.splitlines() if "#" in line]


def test_a_raw_folder_that_does_not_exist_is_named(pipeline: Pipeline) -> None:
    """Nothing runs, and the message says which folder is missing."""
    from dvc.exceptions import DvcException

    pipeline.edit("params.yaml", "raw_dir: data/phantom", "raw_dir: /nowhere/scans")
    with pytest.raises(DvcException) as error:
        pipeline.repro()
    assert "/nowhere/scans" in f"{error.value} {error.value.__cause__}"
    assert not (pipeline.root / "ran.txt").exists()


def _copy(name: str, root: Path) -> None:
    """Copies what git knows of a file or folder: nothing that the pipeline has produced here."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", name],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for path in listed:
        if (ROOT / path).exists():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, root / path)


def _command(path: str) -> str:
    target = path if Path(path).suffix else f"{path}/file.txt"
    content = '{\\"answer\\": $(cat answer.txt)}' if path.endswith(".json") else f"{path} $(cat answer.txt)"
    return f'mkdir -p "$(dirname {target})"; echo "{content}" > {target}\n'
