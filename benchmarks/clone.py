"""A temporary clone of the repository in which one variant of the pipeline runs, with its own params.yaml.

Clones share the environment and DVC's cache: a stage whose inputs, code and parameters are those of an earlier run is
restored, not run again. What is measured is a commit, never uncommitted edits.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from demo.parts import tool_environment
from demo.preloaded import preloaded
from training.params import Params, load_params
from training.profiles import ParamsError

REPOSITORY = Path(__file__).resolve().parents[1]
LOGS = REPOSITORY / "benchmarks" / "results" / "logs"
_LOADER, _DUMPER = getattr(yaml, "CSafeLoader", yaml.SafeLoader), getattr(yaml, "CSafeDumper", yaml.SafeDumper)
RESTORED = "is cached - skipping run"
"""What DVC says of a stage that it restores from an earlier run."""


class BenchmarkError(RuntimeError):
    """A measurement that cannot be made; the message says why and where the log is."""


@dataclass(frozen=True)
class Variant:
    """A profile with other values in some places."""

    profile: str
    raw_dir: Path
    """Folder of raw volumes; a relative one lies in the repository."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Addresses in the profile, such as "train_student.alpha", to values."""
    smallest: bool = False
    """The demo's pipeline is only to run: see SMALLEST."""

    def write(self, path: Path) -> None:
        """Makes it the active profile of a params.yaml. Raises BenchmarkError for what the file cannot have."""
        if self.smallest:
            make_smallest(path)
        content = yaml.load(path.read_text(encoding="utf-8"), _LOADER)  # noqa: S506 - both are safe
        if self.profile not in content["profiles"]:
            raise BenchmarkError(f"there is no profile {self.profile}; there are {', '.join(content['profiles'])}")
        content["profile"] = self.profile
        content["raw_dir"] = str(self.raw_dir if (path.parent / self.raw_dir).exists() else REPOSITORY / self.raw_dir)
        for address, value in self.changes.items():
            *sections, last = address.split(".")
            section = content["profiles"][self.profile]
            for part in sections:
                section = section.setdefault(part, {})
            section[last] = value
        path.write_text(yaml.dump(content, Dumper=_DUMPER, sort_keys=False), encoding="utf-8")
        try:
            load_params(path)
        except ParamsError as error:
            raise BenchmarkError(str(error)) from None

    def params(self) -> Params:
        """The values that are in force then. Raises BenchmarkError as `write`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(shutil.copy(REPOSITORY / "params.yaml", folder))
            self.write(path)
            return load_params(path)


SMALLEST: Mapping[str, Any] = {
    "batch_size": 8,
    "crop": 32,
    "depth": 32,
    "epochs": 1,
    "height": 64,
    "labelled": 3,
    "least_mean_dice": 0.0,
    "slices": 60,
    "steps_per_epoch": 8,
    "unlabelled": 3,
    "validation": 3,
    "width": 64,
}
"""Values, wherever they stand, with which the demo's pipeline takes a minute or two and learns nothing."""


def make_smallest(path: Path) -> None:
    """Writes SMALLEST into a params.yaml and makes the demo its profile; what is smaller there already stays."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))

    def shrink(section: dict[str, Any]) -> None:
        for name, value in section.items():
            if isinstance(value, dict):
                shrink(value)
            elif name in SMALLEST:
                section[name] = min(value, SMALLEST[name])

    shrink(content)
    path.write_text(yaml.safe_dump({**content, "profile": "demo"}, sort_keys=False), encoding="utf-8")


@dataclass(frozen=True)
class Outcome:
    """What one run of the pipeline gave."""

    scores: Mapping[str, Any]
    """metrics/evaluate.json."""
    seconds: float
    """How long `dvc repro` took, stages that were restored included."""
    restored: int
    """Stages that were restored from an earlier run, and cost no training time here."""
    training_volumes: int
    """Labelled volumes that a Teacher could learn from, used or not."""


def require_commit() -> str:
    """The commit that is checked out. Raises BenchmarkError if what decides a result differs from it."""
    measuring = ":(glob)benchmarks/**/*.py"  # the results beside it are written as one measures
    paths = ("scans", "training", "dvc.yaml", "params.yaml", "data", "requirements", measuring)
    changed = _output(["git", "status", "--porcelain", "--untracked-files=no", "--", *paths])
    if changed:
        raise BenchmarkError(f"figures belong to a commit, and these files differ from it:\n{changed}")
    return commit()


def commit() -> str:
    """The commit that is checked out, whatever was edited since."""
    return _output(["git", "rev-parse", "HEAD"])


def evaluate(variant: Variant, *, name: str) -> Outcome:
    """Runs the pipeline up to evaluate; `name` names the log. Raises BenchmarkError if a stage fails."""
    with temporary_clone() as clone:
        started = time.monotonic()
        log = _reproduce(clone, variant, "evaluate", name=name)
        seconds = time.monotonic() - started
        volumes = json.loads((clone / "data/prepared/volumes.json").read_text(encoding="utf-8"))["volumes"]
        return Outcome(
            scores=json.loads((clone / "metrics/evaluate.json").read_text(encoding="utf-8")),
            seconds=seconds,
            restored=log.count(RESTORED),
            training_volumes=sum(volume["split"] in {"train", "reserve"} for volume in volumes),
        )


def export(variant: Variant, *, name: str, into: Path) -> Path:
    """Runs the pipeline up to export and copies the models; gives the folder that holds `student` and the others.

    Raises BenchmarkError if what decides a result differs from the commit, or if a stage fails.
    """
    require_commit()
    with temporary_clone() as clone:
        _reproduce(clone, variant, "export", name=name)
        return Path(shutil.copytree(clone / "models", into / "models"))


def _reproduce(clone: Path, variant: Variant, stage: str, *, name: str) -> str:
    """Runs `dvc repro STAGE` and returns its log. Raises BenchmarkError if a stage fails."""
    variant.write(clone / "params.yaml")
    LOGS.mkdir(parents=True, exist_ok=True)
    log_path = LOGS / f"{name}.log"
    with log_path.open("wb") as log, preloaded(_environment(), folder=clone) as environment:
        code = subprocess.run(
            ["dvc", "repro", stage],
            cwd=clone,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code:
        raise BenchmarkError(f"{name}: `dvc repro {stage}` ended with exit code {code}; its log is {log_path}")
    return log_path.read_text(encoding="utf-8", errors="replace")


@contextmanager
def temporary_clone() -> Iterator[Path]:
    """A clone of HEAD that uses this repository's DVC cache; removed at the end."""
    cache = _output(["dvc", "cache", "dir"])
    folder = Path(tempfile.mkdtemp(prefix="ricefish-benchmark-"))
    try:
        _output(["git", "clone", "--quiet", "--shared", str(REPOSITORY), str(folder)])
        (folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache}\n", encoding="utf-8")
        yield folder
    finally:
        shutil.rmtree(folder)


def active_variant(*, profile: str | None = None, raw_dir: Path | None = None) -> Variant:
    """What params.yaml names, or what is given instead."""
    content = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    return Variant(profile or content["profile"], raw_dir.resolve() if raw_dir else Path(content["raw_dir"]))


def _output(command: list[str]) -> str:
    done = subprocess.run(command, cwd=REPOSITORY, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """The demo's; runs go to the clone's MLflow."""
    return {name: value for name, value in tool_environment().items() if name != "MLFLOW_TRACKING_URI"}
