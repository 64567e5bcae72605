"""register: a version in the model registry, with its metrics, data hash and git commit; alias `candidate`."""

from __future__ import annotations

import json
from pathlib import Path

from training.params import load_params
from training.registry.versions import Registry, Version
from training.tracking import runs

STUDENT_DIR = Path("models/student")
QUALITY_DIR = Path("models/quality_classifier")
EVALUATION_FILE = Path("metrics/evaluate.json")
METRICS_FILE = Path("metrics/register.json")


def main() -> None:
    """Runs the stage in the repository root."""
    params = load_params()
    with runs.stage_run("register", section=params.register, seed=params.seed) as run:
        version = register(params.register.model, run_id=run.run_id)
        report = {"name": version.name, "version": version.number, "sha256": version.sha256}
        METRICS_FILE.parent.mkdir(parents=True, exist_ok=True)
        METRICS_FILE.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        run.tag("ricefish.model_version", version.uri)


def register(name: str, *, run_id: str) -> Version:
    """Registers what export left in the working directory, as candidate. Raises ModelRegistryError, ManifestError."""
    return Registry(name).register(STUDENT_DIR, QUALITY_DIR, evaluation=EVALUATION_FILE, run_id=run_id)


if __name__ == "__main__":
    main()
