"""`ricefish reviews`: what people said of slices, from a server into the file that retraining reads."""

# ruff: noqa: PLC0415  what a command needs is imported when it is called
from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from scans.reviews import Verdict

app = typer.Typer(no_args_is_help=True, help="Reviews of slices: what people said of a server's segmentations.")


@app.callback()
def main() -> None:
    """Reviews of slices: what people said of a server's segmentations."""


@app.command()
def export(  # noqa: PLR0917 - typer passes options by name
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file, such as data/reviews.csv.")],
    server: Annotated[
        str, typer.Option(envvar="RICEFISH_SERVER", help="Address of the server.")
    ] = "http://127.0.0.1:8000",
    key: Annotated[
        str | None, typer.Option(envvar="RICEFISH_API_KEY", help="API key of a server that wants one.")
    ] = None,
    scan: Annotated[str | None, typer.Option(help="Only of the scan with this id.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Only of this reviewer.")] = None,
    verdict: Annotated[Verdict | None, typer.Option(help="Only these verdicts.")] = None,
    organ: Annotated[str | None, typer.Option(help="Only verdicts on this organ.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only those given then or later, by this machine.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --out already.")] = False,
    authority: Annotated[
        Path | None,
        typer.Option("--ca", envvar="RICEFISH_CA", help="Certificate (PEM) of who signed the server's, if private."),
    ] = None,
) -> None:
    """Writes the verdicts on the scans that the key may review, as label_quality and refine read them.

    Each is for the very mask that was seen: a verdict on another one than the pseudo-label teaches nothing.
    """
    import httpx

    from ricefish.cli.output import check_output
    from ricefish.client.client import Client, RicefishError
    from ricefish.client.review_calls import ReviewSelection

    try:
        check_output(out, sent_bytes=0, force=force)
        with Client(server, key=key, ca=authority) as client:
            selection = ReviewSelection(scan, reviewer, verdict, organ, since)
            client.reviews.export(out, selection)
    except (RicefishError, OSError, ValueError, httpx.InvalidURL) as error:
        typer.echo(f"ricefish reviews: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{out} is written.", err=True)
