"""What do swaps cost? The champion moves 20 times under a constant load of scans and single slices.

    python -m benchmarks.swaps

Each move puts a version in place that is not loaded: it is fetched or taken from its copy, hashed, opened, checked on
its golden slice. Then the champion is rolled back and forth. No request may fail, and every answer must be that of the
version that it names. Writes benchmarks/results/swaps.json; exit code 1 with a message where something did not hold.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np
from rich.console import Console

from benchmarks.effort import effort_of
from benchmarks.models import WINDOW, Size, write_model
from benchmarks.registered import CHAMPION, Registered, registered
from harness import servers
from harness.load import CheckedLoad, Wrong

_VERSIONS = 3
"""So that the one that comes next is neither the present one nor the one before, which stays loaded."""
_FOLLOW_SECONDS = 0.5
_AFTER_SECONDS = 1.0
"""After a swap that still counts as during it."""
_FEW = 50
_PAUSE_SECONDS = 0.02
"""Between an answer and the next slice, as of somebody who looks at it."""
_ROUNDING = 0.005
SIDE = 256
"""Single slices, after which everything has been used once."""

Window = tuple[float, float]
"""When something began and ended, by the clock of `time.perf_counter`."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    moves: int
    """Of the champion, each to a version that has to be loaded."""
    rollbacks: int
    """Moves to and fro afterwards."""
    quiet_seconds: float
    """Of load before the first move."""
    slices: int
    """Of each scan."""


def swaps(size: Size, plan: Plan) -> dict[str, Any]:
    """One network; gives what happened. Raises Wrong where a request failed or an answer is another version's."""
    with tempfile.TemporaryDirectory(prefix="ricefish-swaps-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        models = [write_model(folder / f"model-{seed}", size, seed=seed) for seed in range(1, _VERSIONS + 1)]
        with registered(folder, models) as registry:
            server = servers.server(folder, model=CHAMPION, follow_seconds=_FOLLOW_SECONDS, engine="onnxruntime")
            server.start()
            try:
                return {"network": size, **_measured(server.url, registry, plan)}
            finally:
                server.stop()


def _measured(url: str, registry: Registered, plan: Plan) -> dict[str, Any]:
    numbers = sorted(registry.models)
    grey = np.random.default_rng(5).integers(0, 4000, (plan.slices, SIDE, SIDE)).astype(np.uint16)
    load = CheckedLoad(url, registry.models, grey, WINDOW, pause_seconds=_PAUSE_SECONDS, rounding=_ROUNDING)
    with load:
        load.until(lambda: len(load.answered) > _FEW and load.scans.total() > 0)
        quiet = _window(lambda: time.sleep(plan.quiet_seconds))
        versions = itertools.cycle([*numbers[1:], numbers[0]])
        moved = [_moved(url, registry, next(versions), load) for _ in range(plan.moves)]
        last = _champion(url)
        other = next(number for number in numbers if number != last)
        _moved(url, registry, other, load)
        rolled = [_moved(url, registry, (last, other)[turn % 2], load) for turn in range(plan.rollbacks)]
    load.check()
    before, during = load.seconds_within([quiet]), load.seconds_within(moved)
    return {
        "moves": plan.moves,
        "slices_answered": len(load.answered),
        "scans_answered": load.scans.total(),
        "failed": 0,
        "mixed": 0,
        "slices_before": len(before),
        "slices_during": len(during),
        "p50_ms": [_milliseconds(before, 50), _milliseconds(during, 50)],
        "p99_ms": [_milliseconds(before, 99), _milliseconds(during, 99)],
        "p99_ratio": round(_milliseconds(during, 99) / _milliseconds(before, 99), 2),
        "swap_seconds": [_until_served(window) for window in moved],
        "rollback_seconds": [_until_served(window) for window in rolled],
    }


def _until_served(window: Window) -> float:
    began, ended = window
    return round(ended - began - _AFTER_SECONDS, 2)


def _moved(url: str, registry: Registered, version: str, load: CheckedLoad) -> Window:
    """From the moment that the alias moves to a second after the server has followed."""

    def move() -> None:
        registry.champion(version)
        load.until(lambda: _champion(url) == version)
        time.sleep(_AFTER_SECONDS)

    return _window(move)


def _champion(url: str) -> str:
    models = httpx.get(f"{url}/v1/models", timeout=60, trust_env=False).raise_for_status().json()["models"]
    if (refusal := models[0]["followed"]["refusal"]) is not None:
        raise Wrong(f"version {refusal['version']} was refused: {refusal['detail']}")
    return str(models[0]["version"])


def _window(work: Callable[[], None]) -> Window:
    began = time.perf_counter()
    work()
    return began, time.perf_counter()


def _milliseconds(seconds: Sequence[float], percentile: float) -> float:
    return round(float(np.percentile(seconds, percentile)) * 1e3, 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where a request failed or an answer was mixed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps", description="The champion moves under load")
    parser.add_argument("--moves", type=int, default=20, help="of the champion, each with a load (default: 20)")
    parser.add_argument("--rollbacks", type=int, default=6, help="moves to and fro afterwards (default: 6)")
    parser.add_argument("--quiet-seconds", type=float, default=60.0, help="of load before the first move (default: 60)")
    parser.add_argument("--slices", type=int, default=64, help="of each scan (default: 64)")
    parser.add_argument("--network", choices=get_args(Size), action="append", help="default: all")
    least = {"moves": 2, "rollbacks": 1, "quiet_seconds": 2.0, "slices": 16, "network": ["tiny"]}
    effort = effort_of(parser, arguments, least=least)
    given, console = effort.options, Console()
    rows: list[dict[str, Any]] = []
    plan = Plan(given.moves, given.rollbacks, given.quiet_seconds, given.slices)
    for size in given.network or get_args(Size):
        try:
            rows.append(swaps(size, plan))
        except Wrong as error:
            raise SystemExit(f"swaps: {size}: {error}") from None
        console.print(rows[-1])
        path = effort.write("swaps", rows=rows, about={"side": SIDE})
    console.print(f"Nothing failed and nothing was mixed. Written to {path}")


if __name__ == "__main__":
    main()
