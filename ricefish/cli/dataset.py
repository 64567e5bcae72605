"""`ricefish dataset`: scans and corrections of a server become a raw data set, which `dvc repro` learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ricefish.cli.mistakes import of_a_server
from ricefish.cli.options import DEFAULT_SERVER, ApiKey, Authority, Server

app = typer.Typer(help="Make a raw data set of scans that a server has.", no_args_is_help=True)


@app.callback()
def dataset() -> None:
    """Make a raw data set of scans that a server has."""


@app.command()
def add(  # noqa: PLR0917 - typer passes options by name
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The raw data set; made where it is not there.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="ID", help="The same as --scans.")] = None,
    scans: Annotated[list[str] | None, typer.Option(metavar="ID...", help="Ids of finished scans.")] = None,
    corrected: Annotated[
        bool, typer.Option("--corrected", help="Leave scans out that nobody has corrected, rather than refuse them.")
    ] = False,
    experiment: Annotated[
        str | None, typer.Option(metavar="NAME", help="Have scans that nobody has corrected in unlabelled/NAME.")
    ] = None,
    with_id: Annotated[bool, typer.Option("--with-id", help="Name files by the id of their scan, too.")] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Replace the labels of an earlier correction by those of the latest.")
    ] = False,
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    authority: Authority = None,
) -> None:
    """Adds scans to a raw data set: corrected ones to labelled/, with the labels of the latest correction.

    What is there already is left alone, so a command that was cut off is given again. Where each is from is written
    into provenance.csv, and goes with what is learnt from it.
    """
    from ricefish.client.client import Client  # noqa: PLC0415
    from ricefish.dataset.addition import Wishes, add_scans  # noqa: PLC0415

    ids = [*(scans or ()), *(more or ())]
    with of_a_server(), Client(server, key=key, ca=authority) as client:
        if not ids:
            raise ValueError("no scan is named; give the ids of some: ricefish dataset add DIR --scans ID ID")
        wishes = Wishes(experiment, corrected_only=corrected, with_id=with_id, update=update)
        add_scans(client, folder, ids, wishes, tell=print)
