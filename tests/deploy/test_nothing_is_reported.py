"""No library that a server or a stage loads reports to anybody, or leaves an identifier of the machine behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.models import write_model

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[2]
_SERVING = """
from pathlib import Path
from serving.inference.runtime.session import open_session
import onnxruntime
onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"])
"""
_OPENVINO = """
from pathlib import Path
from serving.inference.runtime.openvino_runtime import OpenVinoRuntime
OpenVinoRuntime.open(Path({model!r}), threads=1)
import sys
assert "openvino_telemetry" not in sys.modules
"""
_TRAINING = """
import training.export.onnx_session
import onnxruntime
onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"])
"""


def told_of(path: str) -> bool:
    """Whether a file at home is one of the libraries that compute."""
    return any(name in path for name in ("onnxruntime", "intel", "openvino"))


def left_at_home(home: Path, code: str, **given: str) -> list[str]:
    """Files below a home folder that was empty before the code ran there."""
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "CI": "", **given}
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and told_of(str(path))]


@pytest.mark.parametrize("code", [_SERVING, _OPENVINO, _TRAINING], ids=["serving", "openvino", "training"])
def test_libraries_are_told_not_to_report(tmp_path: Path, code: str) -> None:
    """Nobody has to set a variable: importing our package first is enough, and no identifier is left at home."""
    model = str(write_model(tmp_path / "model") / "model.onnx")
    assert left_at_home(tmp_path / "home", code.format(model=model)) == []
