"""Can a scan as large as production's be looked at fluently? What its viewer asks for at one place and another.

    python -m benchmarks.viewing
    python -m benchmarks.viewing --slices 3000

The scan is that of `benchmarks.capacity`: uint16, 1000 x 1000 pixels a slice, posted and segmented by a very small
network, whose labels are noise and so pack badly. The server is started again then, so that its memory is what looking
takes. A step is a move to another place along one axis, in a window of 1000 x 800 pixels with three planes: every chunk
that Neuroglancer asks for there and did not show before, of image and segmentation, at all levels from the coarsest to
the one that it draws, and the indices of their shards, as if none was known, over six connections. `first` are the same
steps when the server has not read these shards yet: it compares each with its checksum then. Writes
benchmarks/results/viewing.json: milliseconds of steps (median, 95th percentile), requests and bytes of one, and the
server's memory before and while.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.capacity import SIDE, scan_body
from benchmarks.effort import effort_of
from benchmarks.looking import Looker, View, opened_levels
from benchmarks.models import write_model
from benchmarks.server_memory import memory_samples
from harness import servers
from scans.geometry import Triple

STORES = ("image.ome.zarr", "segmentation.ome.zarr")
_MOST_SECONDS = 3600
_SAMPLE_SECONDS = 0.05
ANYWHERE = "all, nothing kept"
"""In the place of an axis: all three planes are fetched whole."""
_PAGE_FIT = 360
"""Pixels that the page fits a scan's longest side into: see `serving.web.viewer_state`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where the server fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewing", description="Looking at a large scan")
    parser.add_argument("--slices", type=int, default=3000, help="of the scan (3000)")
    parser.add_argument("--steps", type=int, default=40, help="along each axis (40)")
    parser.add_argument("--folder", type=Path, help="where to keep the store meanwhile (default: temporary files)")
    effort = effort_of(parser, arguments, least={"slices": 300, "steps": 4})
    given, console = effort.options, Console()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ricefish-viewing-", dir=given.folder))
        rows = measure(Path(folder), slices=given.slices, steps=given.steps, console=console)
    about = {"voxels": [given.slices, SIDE, SIDE], "dtype": "uint16", "window_pixels": [1000, 800], "connections": 6}
    path = effort.write("viewing", rows=rows, about=about)
    console.print(table(rows))
    console.print(f"Written to {path}")


def measure(folder: Path, *, slices: int, steps: int, console: Console) -> list[dict[str, Any]]:
    """One row for each zoom and axis."""
    server = servers.server(folder, model=write_model(folder / "model", "tiny"))
    server.start()
    try:
        scan_id = _finished(server, folder, slices, console)
        server.stop()
        server.start()
        idle = server.resident_bytes()
        rows = []
        for zoom, scale in (("as the page opens", max(slices, SIDE) / _PAGE_FIT), ("a pixel for each voxel", 1.0)):
            for axis in (*"zyx", ANYWHERE):
                row = {"zoom": zoom, "voxels_per_pixel": round(scale, 2), "axis": axis, "idle_bytes": idle}
                row |= _stepped(server, scan_id, axis, scale=scale, steps=steps)
                rows.append(row)
                console.print(
                    f"{zoom}, along {axis}: median {row['median_ms']} ms, 95 % within {row['p95_ms']} ms, "
                    f"{row['requests']} requests, {row['bytes'] / 1e6:.1f} MB",
                    highlight=False,
                )
        return rows
    finally:
        server.stop()


def _finished(server: servers.Process, folder: Path, slices: int, console: Console) -> str:
    """Posts the scan; its id once it is segmented."""
    began = time.perf_counter()
    with httpx.Client(base_url=server.url, timeout=_MOST_SECONDS, trust_env=False) as http:
        body = scan_body(folder, slices)
        answer = http.post("/v1/scans", params={"filename": "large.nii"}, content=body).raise_for_status()
        scan = servers.wait_until_ended(http, answer.json()["id"])
    if scan["state"] != "succeeded":
        raise SystemExit(f"viewing: the scan is {scan['state']}: {scan['error']}")
    console.print(f"{slices} slices are segmented after {time.perf_counter() - began:.0f} s", highlight=False)
    return str(scan["id"])


def _stepped(server: servers.Process, scan_id: str, axis: str, *, scale: float, steps: int) -> dict[str, Any]:
    """Steps along one axis, or to anywhere: in no order, all of them twice, of which the second time counts."""
    with Looker(server.url) as looker:
        stores = [opened_levels(looker, f"/v1/scans/{scan_id}/{name}") for name in STORES]
        views = [View(place, scale) for place in _places(stores[0][0].shape, axis, steps)]
        pairs = [(None if axis == ANYWHERE else before, view) for before, view in pairwise([views[-1], *views])]
        first = [_step(looker, stores, before, view) for before, view in pairs]
        with memory_samples(server, every_seconds=_SAMPLE_SECONDS) as samples:
            looked = [_step(looker, stores, before, view) for before, view in pairs]
    milliseconds, requests, sent = (np.array(column) for column in zip(*looked, strict=True))
    return {
        "steps": len(looked),
        "median_ms": round(float(np.median(milliseconds)), 1),
        "p95_ms": round(float(np.percentile(milliseconds, 95)), 1),
        "requests": int(np.median(requests)),
        "bytes": int(np.median(sent)),
        "first_median_ms": round(float(np.median([one[0] for one in first])), 1),
        "first_most_ms": round(max(one[0] for one in first), 1),
        "peak_bytes": max(samples),
    }


def _places(shape: Triple, axis: str, steps: int) -> list[Triple]:
    """From one end to the other, in no order; elsewhere than along the axis in the middle."""
    generator = np.random.default_rng(1)
    places = np.array([[size // 2 for size in shape]] * steps)
    for number, name in enumerate("zyx"):
        if axis in (name, ANYWHERE):
            places[:, number] = generator.permutation(np.linspace(0, shape[number] - 1, steps).astype(int))
    return [(int(z), int(y), int(x)) for z, y, x in places]


def _step(looker: Looker, stores: Sequence[Any], before: View | None, view: View) -> tuple[float, int, int]:
    """Milliseconds, requests and bytes."""
    began = time.perf_counter()
    requests, sent = looker.look(stores, view, before=before)
    return 1e3 * (time.perf_counter() - began), requests, sent


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line for each zoom and axis."""
    drawn = Table(title="Moving to another place", title_justify="left")
    headings = ("zoom", "along", "median, ms", "95 % within, ms", "requests", "MB", "server's memory: idle, most, MB")
    for heading in headings:
        drawn.add_column(heading, justify="right")
    for row in rows:
        memory = f"{row['idle_bytes'] / 1e6:.0f}, {row['peak_bytes'] / 1e6:.0f}"
        drawn.add_row(
            *(str(row[name]) for name in ("zoom", "axis", "median_ms", "p95_ms", "requests")),
            f"{row['bytes'] / 1e6:.1f}",
            memory,
        )
    return drawn


if __name__ == "__main__":
    main()
