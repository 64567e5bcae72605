"""`ricefish segment`: a file to a server and back, with a bar on a terminal and a table of organs at the end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from ricefish.cli.output import check_outputs, check_source, fetch_result, outputs
from ricefish.client.client import Client, RicefishError, ScanStatus
from ricefish.client.organs import ServedOrgan
from ricefish.client.parameters import Priority, download_parameters
from ricefish.client.upload_body import Report, upload_bytes
from scans.geometry import Spacing
from scans.model.expected_dice import ExpectedDice


@dataclass(frozen=True)
class Segmented:
    """A scan that has succeeded, and its organs."""

    scan: ScanStatus
    organs: list[ServedOrgan]


def segment(
    client: Client,
    path: Path,
    out: Path,
    *,
    spacing: Spacing | None = None,
    priority: Priority = "normal",
    fresh: bool = False,
    model: str | None = None,
    version: str | None = None,
    dataset: str | None = None,
    with_scan: bool = False,
    force: bool = False,
) -> Segmented:
    """Sends a file or folder, waits, fetches the segmentation; gives the scan and its organs.

    Draws bars on a terminal's stderr, where the scan's id, notes and warnings go too. Beside a NIfTI it writes
    NAME_labels.txt, the description of its labels that ITK-SNAP imports.

    `with_scan`: the scan is in the OME-Zarr too, and the organs are its labels.

    Before anything is sent it raises FileNotFoundError, ValueError for a suffix of `out` that is no format, or no
    OME-Zarr `with_scan`, and OutputRefused for DICOM of a file that is none, and where it could not be written, or
    where it exists and `force` does not replace it; then RicefishError if the server refuses or the scan does not
    succeed.
    """
    download_parameters(out, with_scan=with_scan)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    check_source(path, out)
    check_outputs(out, sent_bytes=upload_bytes(path), force=force)
    console = Console(stderr=True)
    with Progress(*_bytes_columns(), console=console, disable=not console.is_terminal) as bar:
        report = _sending_bar(bar, path)
        scan = client.submit(
            path,
            spacing=spacing,
            priority=priority,
            fresh=fresh,
            model=model,
            version=version,
            dataset=dataset,
            report=report,
        )
    console.print(f"scan {scan.id}", markup=False, highlight=False, soft_wrap=True)
    for note in scan.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    status = _follow(client, scan, console=console)
    if status.state != "succeeded":
        raise RicefishError(f"{path}: the scan {status.state}: {status.error or 'somebody deleted or cancelled it'}")
    for warning in status.warnings:
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    with Progress(*_bytes_columns(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("fetching", total=None)
        replaced = [place for place in outputs(out) if os.path.lexists(place)]
        report = partial(_show_bytes, bar, task)
        fetch_result(client, scan.id, out, with_scan=with_scan, force=force, report=report)
    for place in replaced:
        console.print(f"{place} was there before, and is replaced", markup=False, highlight=False, soft_wrap=True)
    return Segmented(status, client.organs(scan.id))


def _show_bytes(bar: Progress, task: TaskID, done: int) -> None:
    bar.update(task, completed=done)


def organ_table(rows: list[ServedOrgan]) -> Table:
    """Organs with their size and place, and the Dice that is expected of them, as a terminal shows them."""
    judged = any(row.expected_dice is not None for row in rows)
    table = Table()
    table.add_column("organ")
    for heading in ("voxels", "volume mm³", "centre z, y, x", *(("expected Dice",) if judged else ())):
        table.add_column(heading, justify="right")
    table.add_column("cut off?")
    for row in rows:
        centre = "-" if row.centroid_voxels is None else ", ".join(f"{value:.1f}" for value in row.centroid_voxels)
        cut = "touches the border" if row.touches_border else ""
        expected = (said_of(row.expected_dice),) if judged else ()
        table.add_row(row.name, f"{row.voxels:,}", f"{row.volume_mm3:.4g}", centre, *expected, cut)
    return table


def said_of(expected: ExpectedDice | None) -> str:
    """`0.82 (0.70-0.91)`, the bounds in brackets; a dash where nothing is expected."""
    return "-" if expected is None else f"{expected.dice:.2f} ({expected.low:.2f}-{expected.high:.2f})"


def _sending_bar(bar: Progress, path: Path) -> Report:
    """Draws bytes as they go; those of an earlier upload come with the first report, which counts for no speed."""
    total = upload_bytes(path)
    task = bar.add_task("sending", total=total)

    def report(done: int) -> None:
        bar.update(task, completed=done, description="verifying" if done >= total else "sending")

    return report


def _follow(client: Client, scan: ScanStatus, *, console: Console) -> ScanStatus:
    status = scan
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("slices"),
        _ServersRate(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(scan.state, total=scan.slices_total, status=scan)
        for status in client.wait(scan.id):
            bar.update(task, completed=status.slices_done, description=status.state, status=status)
    return status


class _ServersRate(ProgressColumn):
    """Rate and remaining time as the server measures them."""

    def render(self, task: Task) -> Text:
        status: ScanStatus = task.fields["status"]
        if status.slices_per_second is None:
            return Text("")
        rate = f"{status.slices_per_second:.1f} slices/s"
        if status.eta_seconds is None:
            return Text(rate)
        minutes, seconds = divmod(round(status.eta_seconds), 60)
        return Text(f"{rate}, {minutes // 60}:{minutes % 60:02d}:{seconds:02d} left")


def _bytes_columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
