"""`ricefish correct`: a segmentation that somebody has put right goes back to the server, as its next version."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricefish.cli.mistakes import of_a_server
from ricefish.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Authority, Server

if TYPE_CHECKING:
    from rich.table import Table

    from ricefish.client.corrections import SegmentationVersion


def correct(  # noqa: PLR0917 - typer passes options by name
    scan: Annotated[str, typer.Argument(help="Id of a finished scan.")],
    file: Annotated[Path, typer.Argument(help="The labels, in any format that is read, or a folder: OME-Zarr.")],
    dataset: Annotated[
        str | None, typer.Option(help="Name of the data set in an HDF5 file, or array in a Zarr, that holds several.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    authority: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Sends a corrected segmentation as the next version of a scan's, and prints what it changes.

    Every voxel has the number that the organ has in the model's answer, 0 for background, or 255 where nobody has
    looked. The axes may run otherwise than the scan's; segments of 3D Slicer go by their names.
    """
    from ricefish.cli.tables import print_whole  # noqa: PLC0415
    from ricefish.client.client import Client  # noqa: PLC0415

    with of_a_server(), Client(server, key=key, ca=authority) as client:
        version = client.correct(scan, file, dataset=dataset)
    if as_json:
        changes = [asdict(change) for change in version.changes]
        print(
            json.dumps({"scan": scan, "version": version.number, "notes": version.notes, "changes": changes}, indent=2)
        )
        return
    for note in version.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"version {version.number} of scan {scan}")
    print_whole(_changes(version))


def _changes(version: SegmentationVersion) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table("organ")
    for heading in ("voxels added", "removed", "Dice of the model"):
        table.add_column(heading, justify="right")
    for change in version.changes:
        dice = "-" if change.dice is None else f"{change.dice:.3f}"
        table.add_row(change.name, f"{change.added:,}", f"{change.removed:,}", dice)
    return table
