"""What is stored of a version beside the model, in a real SQLite registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.stages.test_register import Pipeline, pipeline, run
from training.tracking import runs

__all__ = ["pipeline", "run"]  # fixtures


@pytest.mark.slow
def test_a_version_comes_with_card_example_and_environment(pipeline: Pipeline, tmp_path: Path) -> None:
    """The run that it is of shows it and its figures; MLflow reads the example, which fits the signature."""
    from mlflow.models import Model

    version = pipeline.register(b"described", heart=0.9, liver=0.7)
    client = runs.connect()
    registered = client.get_model_version(pipeline.registry.name, str(version.number))
    run = client.get_run(pipeline.run_id)
    assert registered.run_id == pipeline.run_id
    assert registered.source in [f"models:/{output.model_id}" for output in run.outputs.model_outputs]
    assert run.data.metrics["mean_dice"] == 0.8
    folder = pipeline.registry.fetch(version, tmp_path / "fetched")
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "# fish" in page
    assert "heart, liver" in page
    assert "| mean_dice | 0.8000 | 0.7500 |" in page
    model = Model.load(str(folder))
    example = model.load_input_example(str(folder))
    assert {name: (values.dtype.name, values.shape) for name, values in example.items()} == {
        "slices": ("float32", (1, 2, 2)),
        "window": ("float32", (1, 2)),
    }
    needed = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {"mlflow", "numpy", "onnx"} <= {line.partition("==")[0] for line in needed}
