"""MLflow: a pyfunc model around the ONNX file, served by `mlflow models serve`.

MLflow takes JSON and CSV; the densest that its schemas offer for a slice is a column of type binary, sent as base64.
Its ONNX flavour would compute and send every output of the graph, as lists of numbers.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import save_model
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, Schema, TensorSpec
from network import NUMBERS, PORT, WORKERS, Network


class Slices(PythonModel):
    """One slice a row -> its segmentation as base64; numbers -> numbers."""

    def load_context(self, context: Any) -> None:
        """Once in each worker."""
        self._network = Network()

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """A data frame whose column `slices` holds raw uint16; a tensor of them where they come in numbers."""
        if NUMBERS:
            return self._network.segment(model_input)
        content = b"".join(model_input["slices"])
        return [base64.b64encode(one).decode() for one in self._network.segment(self._network.read(content))]


_TENSOR = TensorSpec(np.dtype(np.uint16), (-1, -1, -1))

set_model(Slices())


def main() -> None:
    """Saves the model and becomes `mlflow models serve`."""
    folder = Path(tempfile.mkdtemp(prefix="ricefish-mlflow-", dir=os.environ.get("PEER_FOLDER"))) / "model"
    here = Path(__file__)
    save_model(
        folder,
        python_model=str(here),
        code_paths=[str(here.with_name("network.py"))],
        signature=ModelSignature(Schema([_TENSOR if NUMBERS else ColSpec("binary", "slices")])),
        pip_requirements=[],
    )
    command = ["mlflow", "models", "serve", "--model-uri", str(folder), "--env-manager", "local"]
    program = Path(sys.executable).with_name("mlflow")
    os.environ["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"  # it starts the uvicorn that it finds
    os.execv(program, [*command, "--host", "127.0.0.1", "--port", str(PORT), "--workers", str(WORKERS)])  # noqa: S606


if __name__ == "__main__":
    main()
