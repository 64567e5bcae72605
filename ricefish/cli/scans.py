"""`ricefish scans`: the scans of a server, to be looked at, ended, tried again, removed and fetched."""

# ruff: noqa: PLC0415  help is there at once, and does without numpy and httpx
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ricefish.cli.mistakes import of_a_server
from ricefish.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Authority, Server

if TYPE_CHECKING:
    from ricefish.client.client import Client
    from ricefish.client.scan_status import ScanStatus

app = typer.Typer(no_args_is_help=True, help="The scans of a server: those of the key, or all where it is an admin's.")

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Of scans, as `ricefish scans list` shows them.")]


@app.command(name="list")
def list_scans(  # noqa: PLR0917 - typer passes options by name
    state: Annotated[State | None, typer.Option(help="Only scans in this state.")] = None,
    flagged: Annotated[
        bool | None, typer.Option("--flagged/--not-flagged", help="Only scans with warnings, or only those without.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many; all unless it is given.")] = None,
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    authority: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Shows scans, the newest first."""
    from itertools import islice

    from ricefish.cli.scan_tables import scans_table
    from ricefish.cli.tables import print_whole

    with _connected(server, key, authority) as client:
        found = list(islice(client.scans(state=state, flagged=flagged), limit))
    if as_json:
        print(json.dumps([scan.content for scan in found], indent=2))
    else:
        print_whole(scans_table(found))


@app.command()
def show(
    scan_id: Annotated[str, typer.Argument(metavar="ID", help="Of the scan.")],
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    authority: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Shows all that the server says of a scan and, once it has succeeded, its organs."""
    from ricefish.cli.scan_tables import scan_table
    from ricefish.cli.segment import organ_table
    from ricefish.cli.tables import print_whole

    with _connected(server, key, authority) as client:
        scan = client.status(scan_id)
        organs = client.organs(scan_id) if scan.state == "succeeded" else None
    if as_json:
        print(json.dumps(scan.content, indent=2))
        return
    print_whole(scan_table(scan))
    if organs is not None:
        print_whole(organ_table(organs))


@app.command()
def cancel(
    ids: Ids,
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    authority: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Ends scans that wait or are being segmented; they can be tried again. Exit status 1: some could not be ended."""
    with _connected(server, key, authority) as client:
        failed = _each(client, ids, client.cancel, as_json=as_json)
    raise typer.Exit(int(failed))


@app.command()
def retry(
    ids: Ids,
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    authority: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Begins scans again that failed or were cancelled, where they stopped. Exit status 1: some could not be begun."""
    with _connected(server, key, authority) as client:
        failed = _each(client, ids, client.retry, as_json=as_json)
    raise typer.Exit(int(failed))


@app.command()
def delete(
    ids: Ids,
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    authority: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Removes scans from the server with all that came of them. Exit status 1: some could not be removed."""
    with _connected(server, key, authority) as client:
        failed = _each(client, ids, client.delete, as_json=as_json)
    raise typer.Exit(int(failed))


@app.command()
def download(  # noqa: PLR0917 - typer passes options by name
    ids: Ids,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File of one scan, or folder of any number; default: this folder."),
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="nii.gz, nrrd, seg.nrrd, tif, ome.zarr, ome.zarr.zip or dcm, of DICOM series, where -o is a folder.",
        ),
    ] = None,
    with_scan: Annotated[bool, typer.Option("--with-scan", help="Have the scan in it too: OME-Zarr.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there already.")] = False,
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    authority: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Fetches the segmentations of scans, under the names of their files. Exit status 1: some could not be fetched."""
    from ricefish.cli.fetching import Fetching

    with _connected(server, key, authority) as client:
        fetching = Fetching(client, ids, out, suffix=suffix, with_scan=with_scan, force=force)
        failed = _each(client, ids, fetching.fetch, as_json=as_json)
    raise typer.Exit(int(failed))


@contextmanager
def _connected(server: str, key: str | None, authority: Path | None) -> Iterator[Client]:
    with of_a_server():
        from ricefish.client.client import Client

        with Client(server, key=key, ca=authority) as client:
            yield client


def _each(client: Client, ids: list[str], act: Callable[[str], ScanStatus | Path | None], *, as_json: bool) -> bool:
    """Does it with each scan, whatever becomes of the others, and says so. True where it could not be done with some.

    After a server that does not answer, the others are not tried.
    """
    from ricefish.client.connection import NoAnswer, RicefishError

    rows: list[dict[str, object]] = []
    gone = False
    for scan_id in dict.fromkeys(ids):
        error, did = None, None
        try:
            if gone:
                raise RicefishError("not tried, as the server does not answer")
            did = act(scan_id)
        except (RicefishError, OSError, ValueError) as refused:
            gone = gone or (isinstance(refused, NoAnswer) and not client.is_there())
            error = str(refused)
        rows.append(_row(scan_id, did, error))
        if error is not None:
            typer.echo(f"ricefish: {scan_id}: {error}", err=True)
        elif not as_json:
            typer.echo(_line(scan_id, did))
    if as_json:
        print(json.dumps(rows, indent=2))
    return any(row["error"] is not None for row in rows)


def _row(scan_id: str, did: ScanStatus | Path | None, error: str | None) -> dict[str, object]:
    row: dict[str, object] = {"scan": scan_id, "error": error}
    if isinstance(did, Path):
        return {**row, "output": str(did)}
    return row if did is None else {**row, "state": did.state}


def _line(scan_id: str, did: ScanStatus | Path | None) -> str:
    if did is None:
        return f"{scan_id} removed"
    return f"{scan_id} {did if isinstance(did, Path) else did.state}"
