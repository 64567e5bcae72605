"""`make demo`: trains on synthetic fish, promotes and serves the Student, and posts a held-out fish to it over HTTP.

Leaves demo/overlay.png, demo/metrics.json and demo/segmentation.nii.gz. Run again, it does again only what changed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from demo import picture, report
from demo.held_out import HeldOutFish, held_out_fish
from demo.parts import DemoError, Parts, run, tool_environment
from demo.runs_page import runs_page
from demo.server import running_server
from ricefish.cli.segment import segment
from ricefish.client import Client, RicefishError
from scans.formats import open_volume
from scans.measures.metrics import OrganCounts, VolumeScores
from scans.measures.statistics import OrganRow
from training.params import load_params
from training.registry.versions import CHAMPION, Registry

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = Path("demo")
OVERLAY = FOLDER / "overlay.png"
METRICS = FOLDER / "metrics.json"
SEGMENTATION = FOLDER / "segmentation.nii.gz"
SERVER_LOG = FOLDER / "logs" / "server.log"
EVALUATION = Path("metrics/evaluate.json")


def main() -> int:
    """Runs every part; the exit code is 1 where one failed, and the message names it."""
    os.chdir(REPOSITORY)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    signal.signal(signal.SIGTERM, _stop)
    console = Console()
    parts = Parts(console)
    try:
        _demo(parts, console)
    except KeyboardInterrupt:
        console.print(f"\ndemo: stopped during {parts.current}; `make demo` goes on from there", highlight=False)
        return 130
    except (DemoError, RicefishError, OSError, ValueError) as error:
        console.print(f"\n[bold red]demo: {parts.current} failed[/]")
        console.print(str(error), markup=False, highlight=False)
        return 1
    return 0


def _demo(parts: Parts, console: Console) -> None:
    with parts.part("pipeline: dvc repro"):
        _require_phantoms()
        run(["dvc", "repro"], folder=REPOSITORY)
    with parts.part("promotion: ricefish models promote"):
        _promote(console)
    with tempfile.TemporaryDirectory(prefix="ricefish-demo-") as temporary:
        fish = held_out_fish()
        scan_path = Path(temporary) / f"{fish.record.id}.nii.gz"
        fish.write_scan(scan_path)
        rows = _segment_over_http(parts, console, scan_path, store=Path(temporary) / "store")
    with parts.part("report"):
        served = _read_segmentation(fish)
        picture.draw(OVERLAY, fish, served)
        scores = report.read_scores(EVALUATION)
        report.write_metrics(METRICS, scores)
        page = runs_page()
    counts = OrganCounts.of(served, fish.truth, classes=fish.organs.classes)
    this_fish = VolumeScores.from_counts(fish.record.id, counts, fish.organs)
    console.print(report.scores_table(scores))
    console.print(report.organs_table(rows, fish.true_rows(), this_fish))
    console.print(parts.table())
    console.print(_where(page), markup=False, highlight=False, soft_wrap=True)


def _require_phantoms() -> None:
    if not load_params().prepare.phantoms.validation:
        raise DemoError(
            "params.yaml is set to another profile than the demo's synthetic fish; switch back with\n"
            "  dvc exp run -S profile=demo -S raw_dir=data/phantom"
        )


def _promote(console: Console) -> None:
    """Moves `champion` to the new Student where the gate lets it; else the champion of before stays and is served."""
    model = load_params().register.model
    command = ["ricefish", "models", "promote", model]
    if subprocess.run(command, cwd=REPOSITORY, env=tool_environment(), check=False).returncode == 0:
        return
    champion = Registry(model).at(CHAMPION)
    if champion is None:
        raise DemoError(f"`{' '.join(command)}` failed, for the reason above, and there is no champion to serve")
    console.print(f"The new version was not promoted, for the reason above: {champion} stays champion and is served.")


def _segment_over_http(parts: Parts, console: Console, scan_path: Path, *, store: Path) -> list[OrganRow]:
    model = f"models:/{load_params().register.model}@champion"
    with ExitStack() as stack:
        with parts.part("server: ricefish serve"):
            server = running_server(model, store=store, log_path=SERVER_LOG, folder=REPOSITORY)
            address = stack.enter_context(server)
            console.print(f"{model} is ready at {address}", markup=False, highlight=False)
        with parts.part("request: POST /v1/scans"):
            client = stack.enter_context(Client(address))
            rows = segment(client, scan_path, SEGMENTATION, spacing=None)
            console.print(f"{scan_path.name} came back as {SEGMENTATION}", markup=False, highlight=False)
    return rows


def _read_segmentation(fish: HeldOutFish) -> NDArray[np.uint8]:
    """The file that was downloaded, uint8 (Z, Y, X). Raises DemoError unless it lies where the scan lies."""
    with open_volume(SEGMENTATION) as volume:
        if volume.shape != fish.record.shape or not np.allclose(volume.frame.matrix, fish.record.frame.matrix):
            raise DemoError(f"{SEGMENTATION} does not have the shape and the frame of the scan that was posted")
        return volume.slab(0, volume.shape[0]).astype(np.uint8)


def _where(page: str) -> str:
    return "\n".join(
        [
            f"picture        {OVERLAY}",
            f"metrics        {METRICS}",
            f"segmentation   {SEGMENTATION}",
            f"server's log   {SERVER_LOG}",
            f"MLflow         {page}",
        ]
    )


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
