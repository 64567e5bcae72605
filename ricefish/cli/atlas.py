"""`ricefish atlas`: sizes, forms and places of organs over many fish, as tables and a page. The work is in `atlas`."""

# ruff: noqa: PLC0415  what only this command needs is imported when it is called
from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricefish.cli.mistakes import fail, of_a_server
from ricefish.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Authority, Server, SpacingText, read_spacing

if TYPE_CHECKING:
    from ricefish.atlas.gathering import Gathered, Progress
    from ricefish.atlas.measuring import AtlasOptions
    from ricefish.atlas.sources import AtlasSource

_NEEDED = ("skimage", "jinja2")
_MOST_JOBS = 4
"""That are taken where nothing is said: each may need a GB of memory."""


def atlas(  # noqa: PLR0917 - typer passes options by name
    scans: Annotated[
        list[str],
        typer.Argument(help="Label volumes: files, folders of them, patterns, or ids of finished scans on the server."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for organs.csv, groups.csv and atlas.html.")],
    groups: Annotated[
        Path | None, typer.Option(help="CSV with a column file (or scan) and a column group; else all are one group.")
    ] = None,
    organs: Annotated[
        Path | None, typer.Option(help="organs.yaml, for labels that no file names; it counts before what they say.")
    ] = None,
    spacing: SpacingText = None,
    with_cut_off: Annotated[
        bool, typer.Option("--with-cut-off", help="Count organs that reach the border of their scan in the means.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(min=1, help="Fish at once, each in a process of up to 1 GB; default: as processors, at most 4."),
    ] = min(_MOST_JOBS, os.cpu_count() or 1),
    force: Annotated[bool, typer.Option("--force", help="Replace the atlas that is at --out already.")] = False,
    server: Server = DEFAULT_SERVER,
    key: ApiKey = None,
    authority: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Measures the organs of many fish: tables of each organ and of groups, and a page that shows them.

    Exit status 1 where a scan could not be measured; the others are in the atlas all the same.
    """
    try:
        for name in _NEEDED:
            import_module(name)
    except ModuleNotFoundError as error:
        fail(f"the atlas is not installed ({error}); install ricefish[atlas]")
    from ricefish.atlas.measuring import AtlasOptions
    from scans.organs import OrganMap

    with of_a_server():
        _require_room(out, force=force)
        named = None if organs is None else OrganMap.from_yaml(organs)
        options = AtlasOptions(named, read_spacing(spacing), server, key, authority)
        gathered = _gathered(scans, options, groups=groups, jobs=jobs)
        said = _write(gathered, out, cut_off=with_cut_off) if gathered.fish else []
    if as_json:
        print(_as_json(gathered, out, said))
    else:
        _tell(gathered, out, said)
    raise typer.Exit(1 if gathered.failed else 0)


def _gathered(scans: Sequence[str], options: AtlasOptions, *, groups: Path | None, jobs: int) -> Gathered:
    """All fish in their groups. Raises what reading and asking raise."""
    from ricefish.atlas.gathering import gather
    from ricefish.atlas.groups_file import read_groups
    from ricefish.atlas.sources import find_sources

    with _filenames(options) as filename_of:
        sources = find_sources(scans, filename_of=filename_of)
    group_of = {} if groups is None else read_groups(groups, sources)
    with _progress(sources) as progress:
        gathered = gather(sources, options, jobs=jobs, progress=progress)
    grouped = tuple(replace(one, group=group_of.get(one.name, one.group)) for one in gathered.fish)
    return replace(gathered, fish=grouped)


def _tell(gathered: Gathered, out: Path, said: Sequence[str]) -> None:
    for sentence in said:
        print(sentence)
    for one in gathered.failed:
        print(f"ricefish: {one.name} was not measured: {one.why}", file=sys.stderr)
    count = f"{len(gathered.fish)} of {len(gathered.fish) + len(gathered.failed)} fish"
    print(f"{count} in {out / 'atlas.html'}" if gathered.fish else f"{count}: nothing was written", file=sys.stderr)


def _as_json(gathered: Gathered, out: Path, said: Sequence[str]) -> str:
    """The same for machines."""
    content = {
        "output": str(out / "atlas.html") if gathered.fish else None,
        "fish": [one.name for one in gathered.fish],
        "failed": [asdict(one) for one in gathered.failed],
        "findings": list(said),
    }
    return json.dumps(content, indent=2)


def _write(gathered: Gathered, out: Path, *, cut_off: bool) -> list[str]:
    """All files of an atlas, each in the place of one that was there once it is whole; what is to be said of fish."""
    from ricefish.atlas.csv_tables import columns_page, groups_csv, organs_csv
    from ricefish.atlas.findings import findings, of_all
    from ricefish.atlas.outliers import find_outliers
    from ricefish.atlas.report import render
    from ricefish.atlas.summary import summarise

    fish = gathered.fish
    judged = find_outliers(fish, cut_off=cut_off)
    found = findings(fish, judged)
    summaries = summarise(fish, cut_off=cut_off)
    files = {
        "organs.csv": organs_csv(fish, judged.found),
        "groups.csv": groups_csv(summaries),
        "columns.md": columns_page(cut_off=cut_off),
        "atlas.html": render(gathered, summaries, judged, found, cut_off=cut_off),
    }
    out.mkdir(exist_ok=True)
    for name, text in files.items():
        part = out / f".{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(out / name)
    clear = [f"{finding.fish.name}: {sentence}" for finding in found for sentence in finding.clear]
    return [*of_all(fish), *clear]


def _require_room(out: Path, *, force: bool) -> None:
    """Raises OSError, before anything is measured, where the atlas cannot be put there."""
    from ricefish.cli.output import OutputRefused, check_output

    if os.path.lexists(out) and not out.is_dir():
        raise OutputRefused(f"{out} is no folder; an atlas is one: name another")
    if not out.is_dir():
        check_output(out, sent_bytes=0, force=force)
    elif any(out.iterdir()) and not force:
        raise OutputRefused(f"{out} is not empty; --force replaces the atlas in it, or name another folder")
    else:
        check_output(out / "atlas.html", sent_bytes=0, force=force)


@contextmanager
def _filenames(options: AtlasOptions) -> Iterator[Callable[[str], str]]:
    """Asks the server what the file of a scan was called; of one that there is not, it is said when it is fetched."""
    from ricefish.client.client import Client, RicefishError

    with ExitStack() as stack:
        clients: list[Client] = []  # none where no scan is on a server

        def filename_of(scan_id: str) -> str:
            if not clients:
                clients.append(stack.enter_context(Client(options.server, key=options.key, ca=options.ca)))
            try:
                return clients[0].status(scan_id).filename
            except RicefishError as error:
                if error.status != 404:
                    raise
                return ""

        yield filename_of


@contextmanager
def _progress(sources: Sequence[AtlasSource]) -> Iterator[Progress]:
    """Draws a bar of all fish on a terminal's stderr, and names those that are under way."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("measured {task.fields[done]} of {task.total:g} fish"), BarColumn(), TimeRemainingColumn())
    text = TextColumn("{task.fields[under_way]}", markup=False)
    with Progress(*columns, text, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(sources), done=0, under_way="")

        def progress(shares: Sequence[float]) -> None:
            under_way = [source.name for source, share in zip(sources, shares, strict=True) if 0 < share < 1]
            done = sum(share >= 1 for share in shares)
            bar.update(task, completed=sum(shares), done=done, under_way=", ".join(under_way[:3]))

        yield progress
