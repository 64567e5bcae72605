"""Measuring: every row for every seed and label budget, written down one by one, so that a run that ended goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import yaml

from benchmarks import clone, results
from benchmarks.tables.rows import ROWS

PHANTOMS = clone.REPOSITORY / "data" / "phantom"
"""The raw folder of synthetic fish."""
_LAST = "evaluate"
"""The stage that gives the figures; no other one comes after it."""


@dataclass(frozen=True)
class Cell:
    """One training and its scores."""

    row: str
    """Name in ROWS."""
    budget: int
    """Labelled volumes."""
    seed: int
    dice: float
    """Mean over volumes, then organs, 0..1."""
    iou: float
    hd95_mm: float | None
    """Mean over the organs and volumes that have one."""
    organs: Mapping[str, float | None]
    """Dice of each organ."""
    seconds: float
    """Of `dvc repro`, stages that were restored included."""
    machine: str
    """What it was trained on, in words; stages that DVC's cache gave may be of another."""
    commit: str
    row_sha256: str
    """Of the row as it was then."""

    @property
    def place(self) -> tuple[int, int, str]:
        """What it is of: seed, budget, row."""
        return self.seed, self.budget, self.row


@dataclass(frozen=True)
class Protocol:
    """What is measured."""

    table: int
    rows: tuple[str, ...]
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    variant: clone.Variant

    @property
    def places(self) -> tuple[tuple[int, int, str], ...]:
        """Seed, budget and row of each cell, in the order in which they are measured; each row's control among them."""
        wanted = {*self.rows, *(ROWS[name].control for name in self.rows)}
        rows = tuple(name for name in ROWS if name in wanted)
        return tuple((seed, budget, row) for seed in self.seeds for budget in self.budgets for row in rows)

    @property
    def synthetic(self) -> bool:
        """True where synthetic fish are measured."""
        return (clone.REPOSITORY / self.variant.raw_dir).resolve() == PHANTOMS

    @property
    def name(self) -> str:
        """Of the files and of the MLflow experiment."""
        return f"table-{self.table}-{self.variant.profile}"

    def described(self) -> dict[str, Any]:
        """What the figures depend on besides seed, budget and row, for JSON."""
        variant = self.variant
        return {"profile": variant.profile, "changes": dict(variant.changes), "smallest": variant.smallest}


def decided_by(protocol: Protocol) -> str:
    """Hash of the code, data and values that the figures depend on.

    A commit that changes nothing of it goes on with the figures of the one before.
    """
    stages = _stages()
    code = {path for stage in stages.values() for path in stage["deps"] if path.startswith(("scans/", "training/"))}
    trees = {path: _tree(path) for path in sorted(code | {"data", "requirements"})}
    values = dataclasses.asdict(protocol.variant.params())
    del values["prepare"]["raw_dir"]  # wherever the checkout lies
    said = json.dumps([stages, trees, values, protocol.described()], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def _stages() -> dict[str, Any]:
    """Those of dvc.yaml up to the last that is run."""
    stages = yaml.safe_load((clone.REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    names = list(stages)
    return {name: stages[name] for name in names[: names.index(_LAST) + 1]}


def comparable(cells: Sequence[Cell], protocol: Protocol) -> tuple[Cell, ...]:
    """Those that a table may hold beside what is measured now.

    What is compared is of one machine: of a seed and budget of which a cell is missing, or where there are cells of
    several machines, only those of this one stay. No cell stays of a row that is another one now.
    """
    here = results.said_of(results.machine())
    current = [cell for cell in cells if cell.row in ROWS and cell.row_sha256 == ROWS[cell.row].sha256]
    machines: dict[tuple[int, int], set[str]] = {}
    for cell in current:
        machines.setdefault(cell.place[:2], set()).add(cell.machine)
    there = {cell.place for cell in current}
    broken = {place[:2] for place in protocol.places if place not in there}
    broken |= {group for group, names in machines.items() if len(names) > 1}
    return tuple(cell for cell in current if cell.place[:2] not in broken or cell.machine == here)


def measured(protocol: Protocol, known: Sequence[Cell], *, jobs: int = 1) -> Iterator[Cell]:
    """Every cell: those of `known` as they are, the others as they come. Raises BenchmarkError.

    `jobs` seeds and budgets are under way at once, the rows of one after the other: they have most stages in common.
    """
    found = {cell.place: cell for cell in known}
    yield from (found[place] for place in protocol.places if place in found)
    missing = groupby((place for place in protocol.places if place not in found), key=lambda place: place[:2])
    done: SimpleQueue[Cell | Exception] = SimpleQueue()
    left = [list(places) for _, places in missing]
    with ThreadPoolExecutor(jobs) as pool:
        for places in left:
            pool.submit(_measure, protocol, places, done)
        for _ in range(sum(len(places) for places in left)):
            cell = done.get()
            if isinstance(cell, Exception):
                pool.shutdown(cancel_futures=True)
                raise cell
            yield cell


def _measure(protocol: Protocol, places: Sequence[tuple[int, int, str]], done: SimpleQueue[Cell | Exception]) -> None:
    try:
        for place in places:
            done.put(_cell(protocol, *place))
    except Exception as error:  # raised where it is waited for
        done.put(error)


def read_cells(path: Path, *, decided: str) -> tuple[Cell, ...]:
    """What an earlier run left there; none where it was of other code, data or values."""
    if not path.is_file():
        return ()
    content = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Cell(**row) for row in content["rows"]) if content["decided_by"] == decided else ()


def write_cells(
    cells: Sequence[Cell], protocol: Protocol, *, decided: str, write: Callable[..., Path], about: Mapping[str, Any]
) -> Path:
    """Writes NAME.json by `write` (`Effort.write`); returns its path."""
    rows = [dataclasses.asdict(cell) for cell in cells]
    where = {"synthetic": protocol.synthetic, "raw_folder": protocol.variant.raw_dir.name}
    return write(protocol.name, rows=rows, about={**protocol.described(), **where, "decided_by": decided, **about})


def _cell(protocol: Protocol, seed: int, budget: int, name: str) -> Cell:
    row = ROWS[name]
    own = {"seed": seed, "prepare.labelled_volumes": budget}
    changes = {"prepare.seed": seed, **protocol.variant.changes, **own, **row.changes}
    teacher = dataclasses.replace(protocol.variant, changes=changes).params().train_teacher
    if row.mirrored:
        changes["pseudo_label.mirror"] = "x" if teacher.augmentation.mirror_x else "y"
    if row.longer > 1:
        changes["pseudo_label.schedule.epochs"] = row.longer * teacher.schedule.epochs
    variant = dataclasses.replace(protocol.variant, changes=changes)
    outcome = clone.evaluate(variant, name=f"{protocol.name}-{seed}-{budget}-{name}")
    if not 0 < budget <= outcome.training_volumes:
        raise clone.BenchmarkError(f"a budget of {budget} volumes; there are {outcome.training_volumes} to learn from")
    scores = outcome.scores[row.network]
    means = results.means(scores)
    return Cell(
        row=name,
        budget=budget,
        seed=seed,
        dice=means["mean_dice"],
        iou=means["mean_iou"],
        hd95_mm=_mean_hd95(scores),
        organs={organ: found["dice"] for organ, found in scores["organs"].items()},
        seconds=round(outcome.seconds, 1),
        machine=results.said_of(results.machine()),
        commit=clone.commit(),
        row_sha256=row.sha256,
    )


def _mean_hd95(scores: Mapping[str, Any]) -> float | None:
    volumes = scores.get("volumes", {}).values()
    values = [organ["hd95_mm"] for volume in volumes for organ in volume["organs"].values()]
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _tree(path: str) -> str:
    command = ["git", "rev-parse", f"HEAD:{path}"]
    done = subprocess.run(command, cwd=clone.REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise clone.BenchmarkError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()
