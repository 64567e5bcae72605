"""A server of a tiny model for the tests of many scans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
