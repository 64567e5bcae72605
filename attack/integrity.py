"""Integrity: a bit of a stored file is flipped, or a file is gone. What is handed out is right, or nothing is.

A store with finished scans, a queued one and a complete upload is copied, damaged in one place, and served. All that
can be asked is asked and compared with what was true before. `ricefish doctor --store` has to name the damage.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx

from attack import specimens
from attack.doctor import examine
from attack.specimens import Answers
from attack.tally import Arena, Tally
from harness import servers
from harness.forked import ForkedProcess

_FILES = ("a.nii.gz", "b.ome.zarr.zip", "c.tif")
_UNAVAILABLE = {"503", "507"}
_PRESENT = "the scan that was finished"
_QUEUED, _UPLOADED = "the scan that was queued", "the scan that was uploaded"


@dataclass(frozen=True)
class Damage:
    """One bit, or one file."""

    path: PurePosixPath
    """In the store."""
    bit: int | None
    """From the file's begin; None: the file is gone."""

    def __str__(self) -> str:
        return f"{self.path} is gone" if self.bit is None else f"bit {self.bit} of {self.path} is flipped"

    def inflict(self, store: Path) -> None:
        """Keeps the file's times: a disk that rots does not touch them."""
        path = store / self.path
        if self.bit is None:
            path.unlink()
            return
        times = path.stat()
        content = bytearray(path.read_bytes())
        content[self.bit // 8] ^= 1 << self.bit % 8
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@dataclass(frozen=True)
class Site:
    """A store, and what is true of it."""

    store: Path
    finished: dict[str, Answers]
    """By scan."""
    queued: str
    uploaded: str
    """Upload of the file that the queued scan is of, which is the first of the finished ones too."""
    truth: Answers
    """Of that file, by the model that was served then."""
    truth_now: Answers
    """Of that file, by the model that is served afterwards."""

    def files(self) -> list[PurePosixPath]:
        """What is stored, in order; locks, and the room that the database keeps on the disk, hold nothing."""
        paths = (path.relative_to(self.store) for path in self.store.rglob("*") if path.is_file())
        return sorted(
            PurePosixPath(path) for path in paths if path.name != ".lock" and path.suffix != ".sqlite-reserve"
        )


def attack(arena: Arena, *, flips: int, removals: int | None = None, other_model: Path) -> Tally:
    """Flips so many bits, one at a time, and removes each file, or so many. `other_model` is served afterwards, so that
    the queued scan's model comes from the store's copy.
    """
    tally = Tally("integrity")
    site = _site(arena, other_model)
    dice = random.Random(arena.seed)  # noqa: S311 - not for secrets
    gone = [Damage(path, None) for path in site.files()]
    if removals is not None:
        gone = dice.sample(gone, min(removals, len(gone)))
    damages = [*_flips(site, flips, dice), *gone]
    for number, damage in enumerate(damages, 1):
        _one(tally, arena, site, damage, other_model)
        arena.say(f"{number} of {len(damages)} places, {tally.found} findings")
    return tally


def _flips(site: Site, flips: int, dice: random.Random) -> Iterator[Damage]:
    """Over the kinds of file in turn: there are more shards than models, and each kind has its own way to be wrong."""
    kinds: dict[str, list[PurePosixPath]] = {}
    for path in site.files():
        if (site.store / path).stat().st_size:
            kinds.setdefault(kind(path), []).append(path)
    names = sorted(kinds)
    for number in range(flips):
        path = dice.choice(kinds[names[number % len(names)]])
        yield Damage(path, dice.randrange(8 * (site.store / path).stat().st_size))


def kind(path: PurePosixPath) -> str:
    """What a stored file is."""
    parts = path.parts
    if parts[0] == "scans" and "c" in parts[3:]:
        return "voxels" if "image.ome.zarr" in parts else "shard"
    if parts[0] == "models":
        return "reference" if parts[1] == "references" else f"copy of {path.name}"
    if "uploads" in parts:
        return f"upload's {path.name}"
    return path.name


def _server(folder: Path, model: Path, **settings: object) -> ForkedProcess:
    common = {"threads": 1, "batch_size": 4, "slab_slices": 2, "lease_seconds": 1, "attempts": 2}
    return ForkedProcess.of(servers.server(folder, model=model, **{**common, **settings}))


@contextmanager
def _served(process: ForkedProcess) -> Iterator[httpx.Client]:
    process.start()
    try:
        with httpx.Client(base_url=process.url, timeout=60, trust_env=False) as http:
            yield http
    finally:
        process.stop()


def _site(arena: Arena, other_model: Path) -> Site:
    paths = [specimens.write_scan(arena.folder / name, seed=arena.seed + n) for n, name in enumerate(_FILES)]
    with _served(_server(arena.folder, arena.model)) as http:
        ids = [specimens.post(http, path) for path in paths]
        states = [specimens.wait(http, scan_id) for scan_id in ids]
        if set(states) != {"succeeded"}:
            raise RuntimeError(f"the scans did not succeed: {states}")
        finished = {scan_id: specimens.ask(http, scan_id) for scan_id in ids}
    with _served(_server(arena.folder, arena.model, concurrent_scans=0)) as http:
        queued = specimens.post(http, paths[0])
        uploaded = specimens.upload(http, paths[0])
    shutil.copytree(arena.folder / "store", arena.folder / "whole" / "store")
    with _served(_server(arena.folder / "whole", other_model)) as http:
        again = specimens.post(http, paths[0])
        if specimens.wait(http, again) != "succeeded":
            raise RuntimeError("the scan did not succeed with the other model")
        truth_now = specimens.ask(http, again)
    return Site(arena.folder / "store", finished, queued, uploaded, finished[ids[0]], truth_now)


def _one(tally: Tally, arena: Arena, site: Site, damage: Damage, model: Path) -> None:
    folder = arena.folder / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(site.store, folder / "store")  # with their times
    damage.inflict(folder / "store")
    tally.count("places")
    tally.count(f"{kind(damage.path)}: {'gone' if damage.bit is None else 'flipped'}")
    repeat = f"seed {arena.seed}: {damage}"
    seen = examine(folder / "store", site.store)
    tally.count(f"doctor: {seen.verdict(damage.path)}")
    if not seen.names(damage.path) and not _is_unused(damage, site.store, folder / "store"):
        tally.find(f"doctor does not name a damaged {kind(damage.path)}", repeat)
    try:
        with _served(_server(folder, model)) as http:
            _compare(tally, arena, site, http, damage, repeat=repeat)
    except servers.DidNotStart:
        tally.count("the server refused to start")
        if kind(damage.path) in ("shard", "voxels"):
            tally.find(f"the server does not start with a damaged {kind(damage.path)}", repeat)


def _is_unused(damage: Damage, whole: Path, damaged: Path) -> bool:
    """Whether the bit is one of a database that nothing is kept in: all rows are as they were."""
    return damage.bit is not None and damage.path.suffix == ".sqlite" and _dump(whole) == _dump(damaged)


def _dump(store: Path) -> list[str] | None:
    try:
        with closing(sqlite3.connect(f"file:{store}/jobs.sqlite?mode=ro", uri=True)) as connection:
            return list(connection.iterdump())
    except (sqlite3.Error, UnicodeError, ValueError):
        return None


def _compare(tally: Tally, arena: Arena, site: Site, http: httpx.Client, damage: Damage, *, repeat: str) -> None:
    for scan_id, truth in site.finished.items():
        _judge(tally, arena, damage, _PRESENT, truth=truth, found=specimens.ask(http, scan_id), repeat=repeat)
    later: dict[str, tuple[str | None, Answers]] = {
        _QUEUED: (site.queued, site.truth),
        _UPLOADED: (specimens.take_upload(http, site.uploaded, _FILES[0]), site.truth_now),
    }
    for which, (taken, then) in later.items():
        if taken is None:
            tally.count(f"{which}: refused")
            continue
        try:
            state = specimens.wait(http, taken)
        except TimeoutError as error:
            tally.find(f"{which}: {error}", repeat)
            continue
        tally.count(f"{which}: {state or 'refused'}")
        if state == "succeeded":
            _judge(tally, arena, damage, which, truth=then, found=specimens.ask(http, taken), repeat=repeat)


def _judge(
    tally: Tally, arena: Arena, damage: Damage, which: str, *, truth: Answers, found: Answers, repeat: str
) -> None:
    for question, answer in found.items():
        if answer == truth[question]:
            tally.count("answers: right")
            continue
        if isinstance(answer, bytes):
            kept = arena.keep(f"integrity-{tally.found}-found", answer)
            arena.keep(f"integrity-{tally.found}-true", _bytes(truth[question]))
            what = f"other {question or 'description'} of {which}, {kind(damage.path)} damaged"
            tally.find(what, f"{repeat}; {kept.name}")
            continue
        status = answer.rpartition(" ")[2]
        if answer.startswith(specimens.BROKEN):
            tally.count("answers: broken off")
        elif answer.startswith(specimens.REFUSED) and (status.startswith("4") or status in _UNAVAILABLE):
            tally.count("answers: refused")
        else:
            tally.find(f"{status} for {question or 'the scan'} of {which}, {kind(damage.path)} damaged", repeat)


def _bytes(answer: bytes | str) -> bytes:
    return answer if isinstance(answer, bytes) else answer.encode()
