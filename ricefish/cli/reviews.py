"""`ricefish reviews`: what people said of slices, from a server into the file that retraining reads."""

# ruff: noqa: PLC0415  what a command needs is imported when it is called
from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ricefish.cli.mistakes import of_a_server
from ricefish.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Authority, Server
from scans.reviews import Verdict, masks_dir

app = typer.Typer(no_args_is_help=True, help="Reviews of slices: what people said of a server's segmentations.")


@app.callback()
def main() -> None:
    """Reviews of slices: what people said of a server's segmentations."""


@app.command()
def export(  # noqa: PLR0917 - typer passes options by name
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file, such as data/reviews.csv.")],
    scan: Annotated[str | None, typer.Option(help="Only of the scan with this id.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Only of this reviewer.")] = None,
    verdict: Annotated[Verdict | None, typer.Option(help="Only these verdicts.")] = None,
    organ: Annotated[str | None, typer.Option(help="Only verdicts on this organ.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only those given then or later, by this machine.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --out already.")] = False,
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    authority: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Writes the verdicts on the scans that the key may review, as label_quality and refine read them.

    Each is for the very mask that was seen, which comes into the folder beside the file: data/reviews/DIGEST.png of
    data/reviews.csv. A command that was cut off is given again, and goes on.
    """
    from ricefish.cli.output import check_output
    from ricefish.client.client import Client
    from ricefish.client.review_calls import ReviewSelection

    with of_a_server():
        check_output(out, sent_bytes=0, force=force)
        with Client(server, key=key, ca=authority) as client:
            done = client.reviews.export(out, ReviewSelection(scan, reviewer, verdict, organ, since))
    if done.not_kept:
        typer.echo(
            f"{done.not_kept} masks that were judged are not kept at the server any more: what was said of them counts "
            "only where a pseudo-label is that very mask.",
            err=True,
        )
    if as_json:
        counts = {"reviews": done.reviews, "masks": done.masks, "masks_not_kept": done.not_kept}
        print(json.dumps({"output": str(out), **counts}, indent=2))
    else:
        typer.echo(f"{out} is written, with {done.masks} masks in {masks_dir(out)}.", err=True)
