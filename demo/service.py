"""The second half of the demo: the champion is served, a held-out fish is posted to it, and what came back is shown."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from demo import picture, report
from demo.held_out import HeldOutFish, held_out_fish
from demo.parts import DemoError, Parts
from demo.server import running_server
from ricefish.cli.segment import segment
from ricefish.client import Client, RicefishError
from ricefish.client.organs import ServedOrgan
from scans.formats import open_volume
from scans.measures.metrics import OrganCounts, VolumeScores

FOLDER = Path("demo")
OVERLAY = FOLDER / "overlay.png"
METRICS = FOLDER / "metrics.json"
SEGMENTATION = FOLDER / "segmentation.nii.gz"
SERVER_LOG = FOLDER / "logs" / "server.log"
EVALUATION = Path("metrics/evaluate.json")


def show(model: str, parts: Parts, console: Console, environment: Mapping[str, str]) -> None:
    """Serves the champion of `model`, posts a fish, draws and prints; paths are relative to the working directory.

    Raises DemoError where the server does not start or does not segment the fish.
    """
    with tempfile.TemporaryDirectory(prefix="ricefish-demo-") as temporary:
        fish = held_out_fish()
        scan_path = Path(temporary) / f"{fish.record.id}.nii.gz"
        fish.write_scan(scan_path)
        rows = segment_over_http(f"models:/{model}@champion", parts, console, scan_path)
    with parts.part("report", step="report"):
        served = _read_segmentation(fish)
        picture.draw(OVERLAY, fish, served)
        scores = report.read_scores(EVALUATION)
        report.write_metrics(METRICS, scores)
        page = _runs_page(environment)
    counts = OrganCounts.of(served, fish.truth, classes=fish.organs.classes)
    this_fish = VolumeScores.from_counts(fish.record.id, counts, fish.organs)
    console.print(report.scores_table(scores))
    control = report.read_control(EVALUATION, fish.record.id)
    console.print(report.organs_table(rows, fish.true_rows(), this_fish, control=control))
    console.print(parts.table())
    console.print(_where(page), markup=False, highlight=False, soft_wrap=True)


def segment_over_http(model: str, parts: Parts, console: Console, scan_path: Path) -> list[ServedOrgan]:
    """Starts a server of that model, has it segment the scan into SEGMENTATION, and stops it. Raises DemoError."""
    with ExitStack() as stack:
        with parts.part("server: ricefish serve", step="server"):
            server = running_server(model, store=scan_path.parent / "store", log_path=SERVER_LOG, folder=Path())
            address = stack.enter_context(server)
            console.print(f"{model} is ready at {address}", markup=False, highlight=False)
        with parts.part("request: POST /v1/scans", step="request"):
            client = stack.enter_context(Client(address))
            try:
                rows = segment(client, scan_path, SEGMENTATION, spacing=None, force=True).organs
            except RicefishError as error:
                raise DemoError(str(error)) from error
            console.print(f"{scan_path.name} came back as {SEGMENTATION}", markup=False, highlight=False)
    return rows


def _read_segmentation(fish: HeldOutFish) -> NDArray[np.uint8]:
    """The file that was downloaded, uint8 (Z, Y, X). Raises DemoError unless it lies where the scan lies."""
    with open_volume(SEGMENTATION) as volume:
        if volume.shape != fish.record.shape or not np.allclose(volume.frame.matrix, fish.record.frame.matrix):
            raise DemoError(f"{SEGMENTATION} does not have the shape and the frame of the scan that was posted")
        return volume.slab(0, volume.shape[0]).astype(np.uint8)


def _runs_page(environment: Mapping[str, str]) -> str:
    """Asked of a process that has imported MLflow already."""
    command = ["python", "-m", "demo.runs_page"]
    done = subprocess.run(command, env=dict(environment), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise DemoError("the run of the Student cannot be found in MLflow, for the reason above")
    return done.stdout.strip()


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
