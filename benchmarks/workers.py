"""Do two workers do twice as much as one? The same scans through one worker and through two, in turns.

    python -m benchmarks.workers

A server takes the scans in and segments none; each worker computes on one thread, so that two have a core each where
there are two. PostgreSQL is the queue, a folder the store, the network the paper's. Writes
benchmarks/results/workers.json: slices per second of each round, and the ratio of the two medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console

from benchmarks.effort import effort_of
from benchmarks.models import write_model
from harness import servers
from harness.postgresql import postgresql_database
from scans.formats import create_volume
from scans.geometry import Frame, Spacing

SIDE = 256
_CROWDS = (1, 2)
"""Workers of each round."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    """With each number of workers."""
    scans: int
    """Of a round, all posted at once."""
    slices: int
    """Of a scan."""


def compare(plan: Plan, console: Console) -> list[dict[str, Any]]:
    """One row for each round. Raises SystemExit where a scan does not succeed."""
    with ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix="ricefish-workers-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(place))
        common: dict[str, object] = {
            "database_url": stack.enter_context(postgresql_database()),
            "threads": 1,
            "batch_size": 4,
            "slab_slices": 8,
            "concurrent_scans": 1,
        }
        model = write_model(folder / "model", "unet")
        taking_in = {**common, "concurrent_scans": 0, "worker_id": "server"}
        server = servers.server(folder, model=model, **taking_in)
        workers = [servers.worker(folder, name=f"worker-{n}", store=folder / "store", **common) for n in (1, 2)]
        stack.callback(server.stop)
        server.start()
        file = _write_scan(folder / "fish.nii", plan.slices)
        rows = []
        for _ in range(plan.rounds):
            for crowd in _CROWDS:
                rows.append(_measured(server.url, workers[:crowd], file, plan))
                console.print(rows[-1])
        return rows


def _measured(url: str, workers: Sequence[servers.Process], file: Path, plan: Plan) -> dict[str, Any]:
    with ExitStack() as stack:
        for worker in workers:
            stack.callback(worker.stop)
            worker.start()
        _segmented(url, file, scans=len(workers))  # each has its model by then
        seconds = _segmented(url, file, scans=plan.scans)
    slices = plan.scans * plan.slices
    return {
        "workers": len(workers),
        "slices": slices,
        "seconds": round(seconds, 2),
        "slices_per_second": round(slices / seconds, 2),
    }


def _segmented(url: str, file: Path, *, scans: int) -> float:
    """Posts so many scans at once; gives the seconds until all have ended."""
    began = time.perf_counter()
    with ThreadPoolExecutor(scans) as clients:
        list(clients.map(lambda _: _segment(url, file), range(scans)))
    return time.perf_counter() - began


def _segment(url: str, file: Path) -> None:
    with httpx.Client(base_url=url, timeout=600, trust_env=False) as http:
        query = {"filename": file.name, "fresh": "true"}
        posted = http.post("/v1/scans", params=query, content=file.read_bytes()).raise_for_status().json()
        scan = servers.wait_until_ended(http, posted["id"])
        if scan["state"] != "succeeded":
            raise SystemExit(f"workers: a scan {scan['state']}: {scan['error']}")


def _write_scan(path: Path, slices: int) -> Path:
    grey = np.random.default_rng(1).integers(0, 4000, (slices, SIDE, SIDE)).astype(np.uint16)
    with create_volume(
        path, shape=grey.shape, dtype=grey.dtype, frame=Frame.from_lps(Spacing(0.01, 0.01, 0.01))
    ) as writer:
        writer.write(grey)
    return path


def ratio(rows: Sequence[dict[str, Any]]) -> float:
    """Slices per second of two workers to those of one, medians over the rounds."""
    one, two = (
        statistics.median(float(row["slices_per_second"]) for row in rows if row["workers"] == crowd)
        for crowd in _CROWDS
    )
    return round(two / one, 2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where a scan does not succeed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description="Two workers against one")
    parser.add_argument("--rounds", type=int, default=3, help="with each number of workers (default: 3)")
    parser.add_argument("--scans", type=int, default=4, help="of a round (default: 4)")
    parser.add_argument("--slices", type=int, default=64, help="of a scan (default: 64)")
    effort = effort_of(parser, arguments, least={"rounds": 1, "scans": 2, "slices": 16})
    given, console = effort.options, Console()
    rows = compare(Plan(given.rounds, given.scans, given.slices), console)
    about = {"side": SIDE, "ratio": ratio(rows)}
    path = effort.write("workers", rows=rows, about=about)
    console.print(f"Two workers do {about['ratio']} times what one does. Written to {path}")


if __name__ == "__main__":
    main()
