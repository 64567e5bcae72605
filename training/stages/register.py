"""register: a version in the model registry, with its metrics, data hash and git commit; alias `candidate`."""

from __future__ import annotations

from pathlib import Path

from scans.registry.gate import GateLimits, volume_scores
from training.command import run_command
from training.evaluation.headline import read_headline
from training.params import Params
from training.registry.limits import gate_limits
from training.registry.version import Version
from training.registry.versions import Registry
from training.run_stage import Report, metrics_file, run_stage
from training.stage_files import read_json, stage_file
from training.tracking.runs import StageRun

STUDENT_DIR = Path("models/student")
QUALITY_DIR = Path("models/quality_classifier")
EVALUATION_FILE = metrics_file("evaluate")


def main() -> None:
    """Runs the stage in the repository root."""
    run_stage("register", _register)


def _register(params: Params, run: StageRun) -> Report:
    limits = gate_limits(params.register)
    version = register(params.register.model, limits=limits, run_id=run.run_id, parent_id=run.parent_id)
    run.registered(version.uri)
    run.headline(read_headline())
    return Report({"name": version.name, "version": version.number, "sha256": version.sha256})


def register(name: str, *, limits: GateLimits, run_id: str, parent_id: str) -> Version:
    """Registers what export left in the working directory, as candidate; `limits` are asked of it as champion.

    Raises ModelRegistryError, ManifestError, StageFileError before anything is registered.
    """
    with stage_file(EVALUATION_FILE):  # without it the version could never be promoted
        volume_scores(read_json(EVALUATION_FILE)["student"])
    return Registry(name).register(
        STUDENT_DIR, QUALITY_DIR, evaluation=EVALUATION_FILE, limits=limits, run_id=run_id, parent_id=parent_id
    )


if __name__ == "__main__":
    run_command("register", main)
