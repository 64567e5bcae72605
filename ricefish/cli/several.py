"""One scan or several: what `ricefish segment` is to do by its arguments, and what it prints of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from ricefish.cli.batch import BatchItem, BatchOptions, Outcome, ScanBatch, said_of, served_model
from ricefish.cli.batch_progress import BatchProgress
from ricefish.cli.batch_report import as_json, failures_table, summary_table
from ricefish.cli.batch_state import STATE_FILE, BatchState, ResultsFolder, remove_partial, results_folder
from ricefish.cli.output import OutputRefused, outputs, result_suffix
from ricefish.cli.segment import organ_table, segment
from ricefish.cli.tables import print_folded, print_whole
from ricefish.client.client import Client
from ricefish.inputs import Inputs, read_inputs
from scans.formats import stem
from scans.formats.file_names import readable
from scans.formats.side_files import passed_over

_INTERRUPTED = 130
"""The exit status that shells give to what Ctrl-C ended."""


def is_one(paths: Sequence[Path], out: Path, *, suffix: str | None) -> bool:
    """Whether a scan is to be segmented into a file: there is one argument, and --out is no folder.

    Raises ValueError where --out names a file for several scans, and where --format says what --out says.
    """
    only_file = len(paths) == 1 and paths[0].is_file() and bool(out.suffix) and not out.is_dir()
    names_file = stem(out) != out.name or only_file  # a suffix in which nothing is fetched is refused for that
    if names_file and len(paths) > 1:
        raise ValueError(f"{out} names one file, and there are {len(paths)} scans; give a folder, and --format")
    if names_file and suffix is not None:
        raise ValueError(f"--format is for scans that go into a folder; here {out} says the format")
    return names_file


def segment_one(client: Client, path: Path, out: Path, options: BatchOptions) -> bool:
    """Segments a scan into a file, and prints its organs. Gives False, as nothing failed; raises as `segment`."""
    done = segment(
        client,
        path,
        out,
        spacing=options.spacing,
        priority=options.priority,
        fresh=options.fresh,
        model=options.model,
        version=options.version,
        dataset=options.dataset,
        with_scan=options.with_scan,
        force=options.force,
    )
    if options.organs:
        print(as_json([Outcome(BatchItem(path, out), "done", scan=done.scan, organs=done.organs)], {}))
    else:
        print_whole(organ_table(done.organs))
    return False


def segment_several(
    client: Client, paths: Sequence[Path], out: Path, options: BatchOptions, *, suffix: str | None, jobs: int
) -> bool:
    """Segments scans into a folder, and prints what became of them. Gives True where some failed.

    Raises ValueError and OutputRefused before anything is sent where the results cannot be put there, RicefishError
    where the server is not there at all.
    """
    ending = result_suffix(suffix, with_scan=options.with_scan)
    inputs = read_inputs(paths, besides=out)
    items = _items(inputs, out, ending)
    console = Console(stderr=True)
    for note in passed_over([readable(str(path)) for path in inputs.passed_over]):
        console.print(note.replace("as no slice", "as no scan"), markup=False, highlight=False, soft_wrap=True)
    _make(out)
    try:
        with results_folder(out) as folder:
            remove_partial(path for item in items for path in outputs(item.out))
            model = served_model(client, options)
            state = _state(folder, items, options, said_of(options, server=client.url, suffix=ending, model=model))
            progress = BatchProgress(console, scans=len(items))
            batch = ScanBatch(client, options, model=model, state=state, watcher=progress)
            with progress:
                outcomes = batch.run(items, jobs=jobs)
            failed = any(outcome.ending == "failed" for outcome in outcomes)
            if not failed:
                folder.forget()
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on where it was", soft_wrap=True)
        raise typer.Exit(_INTERRUPTED) from None
    if failed and options.anew:
        again = "the same command makes what failed and leaves what was made; it makes all anew without "
        console.print(f"{again}{out / STATE_FILE}", markup=False, highlight=False, soft_wrap=True)
    _print(outcomes, inputs, machine=options.organs)
    return bool(inputs.refused) or failed


def _state(folder: ResultsFolder, items: Sequence[BatchItem], options: BatchOptions, said: str) -> BatchState:
    """That of the batch that was ended, or a new one; only what makes results anew has one that is kept."""
    if options.anew:
        return folder.begun(said, [item.path for item in items])
    folder.forget()
    return BatchState(uuid.uuid4().hex)


def _items(inputs: Inputs, out: Path, suffix: str) -> list[BatchItem]:
    """Each scan with its result. Raises ValueError for two that would be one file, and for one that is a scan."""
    items: dict[str, BatchItem] = {}
    sources = {scan.path.resolve() for scan in inputs.scans}
    for scan in inputs.scans:
        item = BatchItem(scan.path, out / scan.place.parent / f"{scan.place.name}{suffix}")
        same = items.setdefault(readable(str(item.out)).casefold(), item)
        if same is not item:
            raise ValueError(
                f"{same.path} and {item.path} would both become {item.out}, and nothing was sent; name the folder "
                "above them, whose folders are kept, or send them into two folders"
            )
        if item.out.resolve() in sources:
            raise ValueError(f"{item.out} is a scan itself, and nothing was sent; give another folder for the results")
    return list(items.values())


def _make(out: Path) -> None:
    """The folder of results. Raises OutputRefused."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputRefused(f"{out}: no folder of results can be made there: {error.strerror}") from error


def _print(outcomes: Sequence[Outcome], inputs: Inputs, *, machine: bool) -> None:
    if machine:
        print(as_json(outcomes, inputs.refused))
        return
    if (failures := failures_table(outcomes, inputs.refused)) is not None:
        print_folded(failures)
    print_whole(summary_table(outcomes, inputs.refused))
