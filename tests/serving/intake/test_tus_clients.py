"""The tus clients that the world has, killed in the middle, and the server killed in the middle of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import resume
from harness import forked, servers


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, processes: None) -> Iterator[servers.Process]:
    server = forked.server(tmp_path_factory.mktemp("tus"), model=model_dir, threads=1, batch_size=1)
    yield server.start()
    server.kill()


@pytest.mark.parametrize("victim", ["client", "server"])
@pytest.mark.parametrize("client", resume.CLIENTS)
def test_an_upload_survives(own_server: servers.Process, tmp_path: Path, client: str, victim: resume.Victim) -> None:
    """Started again, the client goes on where it was; with the server gone for a while, it waits."""
    file = resume.write_file(tmp_path / "fish.nii", 8)
    upload = resume.Upload(client, f"{own_server.url}/v1/uploads", file, tmp_path / "state.json", 1 << 20, 4e6)
    row = resume.survive(own_server, upload, victim=victim)
    assert 0.4 < row["killed_at_bytes"] / row["bytes"] < 1
