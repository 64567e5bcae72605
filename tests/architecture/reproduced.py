"""A copy of the repository where `dvc repro` runs, with a stand-in for the work of the stages."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.architecture.stage_deps import stages
from tests.architecture.test_stage_deps import outs

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore", "models", "data")
STAND_IN = """#!/bin/sh
# in the place of `python -m training.stages.NAME`: notes the name, and writes what the stage writes; resolve is real
stage=${2##*.}
echo $stage >> ran.txt
if [ $stage = resolve ]; then exec PYTHON "$@"; fi
exec sh -e write/$stage
"""


def write_stand_in(script: Path) -> None:
    """What is `python` for the commands of dvc.yaml."""
    script.write_text(STAND_IN.replace("PYTHON", sys.executable))
    script.chmod(0o755)


@contextmanager
def reading_fast() -> Iterator[None]:
    """DVC reads YAML in Python, the same text again and again, in three quarters of the time of its commands here."""
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    original = _yaml.parse_yaml
    parsed = cache(lambda text, typ: original(text, "YAML", typ))

    def parse_yaml(text: str, path: str, typ: str = "safe") -> Any:
        if str(path).endswith("dvc.lock"):  # long, and written by DVC alone
            return yaml.load(text, yaml.CSafeLoader) or {}
        return copy.deepcopy(parsed(text, typ))

    with pytest.MonkeyPatch.context() as patch:
        for module in (_yaml, strictyaml):
            patch.setattr(module, "parse_yaml", parse_yaml)
        yield


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


def committed_copy(root: Path) -> Pipeline:
    """A fresh copy below a folder, known to git, where nothing has run."""
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
    return pipeline


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
