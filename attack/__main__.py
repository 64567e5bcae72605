"""The command: python -m attack [--long] [--only NAME] [--seed N] [--json FILE]; exit code 1 if something is found."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from attack.tally import Arena, Tally

Attack = Callable[[Arena], Tally]
RESULTS = Path(__file__).resolve().parent / "results"
_LIBRARY_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def attacks(*, long: bool, other_model: Path) -> Mapping[str, Attack]:
    """Each attack with its effort: of minutes, or, in the long form, of an hour in all on two cores."""
    from attack import (  # noqa: PLC0415  each brings in its libraries
        bombing,
        calls,
        connections,
        faults,
        formats,
        integrity,
        kills,
        mix,
        tensors,
    )

    return {
        "formats": lambda arena: formats.attack(arena, cases=10_000 if long else 200),
        "integrity": lambda arena: integrity.attack(
            arena, flips=200 if long else 22, removals=None if long else 10, other_model=other_model
        ),
        "kills": lambda arena: kills.attack(arena, kills=1000 if long else 20),
        "calls": lambda arena: calls.attack(arena, calls=5000 if long else 500),
        "bombs": lambda arena: bombing.attack(arena, at_once=long),
        "tensors": lambda arena: tensors.attack(arena, requests=2000 if long else 200),
        "connections": lambda arena: connections.attack(arena, number=300, seconds=20.0 if long else 3.0),
        "faults": faults.attack,
        "mix": lambda arena: mix.attack(arena, seconds=400.0 if long else 60.0),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the attacks one after another; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m attack", description="Attacks readers, servers and stores")
    parser.add_argument("--long", action="store_true", help="about an hour; without, minutes")
    parser.add_argument("--only", action="append", metavar="NAME", help="one attack; may be given several times")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument("--json", type=Path, help="where counts go (default: attack/results/LENGTH.json)")
    parser.add_argument("--real", type=Path, help="a folder of real files whose small ones are mutated as well")
    given = parser.parse_args(arguments)
    for name in _LIBRARY_THREADS:
        os.environ.setdefault(name, "1")  # before what is forked computes
    console = Console()
    path = given.json or RESULTS / f"{'long' if given.long else 'short'}.json"
    kept = path.parent / "found"
    with tempfile.TemporaryDirectory(prefix="ricefish-attack-", ignore_cleanup_errors=True) as folder:
        model, other = _models(Path(folder))
        chosen = attacks(long=given.long, other_model=other)
        unknown = set(given.only or ()) - set(chosen)
        if unknown:
            parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(chosen)}")
        tallies = []
        for name in given.only or chosen:
            arena = Arena(Path(folder) / name, kept, given.seed, model, _teller(console, name), given.real)
            arena.folder.mkdir()
            tallies.append(_run(chosen[name], name, arena))
            _write(path, tallies, long=given.long, seed=given.seed)
            _show(console, tallies[-1])
    console.print(f"Counts are in {path}")
    return int(any(tally.found for tally in tallies))


def _run(attack: Attack, name: str, arena: Arena) -> Tally:
    began = time.monotonic()
    try:
        tally = attack(arena)
    except Exception as error:
        tally = Tally(name)
        tally.find(f"the attack itself ended with {type(error).__name__}: {error}", f"python -m attack --only {name}")
    tally.measure("seconds", time.monotonic() - began)
    return tally


def _models(folder: Path) -> tuple[Path, Path]:
    from benchmarks.models import add_classifier, write_model  # noqa: PLC0415  brings in torch

    one, other = (add_classifier(write_model(folder / f"model-{seed}", "tiny", seed=seed)) for seed in (1, 2))
    return one, other


def _teller(console: Console, name: str) -> Callable[[str], None]:
    told = [0.0]

    def say(line: str) -> None:
        if time.monotonic() - told[0] > 5:
            told[0] = time.monotonic()
            console.print(f"{name}: {line}", highlight=False)

    return say


def _write(path: Path, tallies: Sequence[Tally], *, long: bool, seed: int) -> None:
    """After each attack, so that none is lost; attacks of an earlier run that were not made now stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    attacks = {one.name: one.as_json() for one in tallies}
    content: dict[str, Any] = {"seed": seed, "long": long, "attacks": list(attacks.values())}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _show(console: Console, tally: Tally) -> None:
    said = ", ".join(f"{value:,} {name}" for name, value in sorted(tally.counts.items())[:12])
    console.print(f"{tally.name}: {tally.found} findings; {said}", highlight=False)
    for finding in tally.findings[:20]:
        console.print(f"  {finding.what}\n    {finding.repeat}", highlight=False, markup=False)


if __name__ == "__main__":
    raise SystemExit(main())
