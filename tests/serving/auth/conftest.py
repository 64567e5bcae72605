"""Servers of one store, with other settings from start to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving.running import RunningServer

Serve = Callable[..., RunningServer]


@pytest.fixture
def serve(tmp_path: Path, model_dir: Path) -> Iterator[Serve]:
    """Makes servers of one store, ended at the end of the test."""
    made: list[RunningServer] = []

    def new(**settings: object) -> RunningServer:
        made.append(RunningServer(tmp_path, model_dir, **settings))
        return made[-1]

    yield new
    for server in made:
        server.end()
