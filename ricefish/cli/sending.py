"""`ricefish segment`: its options. `segment` is what it does with one scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricefish.cli.mistakes import of_a_server
from ricefish.cli.options import DEFAULT_SERVER, ApiKey, Authority, Server
from ricefish.client.parameters import Priority

if TYPE_CHECKING:
    from scans.geometry import Spacing


def segment(  # noqa: PLR0917 - typer passes options by name
    file: Annotated[Path, typer.Argument(help="Scan: a file, or a folder with a DICOM or TIFF series or OME-Zarr.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Segmentation: .nii.gz, .nrrd, .tif or .ome.zarr.")],
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    spacing: Annotated[
        str | None, typer.Option(help="Z,Y,X in mm, for files that do not state their voxel spacing.")
    ] = None,
    priority: Annotated[Priority, typer.Option(help="Which scans go first.")] = "normal",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Segment it even if the same file was segmented with this model.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Name of a model that the server serves; else its default.")] = None,
    model_version: Annotated[
        str | None,
        typer.Option(
            "--version", metavar="VERSION", help="Version of the model, if that is served; else the present one."
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Name of the data set in an HDF5 file, or array in a Zarr, that holds several; of a TIFF, frames or "
            "channels, if its slices were saved as such."
        ),
    ] = None,
    with_scan: Annotated[
        bool,
        typer.Option("--with-scan", help="Have the scan in the output too, with the organs as its labels: OME-Zarr."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --out already.")] = False,
    authority: Authority = None,
    resume_above: Annotated[
        float, typer.Option(min=0, metavar="MB", help="A larger file goes on where it stopped when it is sent again.")
    ] = 64.0,
) -> None:
    """Segments a scan on a server: writes the segmentation, and prints the scan's id and a table of organs.

    The key of a server that wants one is read from the environment variable RICEFISH_API_KEY.
    """
    from ricefish.cli.segment import organ_table  # noqa: PLC0415
    from ricefish.cli.segment import segment as run  # noqa: PLC0415
    from ricefish.cli.tables import print_whole  # noqa: PLC0415
    from ricefish.client.client import Client  # noqa: PLC0415

    with of_a_server():
        where = _spacing(spacing)
        with Client(server, key=key, resumable_bytes=round(resume_above * 1e6), ca=authority) as client:
            rows = run(
                client,
                file,
                out,
                spacing=where,
                priority=priority,
                fresh=fresh,
                model=model,
                version=model_version,
                dataset=dataset,
                with_scan=with_scan,
                force=force,
            )
    print_whole(organ_table(rows))


def _spacing(text: str | None) -> Spacing | None:
    """Raises ValueError that says how to write it."""
    from scans.geometry import Spacing  # noqa: PLC0415

    if text is None:
        return None
    parts = [float(part) for part in text.split(",")]
    if len(parts) != 3:
        raise ValueError(f"--spacing is {text!r}; give Z,Y,X in mm, such as 0.01,0.005,0.005")
    return Spacing(*parts)
