"""Which part may import which: the contracts of pyproject.toml, that they bite, and what really gets imported."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[2]
ONE_RUNTIME = "only serving.inference.runtime imports onnxruntime and openvino"
SERVING_LAYERS = "inside serving, each room imports only those below it"
PACKAGES = ("scans", "training", "serving", "ricefish")
UPWARDS = {
    "training.registry.promotion": "training.stages.register",
    "training.evaluation.scoring": "training.registry.promotion",
    "training.export.graph": "training.evaluation.scoring",
    "training.quality.roc": "training.export.graph",
    "training.learning.losses": "training.quality.roc",
    "training.run_stage": "training.learning.losses",
    "training.phantom.canvas": "training.run_stage",
    "training.data.split": "training.phantom.canvas",
    "training.data.raw": "training.tracking.provenance",
    "training.tracking.provenance": "training.data.raw",
    "training.params": "training.data.split",
    "training.recipe": "training.params",
    "training.progress": "training.params",
    "training.profiles": "training.recipe",
}
"""One import for each layer of training that goes up, or to the room beside."""

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


def with_imports(folder: Path, lines: Mapping[str, str]) -> None:
    """Copies the packages and their contracts into a folder, with a line more at the end of some modules."""
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for module, line in lines.items():
        with (folder / module).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")


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
        ("serving/__init__.py", "import onnxruntime", ONE_RUNTIME),
        ("serving/models/loader.py", "import openvino", ONE_RUNTIME),
        ("training/params.py", "import mlflow", "only training.tracking imports mlflow"),
        ("serving/storage/scratch.py", "import serving.queue.jobs", SERVING_LAYERS),
        ("serving/observability/logs.py", "import serving.models.served", SERVING_LAYERS),
        ("serving/segmentation/judge.py", "import serving.intake.limits", SERVING_LAYERS),
        ("serving/protocol/tensors.py", "import serving.shadow.report", SERVING_LAYERS),
        ("scans/geometry.py", "import scans.volume", "no package's parts import each other in a circle"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """Each contract notices the import that it is there to forbid."""
    with_imports(tmp_path, {module: line})
    result = lint(tmp_path)
    assert f"{contract} BROKEN" in result.stdout, result.stdout + result.stderr


def test_each_import_that_goes_up_inside_training_is_named(tmp_path: Path) -> None:
    """The layers notice every one of them, and that a room has no layer."""
    contract = "inside training imports run from stages down to params"
    with_imports(tmp_path, {f"{module.replace('.', '/')}.py": f"import {other}" for module, other in UPWARDS.items()})
    said = lint(tmp_path).stdout
    assert f"{contract} BROKEN" in said
    words = " ".join(said.split())
    assert [module for module, other in UPWARDS.items() if f"{module} -> {other} (l." not in words] == []
    (tmp_path / "training/attic.py").write_text("")
    assert "training.attic" in lint(tmp_path).stdout


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
