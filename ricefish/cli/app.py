"""The `ricefish` command. What a subcommand needs is imported when it is called, so that help is there at once."""

from __future__ import annotations

import io
import math
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from ricefish.cli import atlas, correct, dataset, keys, models, plan, reviews, runs, scans, sending
from ricefish.cli.mistakes import fail
from ricefish.cli.options import AsJson

app = typer.Typer(
    name="ricefish",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Organ segmentation of tomography scans of fish.",
)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(reviews.app, name="reviews")
app.add_typer(dataset.app, name="dataset")
app.command(name="correct")(correct.correct)
app.add_typer(scans.app, name="scans")
app.command(name="segment")(sending.segment)
app.command(name="atlas")(atlas.atlas)
app.command(name="plan")(plan.plan)
app.command(name="runs")(runs.runs)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Organ segmentation of tomography scans of fish."""
    for stream in (sys.stdout, sys.stderr):  # a terminal or pipe in another encoding shows what it can
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if show_version:
        print(version("ricefish"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def serve(
    model: Annotated[
        str | None, typer.Option(help="Folder of a model, models:/NAME@ALIAS or models:/NAME/VERSION.")
    ] = None,
    model_repository: Annotated[
        Path | None, typer.Option(help="Folder of plain ONNX models, NAME/model.onnx, for /v2.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default 8000, 0 takes a free one.")] = None,
    store: Annotated[Path | None, typer.Option(help="Folder of scans and segmentations; default ./store.")] = None,
) -> None:
    """Serves a model over HTTP. Every option, and more, is also an environment variable: RICEFISH_MODEL and so on."""
    try:
        from serving.app import create_app  # noqa: PLC0415
        from serving.process.server import serve as run  # noqa: PLC0415
        from serving.settings import SettingsError, read_settings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        fail(f"the server is not installed ({error}); install ricefish[serving]")
    try:
        settings = read_settings(model=model, model_repository=model_repository, host=host, port=port, store=store)
    except SettingsError as error:
        fail(error)
    raise typer.Exit(run(settings, create_app))


@app.command()
def worker() -> None:
    """Works on the scans of servers that share this RICEFISH_DATABASE_URL and RICEFISH_STORE."""
    try:
        from serving.process.worker import work  # noqa: PLC0415
        from serving.settings import SettingsError, read_settings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        fail(f"the server is not installed ({error}); install ricefish[serving]")
    try:
        settings = read_settings(needs_model=False)
    except SettingsError as error:
        fail(error)
    raise typer.Exit(work(settings))


@app.command()
def doctor(  # noqa: PLR0917 - typer passes options by name
    model: Annotated[
        str | None, typer.Option(help="Folder of a model, models:/NAME@ALIAS or models:/NAME/VERSION.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of scans and segmentations; default RICEFISH_STORE, else ./store.")
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Read every stored file, and say which are damaged or gone.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="With --store: have damaged results made again from their scans.")
    ] = False,
    for_worker: Annotated[
        bool, typer.Option("--worker", help="Look at what a worker needs: no port, no model of its own.")
    ] = False,
    scan_gb: Annotated[float, typer.Option(help="Size of a full scan, for which the disks need room.", min=0)] = 12.0,
    as_json: AsJson = False,
) -> None:
    """Looks at all that a server needs, with its settings, and says what to do; exit status 1 if something fails.

    With --store it reads all that is stored instead, which takes as long as the disk does.
    """
    from rich.console import Console  # noqa: PLC0415

    from ricefish.cli import doctor as report  # noqa: PLC0415

    try:
        from serving.observability import logs  # noqa: PLC0415
        from serving.process.diagnosis import audit, examine  # noqa: PLC0415
    except ModuleNotFoundError as error:
        fail(f"the server is not installed ({error}); install ricefish[serving]")
    logs.configure("error")
    if repair and not store:
        fail("--repair makes again what --store finds damaged: give both")
    if not math.isfinite(scan_gb):
        fail(f"--scan-gb is {scan_gb}; give a size in GB, such as 12")
    given = {"model": model, "store": folder}
    if store:
        findings = report.watched(lambda progress: audit(repair=repair, progress=progress, **given))
    else:
        findings = list(examine(scan_bytes=int(scan_gb * 1e9), worker=for_worker, **given))
    if as_json:
        print(report.as_json(findings))
    else:
        Console().print(report.table(findings))
    raise typer.Exit(report.failed(findings))
