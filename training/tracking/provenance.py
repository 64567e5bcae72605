"""Where a run comes from: the git commit, the `dvc repro` that it is part of, the hashes of what it read and wrote."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import yaml

from training.params import PARAMS_FILE, RESOLVED_FILE

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.stage import Stage

DVC_STAGE = "DVC_STAGE"
"""DVC sets this for the commands that it runs."""
REPRODUCTION = "RICEFISH_REPRO"
"""A name that groups stages into one parent run, where set; else the DVC process that runs them does."""
HOST_TAG = "ricefish.host"
PROCESS_TAG = "ricefish.process"
CODE = ("scans", "training")
PIPELINE_PATHS = (*CODE, "params.yaml", "dvc.yaml", "pyproject.toml", "requirements")
"""What decides a result besides data. dvc.lock is not here: every stage changes it."""


@dataclass(frozen=True)
class GitState:
    """The commit that is checked out; "" outside a git repository."""

    commit: str
    dirty: bool
    """True where code, parameters or requirements differ from the commit."""


@dataclass(frozen=True)
class Process:
    """A process of this machine, told from a later one that was given the same number."""

    pid: int
    created: float

    @classmethod
    def of(cls, process: psutil.Process) -> Process:
        """What identifies a running process."""
        return cls(process.pid, process.create_time())

    @classmethod
    def current(cls) -> Process:
        """This process."""
        return cls.of(psutil.Process())

    @classmethod
    def parse(cls, text: str) -> Process:
        """From what `str` gave. Raises ValueError."""
        pid, created = text.split(":")
        return cls(int(pid), float(created))

    def __str__(self) -> str:
        return f"{self.pid}:{self.created}"

    @property
    def alive(self) -> bool:
        """True while it runs."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.created) < 0.1
        except psutil.Error:
            return False


@dataclass(frozen=True)
class Reproduction:
    """One `dvc repro`, or one stage that was started by hand."""

    id: str
    process: Process
    """The DVC process; the stage itself where it was started by hand."""

    @classmethod
    def current(cls) -> Reproduction:
        """The reproduction that this process is part of."""
        process = _dvc_process() or Process.current()
        return cls(os.environ.get(REPRODUCTION) or f"{socket.gethostname()}:{process}", process)


def _dvc_process() -> Process | None:
    """The nearest ancestor that was not started for a stage: DVC marks all that it starts in their environment."""
    if DVC_STAGE not in os.environ:
        return None
    try:
        return next((Process.of(p) for p in psutil.Process().parents() if DVC_STAGE not in p.environ()), None)
    except psutil.Error:
        return None


def tags(process: Process) -> dict[str, str]:
    """What every run says of where it comes from."""
    git = git_state()
    return {
        "mlflow.user": _user(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git.commit,
        "git.commit": git.commit,
        "git.dirty": str(git.dirty).lower(),
        "ricefish.profile": active_profile(),
        HOST_TAG: socket.gethostname(),
        PROCESS_TAG: str(process),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        return str(os.getuid())


def git_state(root: Path = Path()) -> GitState:
    """The commit of the checkout, and whether the pipeline's own files differ from it."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return GitState(commit, dirty=bool(_git(root, "status", "--porcelain", "--", *PIPELINE_PATHS)))
    except (OSError, subprocess.CalledProcessError):
        return GitState("", dirty=False)


def active_profile() -> str:
    """The name of the profile in params.yaml; "" where there is no such file."""
    return str(yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8"))["profile"]) if PARAMS_FILE.exists() else ""


def read_hashes(stage: str) -> dict[str, str]:
    """Path -> DVC's MD5 (".dir" at its end: a folder) of the data that the stage reads; code and parameters left out.

    Empty outside a DVC repository and for a stage that dvc.yaml lacks.
    """
    return _hashes(stage, of=lambda found: [dep for dep in found.deps if not _is_code_or_params(dep)])


def written_hashes(stage: str) -> dict[str, str]:
    """Path -> DVC's MD5 of what the stage has written. DVC keeps them, and need not read the files again itself."""
    return _hashes(stage, of=lambda found: found.outs)


def _hashes(name: str, *, of: Callable[[Stage], list[Output]]) -> dict[str, str]:
    if not Path(".dvc").is_dir() or not Path("dvc.yaml").exists():
        return {}
    from dvc.repo import Repo  # noqa: PLC0415  1.5 s, and only where there is a DVC repository
    from dvc.stage.exceptions import StageNotFound  # noqa: PLC0415

    with Repo() as repo:
        try:
            files = of(repo.stage.load_one(name=name))
        except StageNotFound:
            return {}
        return {str(file.def_path): file.get_hash().value for file in files if file.exists}


def _is_code_or_params(dep: Output) -> bool:
    path = Path(str(dep.def_path))
    return path in (PARAMS_FILE, RESOLVED_FILE) or path.parts[0] in CODE


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()
