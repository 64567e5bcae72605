"""`ricefish segment`: its options, and whether they ask for one scan, as `segment` does it, or for a batch of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ricefish.cli.mistakes import of_a_server
from ricefish.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Authority, Server, SpacingText, read_spacing
from ricefish.client.parameters import Priority

_MOST_JOBS = 64


def segment(  # noqa: PLR0917 - typer passes options by name
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Scans: files, folders with a DICOM or TIFF series or OME-Zarr, folders of scans, and patterns such "
            "as 'day_*/*.nii.gz'.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Segmentation of one scan: .nii.gz, .nrrd, .tif or .ome.zarr; else a folder."),
    ],
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    spacing: SpacingText = None,
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
    suffix: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Of the segmentations in a folder: nii.gz, nrrd, seg.nrrd, tif, ome.zarr, ome.zarr.zip or, of DICOM "
            "series, dcm; nii.gz unless it is said, ome.zarr with --with-scan.",
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=_MOST_JOBS, help="Scans of a folder that are under way at once.")
    ] = 8,
    as_json: AsJson = False,
) -> None:
    """Segments scans on a server: one into a file, with a table of its organs, or any number into a folder.

    For many scans -o is a folder. A segmentation that is there already is left as it is, so a command that was ended
    goes on when it is given again; a scan that fails stops no other. Exit status 1: some have failed.

    The key of a server that wants one is read from the environment variable RICEFISH_API_KEY.
    """
    from ricefish.cli.batch import BatchOptions  # noqa: PLC0415
    from ricefish.cli.several import is_one, segment_one, segment_several  # noqa: PLC0415
    from ricefish.client.client import Client  # noqa: PLC0415
    from ricefish.inputs import expanded  # noqa: PLC0415

    with of_a_server():
        options = BatchOptions(
            spacing=read_spacing(spacing),
            priority=priority,
            fresh=fresh,
            model=model,
            version=model_version,
            dataset=dataset,
            with_scan=with_scan,
            force=force,
            organs=as_json,
        )
        paths = expanded(files)
        with Client(server, key=key, resumable_bytes=round(resume_above * 1e6), ca=authority) as client:
            if is_one(paths, out, suffix=suffix):
                failed = segment_one(client, paths[0], out, options)
            else:
                failed = segment_several(client, paths, out, options, suffix=suffix, jobs=jobs)
    raise typer.Exit(int(failed))
