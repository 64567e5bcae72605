"""Model files: what MLflow keeps beside a model so that it can show, try and load it, and how files are fetched."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mlflow import MlflowClient

Tensor = tuple[str, tuple[int, ...]]
"""NumPy's name of a type, and a shape in which -1 is any number."""

CARD_FILE = "README.md"
REQUIREMENTS_FILE = "requirements.txt"
EXAMPLE_FILE = "input_example.json"
SERVING_EXAMPLE_FILE = "serving_input_example.json"
"""The same as the body of a request to `mlflow models serve`."""

_ENVIRONMENT_FILE = "python_env.yaml"
_NEEDED = ("mlflow", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu")


def download(uri: str, folder: Path) -> Path:
    """Fetches `models:/NAME/VERSION`, `models:/MODEL_ID` or `runs:/RUN/PATH`, a file or a folder, into `folder`."""
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))


def listed(uri: str) -> dict[str, int]:
    """Bytes of each file in `models:/NAME/VERSION`, by its path there; none where nothing is there."""
    from mlflow.artifacts import list_artifacts  # noqa: PLC0415

    found, folders = {}, [""]
    while folders:
        for entry in list_artifacts(artifact_uri=f"{uri}/{folders.pop()}".rstrip("/")):
            if entry.is_dir:
                folders.append(entry.path)
            else:
                found[entry.path] = int(entry.file_size or 0)
    return found


def link(client: MlflowClient, *, run_id: str, model_id: str) -> None:
    """Shows a model among those that came of a run, also of one that has found it there already."""
    from mlflow.entities import LoggedModelOutput  # noqa: PLC0415

    outputs = client.get_run(run_id).outputs
    if outputs is None or model_id not in [output.model_id for output in outputs.model_outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])


def describe(
    folder: Path,
    *,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    example: Mapping[str, NDArray[Any]],
    card: str,
) -> None:
    """Writes beside the model.onnx in `folder`: MLmodel, which lets MLflow show and load it, an input to try it on,
    the packages that it needs, with the versions that are installed here, and the card, in Markdown.
    """
    from mlflow.models import Model, ModelSignature  # noqa: PLC0415
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    def schema(tensors: Mapping[str, Tensor]) -> Schema:
        return Schema([TensorSpec(np.dtype(dtype), shape, name) for name, (dtype, shape) in tensors.items()])

    model = Model(
        signature=ModelSignature(inputs=schema(inputs), outputs=schema(outputs)),
        saved_input_example_info={
            "artifact_path": EXAMPLE_FILE,
            "serving_input_path": SERVING_EXAMPLE_FILE,
            "type": "ndarray",
        },
    )
    model.add_flavor("onnx", data="model.onnx", providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    model.add_flavor(
        "python_function", loader_module="mlflow.onnx", data="model.onnx", env={"virtualenv": _ENVIRONMENT_FILE}
    )
    model.save(str(folder / "MLmodel"))
    values = {name: array.tolist() for name, array in example.items()}
    (folder / EXAMPLE_FILE).write_text(json.dumps(values), encoding="utf-8")
    (folder / SERVING_EXAMPLE_FILE).write_text(json.dumps({"inputs": values}), encoding="utf-8")
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    _write_environment(folder)


def _write_environment(folder: Path) -> None:
    requirements = [f"{name}=={found}" for name in _NEEDED if (found := _installed(name)) is not None]
    (folder / REQUIREMENTS_FILE).write_text("\n".join(requirements) + "\n", encoding="utf-8")
    environment = {"python": platform.python_version(), "dependencies": [f"-r {REQUIREMENTS_FILE}"]}
    (folder / _ENVIRONMENT_FILE).write_text(yaml.safe_dump(environment), encoding="utf-8")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
