"""A server, a relay in front of it that misbehaves when told to, and a large scan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.e2e.resumable.relay import Relay
from tests.serving.models import write_model
from tests.serving.running import RunningServer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: Path, processes: None) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("server"), model)
    yield running.start()
    running.end()


@pytest.fixture
def relay(server: RunningServer) -> Iterator[Relay]:
    between = Relay(lambda: server.url)
    yield between
    between.close()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where uploads are remembered."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "ricefish" / "uploads"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """25 MB, other ones for each test."""
    seed = int.from_bytes(tmp_path.name.encode(), "little")
    grey = np.random.default_rng(seed).integers(0, 999, (48, 512, 512)).astype(np.int16)
    path = tmp_path / "scans" / "fish.nii"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(grey.T, np.diag([0.01, 0.02, 0.03, 1])), path)
    return path
