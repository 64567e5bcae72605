"""Which part may import which: the contracts of pyproject.toml, that they bite, and what really gets imported."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[2]
SERVING_LAYERS = "inside serving, each room imports only those below it"
PACKAGES = ("scans", "training", "serving", "ricefish")

# Imports every module of the packages named on the command line, in an environment where others cannot be found.
IMPORT_WITHOUT = """
import importlib, pkgutil, sys

packages, absent = (argument.split(",") for argument in sys.argv[1:3])

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not to be imported here", name=name)

sys.meta_path.insert(0, Absent())
for package in packages:
    for module in pkgutil.walk_packages([package], package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Checks the contracts of the pyproject.toml in a folder."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_imports_run_in_the_directions_of_the_design() -> None:
    """training -> scans <- serving, ricefish -> scans; no circles; torch, onnxruntime, mlflow have their places."""
    result = lint(REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("scans/geometry.py", "import training.params", "training -> scans <- serving, ricefish -> scans"),
        ("serving/__init__.py", "import training", "training -> scans <- serving, ricefish -> scans"),
        ("scans/volume.py", "import torch", "scans, serving and ricefish need no torch"),
        (
            "scans/volume.py",
            "import fastapi",
            "scans needs neither an inference engine nor a web framework nor a tracker",
        ),
        ("ricefish/__init__.py", "import onnxruntime", "the client needs neither the server nor an inference engine"),
        ("serving/__init__.py", "import onnxruntime", "only serving.inference.runtime imports onnxruntime"),
        ("training/params.py", "import mlflow", "only training.tracking.runs imports mlflow"),
        ("serving/storage/scratch.py", "import serving.queue.jobs", SERVING_LAYERS),
        ("serving/observability/logs.py", "import serving.models.served", SERVING_LAYERS),
        ("serving/segmentation/judge.py", "import serving.intake.limits", SERVING_LAYERS),
        ("serving/protocol/tensors.py", "import serving.shadow.report", SERVING_LAYERS),
        ("scans/geometry.py", "import scans.volume", "no package's parts import each other in a circle"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """Each contract notices the import that it is there to forbid."""
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    result = lint(tmp_path)
    assert f"{contract} BROKEN" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("packages", "absent"),
    [
        ("scans", "torch,onnxruntime,onnx,mlflow,dvc,fastapi,sqlalchemy,httpx"),
        ("ricefish", "torch,onnxruntime,onnx,mlflow,dvc,fastapi,uvicorn,sqlalchemy,training,serving"),
        ("serving", "torch,segmentation_models_pytorch,dvc,sklearn,training"),
    ],
)
def test_a_part_imports_where_the_others_dependencies_are_not_installed(packages: str, absent: str) -> None:
    """A workstation or a server needs its own extra and no other: every module imports without the rest."""
    command = [sys.executable, "-c", IMPORT_WITHOUT, packages, absent]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
