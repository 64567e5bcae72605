"""The shadow on workers that share a queue: the server segments nothing, and one worker goes on for another."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np

from harness import forked
from harness.postgresql import new_postgresql_database
from tests.serving.models import write_model

SLICES = 16


def until(reached: Callable[[], object], *, logs: list[Path]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline, [log.read_text()[-3000:] for log in logs]
        time.sleep(0.02)


def test_another_worker_goes_on_where_one_was_killed(tmp_path: Path, postgresql: str) -> None:
    """SIGKILL in the middle of a comparison: once the lease has run out, it is ended elsewhere, each slab once."""
    common = {
        **{"database_url": new_postgresql_database(postgresql), "threads": 1, "batch_size": 4, "slab_slices": 1},
        **{"lease_seconds": 2, "shadow_share": 1},
        "shadow": write_model(tmp_path / "shadow", thresholds=(0.5, 0.8), rounds=25),
    }
    model = write_model(tmp_path / "model")
    server = forked.server(tmp_path, model=model, **{**common, "concurrent_scans": 0, "worker_id": "server"})
    workers = [forked.worker(tmp_path, name=f"worker-{n}", store=tmp_path / "store", **common) for n in range(2)]
    grey = np.random.default_rng(3).integers(0, 101, (SLICES, 48, 40)).astype(np.int16)
    nib.save(nib.Nifti1Image(grey.T, np.eye(4)), tmp_path / "fish.nii")
    dead, heir = workers
    try:
        server.start()
        dead.start()
        with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
            content = (tmp_path / "fish.nii").read_bytes()
            scan_id = http.post("/v1/scans", params={"filename": "fish.nii"}, content=content).json()["id"]
            slab = rf"event=shadow_slab_compared scan={scan_id} slab=(\d+)"
            until(lambda: len(re.findall(slab, dead.log.read_text())) >= 3, logs=[dead.log])
            dead.kill()
            assert http.get(f"/v1/scans/{scan_id}").json()["state"] == "succeeded"
            assert http.get("/v1/models/shadow").json()["waiting"] == 1
            heir.start()
            until(lambda: f"event=shadow_compared scan={scan_id}" in heir.log.read_text(), logs=[dead.log, heir.log])
            found = http.get("/v1/models/shadow").json()
        done = [int(n) for log in (dead.log, heir.log) for n in re.findall(slab, log.read_text())]
        assert sorted(set(done)) == list(range(SLICES)) and len(done) - SLICES <= 1
        assert (found["waiting"], found["comparisons"][0]["scans"]) == (0, 1)
    finally:
        for process in (*workers, server):
            process.kill()
