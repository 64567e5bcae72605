"""Fixtures that every part of the tests shares."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before any test imports onnxruntime

# how long an example takes says how busy the machine is, not whether the code is right
hypothesis.settings.register_profile("ricefish", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("ricefish")


_LONGEST = ("test_registry_down.py", "test_outages.py", "test_pipeline.py")
"""Files of minutes, most of them of a few tests: begun first, so that no process has one left when others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In order, after the longest files."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.fixture(scope="module", autouse=True)
def no_registry_left_behind() -> Iterator[None]:
    """MLflow keeps the addresses it was last given for the whole process: each test file begins with none."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            environment.delenv(name, raising=False)
        yield
        if "mlflow" in sys.modules:
            import mlflow

            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # takes it, its annotation does not say so
            mlflow.set_registry_uri(None)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans (headneck_ct, formats) that some tests read where it is there."""
    folder = Path(os.environ.get("RICEFISH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}; set RICEFISH_TEST_DATA to a folder that holds headneck_ct and formats")
    return folder
