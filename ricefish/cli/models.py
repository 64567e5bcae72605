"""`ricefish models`: which version of a model serves, and which did. Imports the training environment when called."""

# ruff: noqa: PLC0415  the training environment takes seconds to import, and only these commands need it
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ricefish.cli.mistakes import in_one_line
from ricefish.cli.options import AsJson
from ricefish.cli.tables import print_whole
from scans.tracking import require_store

if TYPE_CHECKING:
    from scans.registry.gate import Row, Verdict
    from training.registry.version import Version
    from training.registry.versions import Registry

app = typer.Typer(
    no_args_is_help=True,
    help="Models in the MLflow registry that MLFLOW_TRACKING_URI names, else in mlflow.db of this folder.",
)

_FIGURES = {
    "mean_dice": "Mean Dice",
    "control.mean_dice": "Control Dice",
    "mean_iou": "Mean IoU",
    "control.mean_iou": "Control IoU",
}

Name = Annotated[str, typer.Argument(help="Name of the registered model.")]


@app.command()
def promote(
    name: Name,
    version: Annotated[int | None, typer.Option(help="Number of the version; else the candidate.")] = None,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote though the gate says no; the reason is recorded.")
    ] = None,
) -> None:
    """Makes a version the champion, which servers follow, unless it is worse than the champion is.

    The limits are in the `register` section of params.yaml. Exits with 1 where the gate says no.
    """
    if force is not None and not force.strip():
        raise typer.BadParameter("--force needs a reason, which is recorded with the version")
    with in_one_line("models"):
        from training.params import load_params
        from training.registry.limits import gate_limits
        from training.registry.promotion import promote as attempt

        done = attempt(_registry(name), version, limits=gate_limits(load_params().register), force=force)
    if done.verdict:
        print_whole(_verdict_table(done.verdict, candidate=done.version, champion=done.before))
        if (control := done.version.metrics.get("control.mean_dice")) is not None:
            typer.echo(
                f"The candidate's control, the Teacher trained on without pseudo-labels: mean Dice {control:.4f}"
            )
    if done.shadow:
        typer.echo(done.shadow)
    for failure in done.failures:
        typer.echo(f"The gate says no: {failure}", err=True)
    if not done.promoted:
        typer.echo(f'{done.version} was not promoted. --force "REASON" promotes it all the same.', err=True)
        raise typer.Exit(1)
    typer.echo(f"{done.version} is the champion{', by force' if done.failures else ''}.")


@app.command()
def rollback(name: Name) -> None:
    """Makes the version that was champion before the champion again."""
    with in_one_line("models"):
        was, now = _registry(name).rollback()
    typer.echo(f"{now} is the champion again, instead of version {was.number}.")


@app.command(name="list")
def list_versions(name: Name, as_json: AsJson = False) -> None:
    """Shows all versions, the newest first. Exits with 1 where files of one are missing, empty or no manifest."""
    with in_one_line("models"):
        registry = _registry(name)
        versions = registry.existing()
        missing = {version.number: registry.missing(version) for version in versions}
    if as_json:
        typer.echo(json.dumps([_row(version, missing[version.number]) for version in versions], indent=2))
    else:
        print_whole(_versions_table(versions, missing))
    lost = [why for why in missing.values() if why is not None]
    for why in lost:
        typer.echo(why, err=True)
    if lost:
        raise typer.Exit(1)


@app.command()
def show(
    name: Name,
    version: Annotated[int | None, typer.Option(help="Number of the version; else the champion.")] = None,
    as_json: AsJson = False,
) -> None:
    """Shows all that is known of a version: data, commit, run, figures of each organ, and how it was promoted.

    Without a champion it is the newest. Exits with 1 where its files are missing, empty or no manifest.
    """
    with in_one_line("models"):
        registry = _registry(name)
        found = registry.chosen(version)
        missing = registry.missing(found)
    if as_json:
        tags = dict(sorted(found.tags.items()))
        typer.echo(json.dumps({**_row(found, missing), "run": found.run_id, "tags": tags}, indent=2))
    else:
        print_whole(_version_table(found))
    if missing is not None:
        typer.echo(missing, err=True)
        raise typer.Exit(1)


def _registry(name: str) -> Registry:
    from training.registry.versions import Registry

    require_store()
    return Registry(name)


def _version_table(version: Version) -> Table:
    table = Table(title=str(version), title_justify="left", show_header=False)
    table.add_row("alias", ", ".join(version.aliases))
    table.add_row("registered", f"{version.created.astimezone():%Y-%m-%d %H:%M}")
    table.add_row("run", version.run_id)
    for key, value in sorted(version.tags.items()):
        table.add_row(key, value)
    return table


def _versions_table(versions: Sequence[Version], missing: Mapping[int, str | None]) -> Table:
    table = Table("Version", "Alias", *_FIGURES.values(), "Registered", "Commit", "Note")
    for version in versions:
        figures = [f"{version.metrics[key]:.4f}" if key in version.metrics else "" for key in _FIGURES]
        registered = f"{version.created.astimezone():%Y-%m-%d %H:%M}"
        alias, commit = ", ".join(version.aliases), version.tags.get("git_commit", "")[:10]
        table.add_row(str(version.number), alias, *figures, registered, commit, _note(version, missing))
    return table


def _row(version: Version, missing: str | None) -> dict[str, Any]:
    """A version in types that JSON can hold; what nobody said is null."""
    said = ("data_set", "organs", "git_commit", "promotion", "promoted_at", "forced_because", "rolled_back_at")
    return {
        "name": version.name,
        "version": version.number,
        "aliases": list(version.aliases),
        **{key.replace(".", "_"): version.metrics.get(key) for key in _FIGURES},
        "registered": version.created.isoformat(),
        **{tag: version.tags.get(tag) for tag in said},
        "sha256": version.sha256,
        "missing": missing,
    }


def _note(version: Version, missing: Mapping[int, str | None]) -> str:
    notes = ["files missing or damaged"] if missing[version.number] is not None else []
    if version.tags.get("promotion") == "forced":
        notes.append(f"promoted by force: {version.tags['forced_because']}")
    return "; ".join(notes)


def _verdict_table(verdict: Verdict, *, candidate: Version, champion: Version | None) -> Table:
    figures = [f"Candidate ({candidate.number})", *([f"Champion ({champion.number})", "Change"] if champion else [])]
    title = f"{candidate.name}, {verdict.volumes} validation volumes" + ("" if champion else ", no champion yet")
    table = Table("Dice of", *figures, "Asked", "Gate", title=title, title_justify="left")
    for row in verdict.rows:
        change = "" if row.change is None else f"{row.change:+.4f}"
        compared = [_score(row.champion), change] if champion else []
        verb = "holds" if row.holds else "FAILS"
        table.add_row(row.figure, _score(row.candidate), *compared, _asked(row, first=champion is None), verb)
    return table


def _asked(row: Row, *, first: bool) -> str:
    """What the gate asks of one figure: a least value, and no greater loss than is allowed."""
    least = [f"{row.least:g} or more"] if row.least else []
    loss = [f"-{row.allowed_loss:g} at worst" if row.allowed_loss else "no loss"]
    return ", ".join(least if first else least + loss)


def _score(value: float | None) -> str:
    return "absent" if value is None else f"{value:.4f}"
