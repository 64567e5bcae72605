"""Does training keep the device busy? The loop that trains, against the same network on one batch that stays there.

    python -m benchmarks.training_speed

Teacher and Student, with the patches of the demo and with the paper's (256 x 256 of slices of 1000 x 1000, 64 a step),
in turn in one run. The bare loop has the same network, loss and optimiser, a Student's frozen Teacher included, and one
batch that was made before. Steps per second are taken from the first step to the last. What a GPU with eight loader
processes would wait is worked out from the rate at which one process makes batches, and an assumed time of a step
(`--sustained`). Writes benchmarks/results/training_speed.json and docs/training-speed.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks import clone
from benchmarks.effort import effort_of
from benchmarks.training_data import Measured, trainings
from benchmarks.training_figure import ACTIVITIES, draw_training
from training.data.patches import PatchReader
from training.learning.loop import Plan, train
from training.learning.prefetching import batches_ahead, mapped
from training.learning.processes import Processes, has_bfloat16, processes
from training.learning.resume import ResumeFile

LOADERS = 8
STEP_FLOP = 10.7e9 * 3 * 64
"""Of the paper's step: forward 10.7 GFLOP for 256 x 256 pixels (U-Net, ResNet-18), backward twice that; 64 patches."""
_SIZES = {"demo": (40, 72, 72), "paper": (64, 1000, 1000)}
_PICTURE = clone.REPOSITORY / "docs" / "training-speed.png"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_speed", description="training, and waiting")
    parser.add_argument("--demo-steps", type=int, default=100, help="of each round, at the demo's size (default: 100)")
    parser.add_argument("--paper-steps", type=int, default=3, help="the same at the paper's size (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured, in turn (default: 3)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of torch, in turn (default: 1 2)")
    parser.add_argument("--sustained", type=float, default=100.0, help="TFLOP/s of the GPU in training (default: 100)")
    effort = effort_of(parser, arguments, least={"demo_steps": 4, "paper_steps": 0, "rounds": 1, "threads": [1]})
    given, console = effort.options, Console()
    rows: list[dict[str, Any]] = []
    for profile, steps in (("demo", given.demo_steps), ("paper", given.paper_steps)):
        rounds = given.rounds if profile == "demo" else min(given.rounds, 2)
        for threads in given.threads if profile == "demo" else given.threads[-1:]:
            rows += _of_profile(profile, steps=steps, rounds=rounds, threads=threads, console=console)
            gpu = on_gpu(rows, sustained=given.sustained * 1e12)
            path = effort.write("training_speed", rows=rows, about={"loaders": LOADERS, "gpu": gpu})
    console.print(table(rows))
    for line in _said(gpu):
        console.print(line, highlight=False)
    picture = effort.picture(_PICTURE)
    draw_training(picture, {f"{row['network']}, {row['profile']}": row["seconds"] for row in rows if row["seconds"]})
    console.print(f"Written to {path} and {picture}", highlight=False)


def _of_profile(profile: str, *, steps: int, rounds: int, threads: int, console: Console) -> Iterator[dict[str, Any]]:
    params = clone.Variant(profile, Path("data/phantom")).params()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory(prefix="ricefish-training-") as folder, chdir(folder), processes() as ranks:
            for measured in trainings(params, shape=_SIZES[profile], volumes=2, ranks=ranks):
                row = {"profile": profile, "network": measured.network, "threads": threads}
                row |= {"batches_per_second": _loader_rate(measured, count=2 + steps // 10)}
                row |= _steps_per_second(measured, steps=steps, rounds=rounds, ranks=ranks)
                console.print({key: value for key, value in row.items() if key != "seconds"})
                yield row
    finally:
        torch.set_num_threads(before)


def _loader_rate(measured: Measured, *, count: int) -> float:
    """Batches per second of one process that keeps no chunk: of a large data set there is next to none twice."""
    pools = [
        dataclasses.replace(
            pool,
            images=PatchReader(pool.images.slices, cache_megabytes=0),
            labels=PatchReader(pool.labels.slices, cache_megabytes=0),
        )
        for pool in measured.batches.pools
    ]
    batches = dataclasses.replace(measured.batches, pools=tuple(pools))
    batches[0]
    began = time.perf_counter()
    for step in range(1, count + 1):
        batches[step]
    return count / (time.perf_counter() - began)


def _steps_per_second(measured: Measured, *, steps: int, rounds: int, ranks: Processes) -> dict[str, Any]:
    if not steps:
        return {"bare": None, "real": None, "ratio": None, "seconds": {}}
    raw = mapped(measured.batches[0], lambda tensor: tensor.to(ranks.device))
    resident = measured.batches.shown(raw)
    bare, real = [], []
    _bare_loop(measured, resident, steps=1, ranks=ranks)
    for _ in range(rounds):
        bare.append(_bare_loop(measured, resident, steps=steps, ranks=ranks))
        real.append(_real_loop(measured, steps=steps, ranks=ranks))
    return {
        "bare": statistics.median(bare),
        "real": statistics.median(real),
        "ratio": statistics.median(r / b for r, b in zip(real, bare, strict=True)),
        "seconds": _activities(measured, steps=steps, ranks=ranks),
    }


def _bare_loop(measured: Measured, resident: Any, *, steps: int, ranks: Processes) -> float:
    network, optimiser = _on_device(measured, ranks)
    moments = []
    for _ in range(steps + 1):
        moments.append(_now(ranks))
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(ranks.device.type, dtype=torch.bfloat16, enabled=has_bfloat16(ranks.device)):
            loss = measured.objective(network, resident)["loss"]
        torch.autograd.backward(loss)
        optimiser.step()
    return steps / (moments[-1] - moments[0])


def _real_loop(measured: Measured, *, steps: int, ranks: Processes) -> float:
    """`train` itself, from when its first batch was there to the beginning of the step after the last."""
    moments = []

    def objective(model: nn.Module, batch: Any) -> Mapping[str, torch.Tensor]:
        moments.append(_now(ranks))
        return measured.objective(model, batch)

    plan = Plan(
        name="measured",
        schedule=dataclasses.replace(measured.recipe.schedule, epochs=1),
        steps_per_epoch=steps + 1,
        workers=0 if ranks.device.type == "cpu" else measured.recipe.workers,
        resume=ResumeFile(Path(tempfile.mkdtemp(dir=".")) / "resume.pt", "measured"),
    )
    network, batches = measured.new_network(), measured.batches
    for _ in train(network, batches, objective, change=batches.shown, plan=plan, processes=ranks):
        pass
    return steps / (moments[-1] - moments[0])


def _activities(measured: Measured, *, steps: int, ranks: Processes) -> dict[str, float]:
    """Seconds of each of ACTIVITIES in so many steps: of the batches one after the other, of the steps as they go."""
    clock, batches = _Clock(ranks), measured.batches
    readers = {id(reader): reader for pool in batches.pools for reader in (pool.images, pool.labels)}.values()
    for reader in readers:
        reader.window = clock.timing("read", reader.window)  # type: ignore[method-assign]
    for step in range(steps):
        with clock.of("cut"):
            raw = batches[2_000_000 + step]
        with clock.of("copy"):
            raw = mapped(raw, lambda tensor: tensor.to(ranks.device))
        with clock.of("augment"):
            batches.shown(raw)
    for reader in readers:
        del reader.window  # the class has its own
    clock.spent["cut"] -= clock.spent["read"]
    network, optimiser = _on_device(measured, ranks)
    ahead = batches_ahead(batches, batches.shown, steps=range(steps + 1), workers=0, device=ranks.device)
    next(ahead)
    for _ in range(steps):
        with clock.of("wait"):
            batch = next(ahead)
        optimiser.zero_grad(set_to_none=True)
        with clock.of("forward"), torch.autocast(ranks.device.type, torch.bfloat16, has_bfloat16(ranks.device)):
            loss = measured.objective(network, batch)["loss"]
        with clock.of("backward"):
            torch.autograd.backward(loss)
        with clock.of("optimiser"):
            optimiser.step()
    return clock.spent


class _Clock:
    def __init__(self, ranks: Processes) -> None:
        self.spent = dict.fromkeys(ACTIVITIES, 0.0)
        self._ranks = ranks

    @contextmanager
    def of(self, activity: str) -> Iterator[None]:
        began = _now(self._ranks)
        yield
        self.spent[activity] += _now(self._ranks) - began

    def timing(self, activity: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            with self.of(activity):
                return function(*arguments)

        return timed


def _on_device(measured: Measured, ranks: Processes) -> tuple[nn.Module, torch.optim.Optimizer]:
    network = measured.new_network().to(ranks.device).to(memory_format=torch.channels_last).train()
    return network, torch.optim.Adam(network.parameters(), lr=measured.recipe.schedule.learning_rate, fused=True)


def _now(ranks: Processes) -> float:
    """When all that was asked of the device is done."""
    if ranks.device.type == "cuda":
        torch.cuda.synchronize(ranks.device)
    return time.perf_counter()


def on_gpu(rows: Sequence[Mapping[str, Any]], *, sustained: float) -> list[dict[str, Any]]:
    """Of the paper's size: the step's time at so many FLOP/s, the time in which LOADERS processes make a batch, and the
    share of the time in which the GPU computes, where what is slower sets the pace."""
    found = []
    for row in rows:
        if row["profile"] != "paper":
            continue
        step, batch = STEP_FLOP / sustained, 1 / (LOADERS * row["batches_per_second"])
        found.append(
            {
                "network": row["network"],
                "tflop_per_second": sustained / 1e12,
                "step_seconds": step,
                "batch_seconds": batch,
                "busy": min(1.0, step / batch),
            }
        )
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line for each training."""
    drawn = Table(title="Steps per second", title_justify="left")
    for heading in ("size", "network", "threads", "bare loop", "training", "training / bare", "batches/s of a loader"):
        drawn.add_column(heading, justify="right")
    for row in rows:
        speeds = ["" if row[name] is None else f"{row[name]:.2f}" for name in ("bare", "real", "ratio")]
        drawn.add_row(row["profile"], row["network"], str(row["threads"]), *speeds, f"{row['batches_per_second']:.1f}")
    return drawn


def _said(gpu: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in gpu:
        yield (
            f"A GPU of {row['tflop_per_second']:.0f} TFLOP/s takes {1000 * row['step_seconds']:.0f} ms for the step of "
            f"a {row['network']}; {LOADERS} loaders make a batch in {1000 * row['batch_seconds']:.0f} ms: it computes "
            f"{100 * row['busy']:.0f} % of the time."
        )


if __name__ == "__main__":
    main()
