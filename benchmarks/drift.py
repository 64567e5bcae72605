"""Are scans flagged that a model should not be trusted with, and ordinary ones not? Fifty scans of each kind.

    python -m benchmarks.drift --scans 50

Trains the demo's model on a commit (or takes --model FOLDER, with its Quality Classifier beside or below it), serves
it, posts synthetic scans of each kind of `benchmarks.unlike`, and writes benchmarks/results/drift.json after each kind.
Kinds that were measured with the same model and seed are kept: --kinds NAME measures some. With --raw FOLDER the images
of a raw data set, such as CT of people, are a kind of their own. The limits were chosen on another --seed (77).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import clone, results
from benchmarks.effort import Effort, effort_of
from benchmarks.unlike import KINDS, Scan
from harness import servers
from scans.formats import create_volume
from scans.geometry import Frame
from scans.model.manifest import ModelManifest

SEED = 2024
"""No fish of training or tuning is of this seed."""
RESULT = "drift"
FOREIGN = "raw"
"""Kind of the scans in --raw."""
_POSTED_AT_ONCE = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where the model cannot be trained."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="model folder (default: the demo's, trained on this commit)")
    parser.add_argument("--scans", type=int, default=50, help="of each kind (default: 50)")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), help="default: all")
    parser.add_argument("--raw", type=Path, help="folder of a raw data set whose images are posted as well")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the fish (default: {SEED})")
    parser.add_argument("--result", default=RESULT, help=f"name of the result file (default: {RESULT})")
    try:
        effort = effort_of(parser, arguments, least={"scans": 2, "kinds": list(KINDS)[:2]})
        with _model(effort) as model:
            measure(model, effort)
    except clone.BenchmarkError as error:
        raise SystemExit(f"drift: {error}") from None


@contextmanager
def _model(effort: Effort) -> Iterator[Path]:
    """That folder, or the Student of the demo's pipeline on the commit that is checked out."""
    if effort.options.model is not None:
        yield effort.options.model
        return
    with tempfile.TemporaryDirectory(prefix="ricefish-drift-") as temporary:
        variant = clone.active_variant(profile="demo", raw_dir=clone.REPOSITORY / "data" / "phantom")
        variant = replace(variant, smallest=effort.quick)
        yield clone.export(variant, name="demo-export", into=Path(temporary)) / "student"


def measure(model: Path, effort: Effort) -> None:
    """Posts scans of each kind, prints the table and writes it down after each kind."""
    console, options = Console(), effort.options
    kinds, scans, seed, raw = options.kinds, options.scans, options.seed, options.raw
    about = {"model_sha256": ModelManifest.read(model).model_sha256, "seed": seed}
    rows = [row for row in _before(options.result, about) if row["kind"] not in kinds and row["kind"] != FOREIGN]
    with tempfile.TemporaryDirectory(prefix="ricefish-drift-") as temporary:
        server = servers.server(Path(temporary) / "server", model=model).start()
        try:
            for name in kinds:
                kind, files = KINDS[name], _files(KINDS[name].make, Path(temporary), scans=scans, seed=seed)
                rows.append({"kind": name, "about": kind.about, "ordinary": kind.ordinary, **_flagged(server, files)})
                path = effort.write(options.result, rows=rows, about=about)
                console.print(f"{name}: {rows[-1]['flagged']} of {rows[-1]['scans']} flagged", highlight=False)
            if raw is not None:
                foreign = sorted((raw / "labelled" / "images").iterdir())[:scans]
                row = {"kind": FOREIGN, "about": f"images of {raw.name}", "ordinary": False}
                rows.append({**row, **_flagged(server, foreign)})
                path = effort.write(options.result, rows=rows, about=about)
        finally:
            server.stop()
    console.print(table(rows))
    console.print(f"Written to {path}")


def _before(result: str, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows that an earlier run measured of the same model and seed."""
    path = results.RESULTS / f"{result}.json"
    if not path.exists():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    same = all(content.get(key) == value for key, value in about.items())
    return list(content["rows"]) if same else []


def _files(make: Callable[[int, int], Scan], folder: Path, *, scans: int, seed: int) -> Iterator[Path]:
    for number in range(scans):
        scan, path = make(seed, number), folder / "scan.nii"
        frame = Frame.from_lps(scan.spacing)
        with create_volume(path, shape=scan.grey.shape, dtype=np.uint16, frame=frame) as volume:
            volume.write(scan.grey)
        yield path


def _flagged(server: servers.Process, files: Iterable[Path]) -> dict[str, Any]:
    """How many of the files are flagged, and by which codes."""
    ended: list[dict[str, Any]] = []
    with httpx.Client(base_url=server.url, timeout=600, trust_env=False) as http:
        waiting: list[str] = []
        for path in files:
            waiting.append(_post(http, path))
            if len(waiting) >= _POSTED_AT_ONCE:
                ended.append(servers.wait_until_ended(http, waiting.pop(0)))
        ended += [servers.wait_until_ended(http, scan_id) for scan_id in waiting]
    unfinished = [scan["error"] for scan in ended if scan["state"] != "succeeded"]
    if unfinished:
        raise clone.BenchmarkError(f"{len(unfinished)} scans did not succeed; the first: {unfinished[0]}")
    return {
        "scans": len(ended),
        "flagged": sum(scan["flagged"] for scan in ended),
        "codes": dict(Counter(warning["code"] for scan in ended for warning in scan["warnings"]).most_common()),
    }


def _post(http: httpx.Client, path: Path) -> str:
    answer = http.post("/v1/scans", params={"filename": path.name, "fresh": "true"}, content=path.read_bytes())
    scan_id: str = answer.raise_for_status().json()["id"]
    return scan_id


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """A line for each kind: how many were flagged, and by what."""
    drawn = Table(title="Scans flagged", title_justify="left")
    for heading in ("kind", "scans", "flagged", "codes"):
        drawn.add_column(heading, justify="left" if heading in ("kind", "codes") else "right")
    for row in rows:
        codes = ", ".join(f"{code} {count}" for code, count in row["codes"].items())
        drawn.add_row(row["about"], str(row["scans"]), f"{row['flagged'] / row['scans']:.0%}", codes)
    return drawn


if __name__ == "__main__":
    main()
