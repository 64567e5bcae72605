"""Scans of a server as a terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from ricefish.client.scan_status import ScanStatus


def scans_table(scans: Sequence[ScanStatus]) -> Table:
    """A row for each scan."""
    table = Table("scan", "file", "state")
    table.add_column("slices", justify="right")
    for heading in ("model", "posted", "note"):
        table.add_column(heading)
    for scan in scans:
        note = scan.error or (f"{len(scan.warnings)} warnings" if scan.warnings else "")
        slices = f"{scan.slices_done:,} of {scan.slices_total:,}"
        table.add_row(scan.id, scan.filename, scan.state, slices, scan.model, _time(scan.content.get("created")), note)
    return table


def scan_table(scan: ScanStatus) -> Table:
    """All that is known of one scan."""
    told = scan.content
    table = Table(show_header=False)
    table.add_row("scan", scan.id)
    table.add_row("file", scan.filename)
    table.add_row("state", scan.state)
    table.add_row("slices", f"{scan.slices_done:,} of {scan.slices_total:,}")
    if scan.slices_per_second is not None:
        table.add_row("slices/s", f"{scan.slices_per_second:.1f}")
    if scan.eta_seconds is not None:
        table.add_row("seconds left", f"{scan.eta_seconds:.0f}")
    table.add_row("model", scan.model)
    table.add_row("priority", str(told.get("priority", "")))
    table.add_row("voxels z, y, x", _listed(told.get("shape")))
    table.add_row("spacing z, y, x in mm", _listed(told.get("spacing_mm")))
    table.add_row("posted", _time(told.get("created")))
    table.add_row("ended", _time(told.get("finished")))
    table.add_row("sha256", str(told.get("sha256", "")))
    said = [("error", scan.error or ""), *(("warning", text) for text in scan.warnings)]
    for name, text in (*said, *(("note", text) for text in scan.notes)):
        if text:
            table.add_row(name, text)
    return table


def _time(stated: object) -> str:
    """Of a moment as JSON has it, here; nothing of none."""
    return f"{datetime.fromisoformat(stated).astimezone():%Y-%m-%d %H:%M}" if isinstance(stated, str) else ""


def _listed(values: object) -> str:
    return ", ".join(f"{value:g}" for value in values) if isinstance(values, list) else ""
