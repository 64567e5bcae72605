"""Faults: the disk is full, the store is read-only or gone, the database is gone, the clock jumps.

While something is wrong, answers are right, or 4xx, 503 or 507; once it is mended, all is as before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from attack import specimens
from attack.prober import watching
from attack.specimens import Answers
from attack.tally import Arena, Tally
from harness import servers
from harness.forked import ForkedProcess
from harness.postgresql import new_postgresql_database
from harness.stoppable import Stoppable, stoppable_postgresql

_UNAVAILABLE = (503, 507)
_DISK_BYTES = 40_000_000


class Skipped(RuntimeError):
    """This machine cannot make the fault."""


@dataclass
class _Case:
    tally: Tally
    arena: Arena
    process: servers.Process
    fault: str

    def run(self, broken: Callable[[], AbstractContextManager[None]]) -> None:
        """`broken` makes a context in which something is wrong."""
        scan = specimens.write_scan(self.arena.folder / "scan.nii.gz", seed=self.arena.seed)
        self.process.start()
        try:
            with httpx.Client(base_url=self.process.url, timeout=60, trust_env=False) as http:
                scan_id = specimens.post(http, scan)
                specimens.wait(http, scan_id)
                truth = specimens.ask(http, scan_id)
                with watching(self.process.url, self.process.pid) as watched, broken():
                    self._ask(http, scan, scan_id, truth)
                watched.note(self.tally, self.fault)
                self._mended(http, scan, scan_id, truth)
        finally:
            self.process.stop()

    def _ask(self, http: httpx.Client, scan: Path, scan_id: str, truth: Answers) -> None:
        query = {"filename": scan.name, "fresh": "true"}
        asked: dict[str, Callable[[], httpx.Response]] = {
            "POST scan": lambda: http.post("/v1/scans", params=query, content=scan.read_bytes()),
            "POST large scan": lambda: http.post("/v1/scans", params=query, content=bytes(_DISK_BYTES)),
            "POST upload": lambda: http.post(
                "/v1/uploads", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "1000"}
            ),
            "GET scans": lambda: http.get("/v1/scans"),
            "GET ready": lambda: http.get("/health/ready"),
            "GET model": lambda: http.get("/v1/model"),
            "GET metrics": lambda: http.get("/metrics"),
            "cancel": lambda: http.post(f"/v1/scans/{scan_id}/cancel"),
            "GET no scan": lambda: http.get("/v1/scans/" + "0" * 32),
        }
        for name, ask in asked.items():
            self.tally.count("requests")
            try:
                status = ask().status_code
            except httpx.HTTPError as error:
                self.tally.find(f"{type(error).__name__} for {name} while {self.fault}", self.fault)
                continue
            self.tally.count(f"{self.fault}: {status}")
            if status >= 500 and status not in _UNAVAILABLE:
                self.tally.find(f"{status} for {name} while {self.fault}", self.fault)
        for question, answer in specimens.ask(http, scan_id).items():
            self.tally.count("requests")
            if isinstance(answer, bytes):
                if answer != truth[question]:
                    self.tally.find(f"other {question or 'description'} while {self.fault}", self.fault)
                continue
            code = answer.rpartition(" ")[2]
            if answer.startswith(specimens.REFUSED) and code.startswith("5") and int(code) not in _UNAVAILABLE:
                self.tally.find(f"{code} for {question or 'the scan'} while {self.fault}", self.fault)

    def _mended(self, http: httpx.Client, scan: Path, scan_id: str, truth: Answers) -> None:
        deadline = time.monotonic() + 30
        while specimens.ask(http, scan_id) != truth:
            if time.monotonic() > deadline:
                self.tally.find(f"answers are other ones 30 s after {self.fault}", self.fault)
                return
            time.sleep(0.5)
        try:
            state = specimens.wait(http, specimens.post(http, scan))
        except (httpx.HTTPError, TimeoutError) as error:
            state = type(error).__name__
        if state != "succeeded":
            self.tally.find(f"a post ended as {state or 'refused'} after {self.fault}", self.fault)


def attack(arena: Arena) -> Tally:
    """Each fault once; one that this machine cannot make is counted as skipped."""
    tally = Tally("faults")
    for name, fault in _FAULTS.items():
        inner = Arena(arena.folder / name.replace(" ", "-"), arena.kept, arena.seed, arena.model, arena.say)
        inner.folder.mkdir()
        try:
            fault(tally, inner, name)
            tally.count("faults")
        except Skipped as reason:
            tally.count(f"skipped: {name} ({reason})")
        arena.say(f"{name}: {tally.found} findings so far")
    return tally


def _process(arena: Arena, **settings: object) -> ForkedProcess:
    given = {"threads": 1, "batch_size": 4, "lease_seconds": 2, **settings}
    return ForkedProcess.of(servers.server(arena.folder, model=arena.model, **given))


@contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "ricefish-attack", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        raise Skipped("no right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def _disk_full(tally: Tally, arena: Arena, name: str) -> None:
    @contextmanager
    def full(disk: Path) -> Iterator[None]:
        filler = disk / "filler"
        with filler.open("wb") as file, suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))
        try:
            yield
        finally:
            filler.unlink()

    with _disk(arena.folder / "disk") as disk:
        process = _process(arena, store=disk / "store")
        _Case(tally, arena, process, name).run(partial(full, disk))


def _read_only(tally: Tally, arena: Arena, name: str) -> None:
    @contextmanager
    def read_only(disk: Path) -> Iterator[None]:
        store = str(disk / "store")  # files that are open keep a disk from becoming read-only, but not a mount on top
        for how in (["--bind", store, store], ["-o", "remount,bind,ro", store]):
            if subprocess.run(["mount", *how], capture_output=True, check=False).returncode:
                raise Skipped("no right to mount the store read-only")
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", store], check=False, capture_output=True)

    with _disk(arena.folder / "disk") as disk:
        database = arena.folder / "database"
        database.mkdir()
        scratch = arena.folder / "scratch"
        settings = {"database_url": f"sqlite:///{database}/jobs.sqlite", "scratch": scratch}
        process = _process(arena, store=disk / "store", **settings)
        _Case(tally, arena, process, name).run(partial(read_only, disk))


def _store_gone(tally: Tally, arena: Arena, name: str) -> None:
    @contextmanager
    def gone(store: Path) -> Iterator[None]:
        away = store.with_name("away")
        store.rename(away)
        try:
            yield
        finally:
            shutil.rmtree(store, ignore_errors=True)
            away.rename(store)

    database = arena.folder / "database"
    database.mkdir()
    settings = {"database_url": f"sqlite:///{database}/jobs.sqlite", "scratch": arena.folder / "scratch"}
    process = _process(arena, **settings)
    _Case(tally, arena, process, name).run(partial(gone, arena.folder / "store"))


def _database_gone(tally: Tally, arena: Arena, name: str) -> None:
    @contextmanager
    def stopped(database: Stoppable) -> Iterator[None]:
        database.stop()
        try:
            yield
        finally:
            database.start()

    with stoppable_postgresql() as database:
        process = _process(arena, database_url=new_postgresql_database(database.uri))
        _Case(tally, arena, process, name).run(partial(stopped, database))


@dataclass
class _FakedClock(servers.Process):
    """A process whose clock a file moves; a forked one would keep that of its parent."""

    @property
    def offset(self) -> Path:
        """The file, with an offset as libfaketime reads it."""
        return self.log.with_name("clock")

    def environment(self) -> dict[str, str]:
        """With the library that moves the clock; what is timed by the monotonic clock goes on."""
        faked = {
            "LD_PRELOAD": _faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self.offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return {**super().environment(), **faked}


def _faketime() -> str:
    for library in Path("/usr/lib").rglob("libfaketimeMT.so.1"):
        return str(library)
    raise Skipped("libfaketime is not installed")


def _clock_jumps(offset: str, tally: Tally, arena: Arena, name: str) -> None:
    like = _process(arena)
    process = _FakedClock(like.command, like.settings, like.log, like.folder)
    process.log.parent.mkdir(parents=True, exist_ok=True)
    process.offset.write_text("+0\n", encoding="utf-8")

    @contextmanager
    def moved() -> Iterator[None]:
        process.offset.write_text(f"{offset}\n", encoding="utf-8")
        try:
            yield
        finally:
            process.offset.write_text("+0\n", encoding="utf-8")

    _Case(tally, arena, process, name).run(moved)


_FAULTS: Mapping[str, Callable[[Tally, Arena, str], None]] = {
    "the disk is full": _disk_full,
    "the store is read-only": _read_only,
    "the store is gone": _store_gone,
    "the database is gone": _database_gone,
    "the clock is three days ahead": partial(_clock_jumps, "+3d"),
    "the clock is a day behind": partial(_clock_jumps, "-1d"),
}
