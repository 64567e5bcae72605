"""Does memory grow with the scan? A scan of the size that production makes, posted as one raw body and fetched again.

    python -m benchmarks.capacity --slices 3000
    python -m benchmarks.capacity --slices 6000

The scan is uint16, 1000 x 1000 pixels a slice, made while it is sent; the network is very small. Writes
benchmarks/results/capacity.json: seconds and peak memory of the server after each part, and what it has while it
segments, the median of each quarter of that time: a peak says how many buffers happened to be full at once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.effort import effort_of
from benchmarks.models import write_model
from benchmarks.server_memory import memory_samples
from harness import servers
from scans.formats import create_volume, open_volume
from scans.geometry import Frame, Spacing

SIDE = 1000
FORMATS = ("ome-zarr", "tif", "nii.gz")
_MOST_SECONDS = 3600
_SAMPLE_SECONDS = 0.5
_QUARTERS = 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where the server fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description="Memory of a large scan")
    parser.add_argument("--slices", type=int, nargs="+", default=[3000, 6000], help="of the scans (3000 6000)")
    parser.add_argument("--folder", type=Path, help="where to keep the store meanwhile (default: temporary files)")
    effort = effort_of(parser, arguments, least={"slices": [256]})
    given, console = effort.options, Console()
    rows = []
    for slices in given.slices:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ricefish-capacity-", dir=given.folder))
            rows.append(measure(Path(folder), slices=slices, console=console))
            path = effort.write("capacity", rows=rows, about={"pixels": [SIDE, SIDE], "dtype": "uint16"})
    console.print(table(rows))
    console.print(f"Written to {path}")


def measure(folder: Path, *, slices: int, console: Console) -> dict[str, Any]:
    """Posts, waits, fetches; gives seconds and the server's peak memory after each part."""
    model = write_model(folder / "model", "tiny")
    server = servers.server(folder, model=model)
    server.start()
    row: dict[str, Any] = {"slices": slices, "bytes": slices * SIDE * SIDE * 2, "idle_bytes": server.peak_bytes()}
    try:
        with httpx.Client(base_url=server.url, timeout=_MOST_SECONDS, trust_env=False) as http:
            with _part(row, "post", server, console):
                body = scan_body(folder, slices)
                answer = http.post("/v1/scans", params={"filename": "large.nii"}, content=body).raise_for_status()
            with (
                _part(row, "segment", server, console),
                memory_samples(server, every_seconds=_SAMPLE_SECONDS) as samples,
            ):
                scan = servers.wait_until_ended(http, answer.json()["id"])
            row["segment_median_bytes_by_quarter"] = [
                int(np.median(quarter)) for quarter in np.array_split(samples, _QUARTERS)
            ]
            if scan["state"] != "succeeded":
                raise SystemExit(f"capacity: the scan is {scan['state']}: {scan['error']}")
            row["activities"] = scan["seconds"]
            for name in FORMATS:
                with _part(row, name, server, console):
                    _fetch(http, str(scan["id"]), name, folder / f"out.{name}", slices)
    finally:
        server.stop()
    return row


class _part:  # noqa: N801 - used as a statement
    """Measures one part of the job: its seconds and, after it, the server's peak memory."""

    def __init__(self, row: dict[str, Any], name: str, server: servers.Process, console: Console) -> None:
        self._row, self._name, self._server, self._console = row, name, server, console

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._row[f"{self._name}_seconds"] = round(time.perf_counter() - self._began, 2)
        self._row[f"{self._name}_peak_bytes"] = self._server.peak_bytes()
        self._console.print(
            f"{self._row['slices']} slices, {self._name}: {self._row[f'{self._name}_seconds']} s, "
            f"peak {self._server.peak_bytes() / 1e6:.0f} MB",
            highlight=False,
        )


def scan_body(folder: Path, slices: int, *, side: int = SIDE) -> Iterator[bytes]:
    """A NIfTI file of uint16, noise around smooth shapes, one slab repeated with other offsets, made while it is sent.

    Its header is written into the folder first.
    """
    header = folder / "header.nii"
    with create_volume(header, shape=(1, side, side), dtype=np.uint16, frame=_frame()) as writer:
        writer.write(np.zeros((1, side, side), np.uint16))
    start = bytearray(header.read_bytes()[:352])
    start[46:48] = np.array([slices], "<i2").tobytes()  # dim[3] of NIfTI-1
    yield bytes(start)
    y, x = np.mgrid[:side, :side] / side
    noise = np.random.default_rng(1).integers(0, 400, (8, side, side)).astype(np.uint16)
    for number in range(slices):
        shape = 1800 * (1 + np.sin(9 * y + number / 40) * np.cos(7 * x - number / 90))
        yield (shape.astype(np.uint16) + noise[number % 8]).tobytes()


def _frame() -> Frame:
    return Frame.from_lps(Spacing(0.01, 0.01, 0.01))


def _fetch(http: httpx.Client, scan_id: str, name: str, path: Path, slices: int) -> None:
    """Fetches it and looks at its last slice, so that no half of a file counts."""
    with http.stream("GET", f"/v1/scans/{scan_id}/segmentation", params={"format": name}) as answer:
        answer.raise_for_status()
        with path.open("wb") as file:
            for piece in answer.iter_raw():
                file.write(piece)
    if name == "nii.gz":
        return  # its last slice is behind all others; the format's own tests read it
    with open_volume(path) as volume:
        if volume.shape != (slices, SIDE, SIDE):
            raise SystemExit(f"capacity: {name} came back as {volume.shape}")
        volume.slab(slices - 1, slices)
    path.unlink()


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line per part of each scan."""
    drawn = Table(title="A scan of 1000 x 1000 pixels a slice", title_justify="left")
    for heading in ("slices", "part", "seconds", "peak memory of the server, MB"):
        drawn.add_column(heading, justify="right")
    for row in rows:
        for part in ("post", "segment", *FORMATS):
            drawn.add_row(
                str(row["slices"]), part, f"{row[f'{part}_seconds']:.1f}", f"{row[f'{part}_peak_bytes'] / 1e6:.0f}"
            )
    return drawn


if __name__ == "__main__":
    main()
