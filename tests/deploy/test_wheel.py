"""What `make wheel` builds: all of the product and nothing else, and a client that needs no extra."""

from __future__ import annotations

import re
import subprocess
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ricefish", "scans", "serving", "training")
LEFT_OUT = (
    "torch,onnxruntime,onnx,mlflow,dvc,fastapi,uvicorn,sqlalchemy,s3fs,PIL,psycopg,pydantic_settings,skimage,jinja2"
)
"""What extras bring and the client does without."""

# Begins a program where what extras bring cannot be found.
WITHOUT_EXTRAS = """
import sys

absent = sys.argv.pop(1).split(",")

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
IMPORT_ALL = """
import importlib, pathlib, pkgutil, ricefish

site = pathlib.Path(ricefish.__file__).parents[1]
for package in ("ricefish", "scans"):
    for module in pkgutil.walk_packages([str(site / package)], package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(site)
"""
COMMAND = "from ricefish.cli.app import app; app()"


def tracked(*patterns: str) -> set[str]:
    """Files that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return {name for name in listed if (ROOT / name).is_file()}


def project() -> dict[str, Any]:
    """The section of pyproject.toml."""
    section: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return section


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Path:
    """Built from a copy, so that nothing of an earlier build lies beside it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked(*PACKAGES, "pyproject.toml", "README.md", "LICENSE", "tests/conftest.py", "demo", "benchmarks"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = ["uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--out-dir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def workstation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a fresh environment that holds the wheel; its dependencies are lent by this one."""
    folder = tmp_path_factory.mktemp("workstation")
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    done = subprocess.run(
        ["uv", "pip", "install", "--quiet", "--no-deps", "--python", str(python), str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return python


def run(python: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a program without what the extras bring, far from the repository."""
    return subprocess.run(
        [str(python), "-c", WITHOUT_EXTRAS + program, LEFT_OUT, *arguments],
        cwd=python.parents[1],
        env={"PYTHONPATH": sysconfig.get_path("purelib"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_every_file_of_the_product_and_no_other(wheel: Path) -> None:
    """All four packages with what lies in them; no test, benchmark or demo."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == tracked(*PACKAGES)


def test_a_workstation_needs_no_extra_for_the_client(workstation: Path) -> None:
    """Every module of the client and of the formats is imported from there, and the command says its version."""
    imported = run(workstation, IMPORT_ALL)
    assert imported.returncode == 0, imported.stderr
    assert Path(imported.stdout.strip()).is_relative_to(workstation.parents[1])
    assert run(workstation, COMMAND, "--version").stdout.strip() == project()["version"]


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["serve", "--model", "models/student"], "ricefish[serving]"),
        (["worker"], "ricefish[serving]"),
        (["doctor"], "ricefish[serving]"),
        (["keys", "list"], "ricefish[serving]"),
        (["atlas", "fish.nii.gz", "-o", "atlas"], "ricefish[atlas]"),
        (["models", "list", "ricefish"], "ricefish[training]"),
    ],
)
def test_a_command_that_needs_more_names_the_extra(workstation: Path, arguments: list[str], extra: str) -> None:
    """One line instead of a traceback: what to install."""
    done = run(workstation, COMMAND, *arguments)
    assert done.returncode != 0
    assert extra in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_every_extra_that_is_named_exists() -> None:
    """Messages, docs and this file name extras that pyproject.toml has."""
    there = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    )
    named: dict[str, str] = {}
    for name in tracked("*.py", "*.md", "Dockerfile", "Makefile", "deploy"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for extras in re.findall(r"(?:ricefish|\.whl)\[([a-z, ]+)\]", text):
            named |= {extra.strip(): name for extra in extras.split(",")}
    assert {"serving", "training", "telemetry"} <= set(named)
    assert {extra: name for extra, name in named.items() if extra not in there} == {}
