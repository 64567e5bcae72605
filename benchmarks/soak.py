"""Does anything get lost? Processes are killed at random while scans, uploads and cancellations go on.

    python -m benchmarks.soak --kills 200
    python -m benchmarks.soak --kills 200 --workers 3

Without workers: one server on SQLite. With: one server that only takes in, and so many workers, on PostgreSQL. At the
end every accepted scan has ended, every result has the bytes of an undisturbed run, and nothing is left once all is
removed. Writes benchmarks/results/soak-DATABASE.json; exit code 1 with a message where something was lost.

Kills come at random moments, up to twice as far apart as an undisturbed scan took at the start of the run, and no less
than four seconds; none comes while a client has waited for half a minute. So on a busy machine too, a server lives long
enough to answer, and most kills hit a scan.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import create_engine, make_url, text

from benchmarks.effort import effort_of
from benchmarks.models import write_model
from benchmarks.traffic import Ledger, Lost, Traffic
from harness import servers
from harness.postgresql import postgresql_database
from scans.formats import create_volume
from scans.geometry import Frame, Spacing, Triple

FILES = 4
_PATIENCE_SECONDS = 30.0
"""Clients are to be disturbed, not shut out: while one has waited for so long, nothing is killed until it is
answered. A process that lives and does not answer it within two minutes is a fault."""
_LEASE_SECONDS = 3
_LEAST_MOST_SECONDS_BETWEEN = 4.0
_SCANS_BETWEEN = 2.0
"""The longest time between kills, in undisturbed scans: a server that never lives long enough to answer loses nothing,
and shows nothing."""


@dataclass(frozen=True)
class Pace:
    """How fast kills follow each other, and upon what."""

    shape: Triple = (48, 160, 160)
    """Of the scans, z, y, x: about two seconds of work, so that most kills hit something."""
    most_seconds: float | None = None
    """The longest time between kills; None: as the scans need it."""
    process: Callable[[servers.Process], servers.Process] = lambda process: process
    """How a server or worker is run; this one: as a user runs it."""


_ORDINARY = Pace()


def soak(
    *, kills: int, workers: int, seed: int, console: Console, model: Path | None = None, pace: Pace = _ORDINARY
) -> dict[str, Any]:
    """One long disturbance of a server with that model, or a very small one; gives what happened. Raises Lost."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="ricefish-soak-", ignore_cleanup_errors=True))
        )
        stack.callback(_keep_logs, folder)
        database = stack.enter_context(postgresql_database()) if workers else None
        model = model or write_model(folder / "model", "tiny")
        files = [_write_file(folder / f"fish_{number}.nii", number, pace.shape) for number in range(FILES)]
        processes = [pace.process(one) for one in _processes(folder, model, workers=workers, database=database)]
        for process in processes:
            process.start()
            stack.callback(process.kill)
        url = processes[0].url
        expected, scan_seconds = zip(*(_undisturbed(url, file) for file in files), strict=True)
        most_seconds = pace.most_seconds or max(
            _LEAST_MOST_SECONDS_BETWEEN, _SCANS_BETWEEN * statistics.median(scan_seconds)
        )
        ledger = Ledger()
        traffic = Traffic(url, files, ledger, seed)
        began = time.monotonic()
        hits = _disturb(processes, traffic, kills=kills, seed=seed, most_seconds=most_seconds, console=console)
        seconds = time.monotonic() - began
        states = _check(url, ledger, expected)
        _remove_all(url)
        _wait_until_clean(folder, database)
        statuses = [process.stop() for process in processes]
        if any(statuses):
            raise Lost(f"exit statuses at SIGTERM: {statuses}")
        return {
            "kills": kills,
            "hit": dict(hits),
            "seconds": round(seconds, 1),
            "most_seconds_between": round(most_seconds, 1),
            **ledger.counts,
            "ended": dict(states),
        }


def _keep_logs(folder: Path) -> None:
    """Copies what the processes logged to where it can be looked at should something have been lost."""
    kept = Path(tempfile.gettempdir()) / "ricefish-soak-logs"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    for log in folder.glob("*.log"):
        shutil.copyfile(log, kept / log.name)


def _processes(folder: Path, model: Path, *, workers: int, database: str | None) -> list[servers.Process]:
    common: dict[str, object] = {
        "threads": 1,
        "batch_size": 1,
        "slab_slices": 2,
        "lease_seconds": _LEASE_SECONDS,
    }
    if database is not None:
        common["database_url"] = database
    taking_in = {"concurrent_scans": 0, "worker_id": "server"} if workers else {}
    processes = [servers.server(folder, model=model, **common, **taking_in)]
    store = folder / "store"
    return processes + [servers.worker(folder, name=f"worker-{n}", store=store, **common) for n in range(workers)]


def _write_file(path: Path, number: int, shape: Triple) -> Path:
    grey = np.random.default_rng(number).integers(0, 4000, shape).astype(np.uint16)
    with create_volume(path, shape=shape, dtype=np.uint16, frame=Frame.from_lps(Spacing(0.2, 0.1, 0.1))) as writer:
        writer.write(grey)
    return path


def _undisturbed(url: str, file: Path) -> tuple[tuple[str, ...], float]:
    """The digests of a scan's results, and the seconds from its post to its end."""
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
        began = time.monotonic()
        scan = http.post("/v1/scans", params={"filename": file.name, "fresh": True}, content=file.read_bytes()).json()
        servers.wait_until_ended(http, scan["id"])
        seconds = time.monotonic() - began
        return _digests(http, scan["id"]), seconds


def _digests(http: httpx.Client, scan_id: str) -> tuple[str, ...]:
    organs = http.get(f"/v1/scans/{scan_id}/organs").raise_for_status().json()["organs"]
    downloads = [
        http.get(f"/v1/scans/{scan_id}/segmentation", params={"format": name}).raise_for_status().content
        for name in ("nii.gz", "ome-zarr")
    ]
    return tuple(hashlib.sha256(content).hexdigest() for content in (str(organs).encode(), *downloads))


def _disturb(
    processes: Sequence[servers.Process],
    traffic: Traffic,
    *,
    kills: int,
    seed: int,
    most_seconds: float,
    console: Console,
) -> Counter[str]:
    generator, hits = random.Random(seed), Counter[str]()  # noqa: S311 - not for secrets
    threads = traffic.threads()
    for thread in threads:
        thread.start()
    try:
        with Progress(console=console, transient=True) as progress:
            for _ in progress.track(range(kills), description="killing"):
                time.sleep(generator.uniform(0.05, most_seconds))
                while traffic.longest_wait_seconds > _PATIENCE_SECONDS and not traffic.ledger.faults:
                    time.sleep(0.1)
                if traffic.ledger.faults:
                    break
                victim = generator.choice(processes)
                victim.kill()
                hits[" ".join(victim.command)] += 1
                victim.start()
    finally:
        traffic.stopping.set()
        for thread in threads:
            thread.join()
    if traffic.ledger.faults:
        raise Lost("; ".join(traffic.ledger.faults))
    return hits


def _check(url: str, ledger: Ledger, expected: Sequence[tuple[str, ...]]) -> Counter[str]:
    states = Counter[str]()
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
        for scan_id, number in ledger.accepted.items():
            if ledger.fetched.get(scan_id, expected[number][-1]) != expected[number][-1]:
                raise Lost(f"{scan_id} was handed out with other bytes than an undisturbed run has")
            if scan_id in ledger.removed:
                if http.get(f"/v1/scans/{scan_id}").status_code != 404:
                    raise Lost(f"{scan_id} was removed and is still there")
                states["removed"] += 1
                continue
            scan = servers.wait_until_ended(http, scan_id)
            states[str(scan["state"])] += 1
            if scan["state"] == "cancelled" and scan_id in ledger.cancelled:
                continue
            if scan["state"] != "succeeded":
                raise Lost(f"{scan_id} is {scan['state']}: {scan['error']}")
            if _digests(http, scan_id) != expected[number]:
                raise Lost(f"{scan_id} has other bytes than an undisturbed run")
    return states


def _remove_all(url: str) -> None:
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
        while scans := http.get("/v1/scans").json()["scans"]:
            for scan in scans:
                http.delete(f"/v1/scans/{scan['id']}").raise_for_status()


def _wait_until_clean(folder: Path, database: str | None) -> None:
    """The janitor makes its round twice a minute."""
    deadline = time.monotonic() + 90
    while left := _left_behind(folder, database):
        if time.monotonic() > deadline:
            raise Lost(f"{len(left)} left behind: {', '.join(left[:5])}")
        time.sleep(1)


def _left_behind(folder: Path, database: str | None) -> list[str]:
    store = folder / "store"
    places = [
        store / "scans",
        store / "arriving",
        store / "deleted",
        *folder.rglob("incoming"),
        *folder.rglob("staging"),
    ]
    left = [str(path.relative_to(folder)) for place in places for path in place.rglob("*")]
    tables = ("ricefish_scans", "ricefish_keys")
    if database is None:
        with sqlite3.connect(store / "jobs.sqlite") as connection:
            rows = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]  # noqa: S608
    else:
        engine = create_engine(make_url(database).set(drivername="postgresql+psycopg"))
        with engine.connect() as reading:
            rows = [reading.scalar(text(f"SELECT count(*) FROM {table}")) for table in tables]  # noqa: S608
        engine.dispose()
    return left + [f"{count} rows in {table}" for table, count in zip(tables, rows, strict=True) if count]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where something was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Kills processes, loses nothing")
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs (default: 200)")
    parser.add_argument("--workers", type=int, default=0, help="workers on PostgreSQL; 0: one server on SQLite")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (default: 1)")
    effort = effort_of(parser, arguments, least={"kills": 3})
    given, console = effort.options, Console()
    try:
        row = soak(kills=given.kills, workers=given.workers, seed=given.seed, console=console)
    except Lost as error:
        raise SystemExit(f"soak: {error}") from None
    name = "soak-postgresql" if given.workers else "soak-sqlite"
    path = effort.write(name, rows=[row], about={"workers": given.workers, "seed": given.seed})
    console.print(row)
    console.print(f"Nothing was lost. Written to {path}")


if __name__ == "__main__":
    main()
