"""A tiny model, a scan, and one server that most tests share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.postgresql import new_postgresql_database, postgresql_server
from serving.queue.jobs import Jobs
from serving.storage.database import Database
from tests.serving.models import write_model
from tests.serving.running import RunningServer

AFFINE = np.diag([-0.5, np.hypot(0.1, 0.75), 1.5, 1.0]).astype(np.float32)
AFFINE[:3, 3] = (3, -2, 7)
AFFINE[:2, :2] = np.array([[0.75, 0.1], [-0.1, 0.75]]) / np.hypot(0.1, 0.75) @ AFFINE[:2, :2]


@dataclass(frozen=True)
class Example:
    """A scan in a file, and its grey values."""

    path: Path
    grey: NDArray[np.int16]
    """(Z, Y, X)"""


@pytest.fixture(scope="session")
def postgresql(processes: None) -> Iterator[str]:
    """A server; each test makes a database of its own on it."""
    with postgresql_server() as uri:
        yield uri


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.process)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    else:
        database = Database(new_postgresql_database(request.getfixturevalue("postgresql")))
    database.open()
    yield database
    database.close()


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database, owner="server")


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """11 slices of 24 x 17 pixels, turned axes, one patient's left to the array's right."""
    grey = np.random.default_rng(7).integers(-1000, 1000, (11, 24, 17)).astype(np.int16)
    path = tmp_path_factory.mktemp("scan") / "fish_7.nii.gz"
    nib.save(nib.Nifti1Image(grey.T, AFFINE), path)
    return Example(path, grey)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None) -> Iterator[RunningServer]:
    limits = {"slab_slices": 4, "upload_timeout_seconds": 2}
    running = RunningServer(tmp_path_factory.mktemp("server"), model_dir, fork=False, **limits)
    yield running.start()
    running.end()
