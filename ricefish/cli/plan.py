"""`ricefish plan`: how many workers a load needs, as a table or JSON. The arithmetic is in `planning.capacity`."""

# ruff: noqa: PLC0415  what only this command needs is imported when it is called
from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricefish.cli.options import ApiKey, AsJson, Authority

if TYPE_CHECKING:
    from rich.table import Table

    from ricefish.planning.capacity import CapacityPlan, PlannedLoad, Rates

_GB = 1e9
_SI = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "": 1.0}


def plan(  # noqa: PLR0917 - typer passes options by name
    scans_per_day: Annotated[float, typer.Option(help="Scans on a working day.")],
    voxels: Annotated[str, typer.Option(help="Voxels of a scan: a number, 3G, or 3000x1000x1000.")],
    metrics: Annotated[
        str | None,
        typer.Option(help="Address of /metrics of a worker that has segmented scans like these."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Result of `make bench` or `make bench-capacity`, instead of --metrics.")
    ] = None,
    key: ApiKey = None,
    authority: Authority = None,
    row: Annotated[int, typer.Option(help="Which row of --results.", min=0)] = 0,
    rates: Annotated[
        str | None,
        typer.Option(
            help="Megavoxels per second of one worker, instead: READ,PREPARE,INFER,WRITE, such as 300,900,40,90."
        ),
    ] = None,
    bytes_per_voxel: Annotated[float, typer.Option(help="Of a scan as it is sent: 2 for raw uint16.")] = 2.0,
    hours: Annotated[float, typer.Option(help="Hours of a day in which scans come.")] = 24.0,
    peak: Annotated[float, typer.Option(help="The busiest of these hours against their mean.")] = 1.0,
    days_per_year: Annotated[float, typer.Option(help="Working days.")] = 365.0,
    retention_days: Annotated[float | None, typer.Option(help="As RICEFISH_RETENTION_DAYS; default: for ever.")] = None,
    network: Annotated[float | None, typer.Option(help="Of clients and servers, in Gbit/s.")] = None,
    store: Annotated[float | None, typer.Option(help="What the store takes and gives, in GB/s.")] = None,
    utilisation: Annotated[float, typer.Option(help="Of the workers in the busiest hour, at most.")] = 0.7,
    wait: Annotated[float | None, typer.Option(help="Mean seconds in the queue in the busiest hour, at most.")] = None,
    variation: Annotated[float, typer.Option(help="Spread of scans' sizes: 0 all alike, 1 widely different.")] = 0.5,
    workers: Annotated[
        int | None, typer.Option(help="What so many workers do, instead of how many are needed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Says how many workers a load needs, what is the bottleneck, how long scans wait, and what is stored in a year.

    Exit status 1 if something that more workers do not help cannot keep up.
    """
    from ricefish.planning import capacity

    try:
        measured = _rates(metrics, results, row, rates, key=key, authority=authority)
        load = capacity.PlannedLoad(
            scans_per_day=scans_per_day,
            voxels=_voxels(voxels),
            bytes_per_voxel=bytes_per_voxel,
            hours=hours,
            peak=peak,
            days_per_year=days_per_year,
            retention_days=retention_days,
            variation=variation,
        )
        links = capacity.NetworkLinks(
            network=None if network is None else network * 1e9 / 8, store=None if store is None else store * _GB
        )
        limits = capacity.PlanLimits(most_utilisation=utilisation, most_wait_seconds=wait, workers=workers)
        found = capacity.plan(load, measured, links=links, limits=limits)
    except (OSError, ValueError) as error:
        print(f"ricefish: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    _show(load, measured, found, as_json=as_json)
    raise typer.Exit(0 if found.feasible else 1)


def _show(load: PlannedLoad, rates: Rates, found: CapacityPlan, *, as_json: bool) -> None:
    if as_json:
        extra = {"bottleneck": found.bottleneck, "feasible": found.feasible}
        print(json.dumps({"load": asdict(load), "rates": asdict(rates), "plan": {**asdict(found), **extra}}, indent=2))
        return
    from ricefish.cli.tables import print_whole

    print_whole(_table(load, rates, found))


def _table(load: PlannedLoad, rates: Rates, found: CapacityPlan) -> Table:
    from rich.table import Table

    drawn = Table(box=None, show_header=False, pad_edge=False)
    drawn.add_row("workers, each with a device", f"{found.workers}")
    drawn.add_row("one scan takes a worker", f"{found.service_seconds:,.0f} s")
    drawn.add_row("busy in the busiest hour", f"{found.utilisation:.0%}")
    drawn.add_row("mean wait then", f"{found.wait_seconds:,.0f} s")
    for part, share in sorted(found.busy.items(), key=lambda item: -item[1]):
        mark = "  <- bottleneck" if part == found.bottleneck else ""
        drawn.add_row(f"  {part}", f"{share:.0%}{mark}" + ("" if share < 1 else ", cannot keep up"))
    drawn.add_row("stored in a year", f"{found.stored_bytes_per_year / 1e12:,.1f} TB")
    if found.kept_bytes is None:
        drawn.add_row("in the store", "grows by as much every year: nothing is removed")
    else:
        drawn.add_row("in the store", f"{found.kept_bytes / 1e12:,.1f} TB, after {load.retention_days:g} days")
    drawn.add_row("rates", f"{1e-6 / rates.seconds_per_voxel:,.1f} megavoxels/s for each worker, from {rates.source}")
    return drawn


def _rates(
    metrics: str | None,
    results: Path | None,
    row: int,
    given: str | None,
    *,
    key: str | None,
    authority: Path | None,
) -> Rates:
    """Rates from the one place that was named. Raises ValueError if it is not one, RatesError and OSError."""
    from ricefish.planning import rates
    from ricefish.planning.capacity import Rates

    if sum(place is not None for place in (metrics, results, given)) != 1:
        raise ValueError("give one of --metrics, --results and --rates: a plan is made from what was measured")
    if metrics is not None:
        return rates.from_metrics(_fetch(metrics, key, authority), source=metrics)
    if results is not None:
        rows = rates.from_results(results)
        if row >= len(rows):
            raise ValueError(f"--row is {row}; {results} has rows 0 to {len(rows) - 1}")
        return rows[row].rates
    parts = (given or "").split(",")
    try:
        read, prepare, infer, write = (1e-6 / float(part) for part in parts)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"--rates is {given!r}; give four numbers greater than 0, such as 300,900,40,90") from None
    return Rates(read, prepare, infer, write, source="--rates")


def _fetch(address: str, key: str | None, authority: Path | None) -> str:
    """The text of /metrics. Raises OSError that says why not, ValueError for what is no certificate."""
    import httpx

    from ricefish.client.certificates import trusted, unreachable_hint

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(address, headers=headers, timeout=10, verify=trusted(authority)).raise_for_status()
    except httpx.TransportError as error:
        raise OSError(f"{address} does not give its metrics: {error}; {unreachable_hint(error, address)}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(f"{address} does not give its metrics: {error}") from error
    return answer.text


def _voxels(text: str) -> float:
    """A number, with k, M, G or T behind it, or a product. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]?)", text)
    if found:
        return float(found[1]) * _SI[found[2]]
    if re.fullmatch(r"\d+x\d+x\d+", text):
        z, y, x = (int(side) for side in text.split("x"))
        return float(z * y * x)
    raise ValueError(f"--voxels is {text!r}; give a number such as 3000000000 or 3G, or sides such as 3000x1000x1000")
