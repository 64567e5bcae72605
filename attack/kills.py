"""Kills: SIGKILL in the middle of posts, uploads, segmentation and downloads; nothing is lost, nothing is other.

Half of the kills hit one server on SQLite, half a server and its workers on PostgreSQL. Scans are small, and processes
are forked from one that has imported all, so that a kill takes a second; `python -m benchmarks.soak` has larger ones.
"""

from __future__ import annotations

import io

from rich.console import Console

from attack.tally import Arena, Tally
from benchmarks.soak import Pace, soak
from benchmarks.traffic import Lost
from harness.forked import ForkedProcess

_PACE = Pace(shape=(8, 64, 64), most_seconds=1.2, process=ForkedProcess.of)
_ROUND = 50
"""Kills after which all is checked and removed."""
_WORKERS = 2


def attack(arena: Arena, *, kills: int) -> Tally:
    """So many SIGKILLs, in rounds, each on an empty store that is looked through at its end."""
    tally = Tally("kills")
    console = Console(file=io.StringIO())
    left, number = kills, 0
    while left:
        part, workers = min(_ROUND, left), _WORKERS * (number % 2)
        seed = arena.seed * 1000 + number
        repeat = f"python -m benchmarks.soak --kills {part} --workers {workers} --seed {seed}"
        try:
            row = soak(kills=part, workers=workers, seed=seed, console=console, model=arena.model, pace=_PACE)
        except Lost as error:
            tally.find(str(error), repeat)
            row = {}
        left, number = left - part, number + 1
        tally.count("kills", part)
        tally.count("kills on PostgreSQL" if workers else "kills on SQLite", part)
        for name, value in {**row, **row.get("ended", {})}.items():
            if isinstance(value, int) and name != "kills":
                tally.count(name, value)
        arena.say(f"{kills - left} of {kills} kills, {tally.found} findings")
    return tally
