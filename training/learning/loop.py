"""The one training loop: Teacher, Student, Quality Classifier and cross-fitted Teachers are all trained by `train`."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from training.learning.averaging import WeightAverage
from training.learning.prefetching import Change, as_it_is, batches_ahead
from training.learning.processes import Processes, has_bfloat16
from training.learning.resume import Interval, ResumeFile
from training.progress import track
from training.recipe import Schedule

SAVE_SECONDS = 60.0
"""Between two saves of the resume state, some 170 MB for a ResNet-18 U-Net."""

WARM_UP_SHARE = 0.3
WARM_UP_FROM = 1 / 25
ANNEAL_TO = 1e-4
"""One-cycle: the share of the steps that warm up, and where it starts and ends, as shares of the peak."""

Objective = Callable[[nn.Module, Any], Mapping[str, Tensor]]
"""Network and batch -> the number to minimise as `loss`, and any further numbers to report. Draws nothing at random."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How one training runs."""

    name: str
    """Of the progress bar."""
    schedule: Schedule
    steps_per_epoch: int
    workers: int
    """Processes that prepare batches; 0: this one."""
    resume: ResumeFile
    save_seconds: float = SAVE_SECONDS

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.schedule.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Epoch:
    """What was seen in one epoch of training. No validation data: the last weights are used, none are selected."""

    number: int
    """From 1."""
    step: int
    """Optimiser steps so far."""
    learning_rate: float
    """Of the epoch's last step."""
    losses: Mapping[str, float]
    """Mean over the epoch of what the objective returned."""


def train(
    network: nn.Module,
    batches: Dataset[Any],
    objective: Objective,
    *,
    change: Change = as_it_is,
    plan: Plan,
    processes: Processes,
) -> Iterator[Epoch]:
    """Trains the network in place and yields each epoch when it is over; the epochs of a resumed training come first.

    `batches[step]` is the batch of a step: a NamedTuple of tensors, and of such NamedTuples. The objective is given
    what `change` makes of it on the device. The weights depend on the network's first weights and on the batches alone,
    not on where the training was interrupted. When all epochs are over the network has its last weights, or their
    average where the schedule says so. It is left on its device, in training mode. The caller removes `plan.resume`
    when it has written what it wanted.
    """
    device = processes.device
    network.to(device).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.schedule.learning_rate, fused=True)
    average = WeightAverage(network, decay=plan.schedule.averaging) if plan.schedule.averaging else None
    epochs, step, sums = _restore(plan.resume, network, optimiser, average)
    yield from epochs
    model = DistributedDataParallel(network) if processes.world_size > 1 else network
    save_due = Interval(plan.save_seconds)
    prefetched = batches_ahead(batches, change, steps=range(step, plan.steps), workers=plan.workers, device=device)
    for number in range(len(epochs) + 1, plan.schedule.epochs + 1):
        of_epoch = islice(prefetched, number * plan.steps_per_epoch - step)
        for batch in _tracked(of_epoch, plan=plan, epoch=number, step=step, shown=processes.first):
            _set_rate(optimiser, learning_rate(plan.schedule, step=step, steps=plan.steps))
            losses = _step(model, objective, batch, optimiser=optimiser)
            sums = _added(sums, losses, processes)
            step += 1
            if average is not None:
                average.add(network, step=step)
            if processes.first and (save_due.is_over() or step == plan.steps):
                plan.resume.save(_state(network, optimiser, average, epochs, step=step, sums=sums))
        epochs.append(_epoch(number, sums, plan=plan))
        sums = {}
        if processes.first:
            log.info("%s: epoch %d of %d, %s", plan.name, number, plan.schedule.epochs, _described(epochs[-1]))
        yield epochs[-1]
    if average is not None:
        network.load_state_dict(average.state())


def learning_rate(schedule: Schedule, *, step: int, steps: int) -> float:
    """The rate of a step (from 0): constant, or one cycle of a cosine up to the peak and one down to almost nothing."""
    if not schedule.one_cycle:
        return schedule.learning_rate
    warm_up = WARM_UP_SHARE * steps
    if step < warm_up:
        start, stop, share = WARM_UP_FROM, 1.0, step / warm_up
    else:
        start, stop, share = 1.0, ANNEAL_TO, (step - warm_up) / max(steps - 1 - warm_up, 1)
    return schedule.learning_rate * (stop + (start - stop) * (1 + math.cos(math.pi * share)) / 2)


def steps_per_epoch(schedule: Schedule, *, slices: int) -> int:
    """As the schedule says; where it leaves it open, as many batches as it takes to see so many slices once."""
    return schedule.steps_per_epoch or math.ceil(slices / schedule.batch_size)


def write_epochs(path: Path, epochs: Sequence[Epoch]) -> None:
    """A CSV with a line for each epoch: its number, optimiser steps so far, learning rate and every loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(epochs[0].losses) if epochs else []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", "step", "learning_rate", *names])
        for epoch in epochs:
            writer.writerow([epoch.number, epoch.step, epoch.learning_rate, *(epoch.losses[name] for name in names)])


def last_metrics(epochs: Sequence[Epoch], *, seconds: float) -> dict[str, float]:
    """The losses of the last epoch, the steps, and the seconds that this process took for them."""
    last = {"steps": epochs[-1].step, **epochs[-1].losses} if epochs else {"steps": 0}
    return {**last, "seconds": round(seconds, 1)}


def _tracked(batches: Iterator[Any], *, plan: Plan, epoch: int, step: int, shown: bool) -> Iterator[Any]:
    if not shown:
        return batches
    name = f"{plan.name} {epoch}/{plan.schedule.epochs}"
    return track(batches, description=name, total=epoch * plan.steps_per_epoch - step, unit="step")


def _step(
    model: nn.Module, objective: Objective, batch: Any, *, optimiser: torch.optim.Optimizer
) -> Mapping[str, Tensor]:
    device = next(model.parameters()).device
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_bfloat16(device)):
        losses = objective(model, batch)
    torch.autograd.backward(losses["loss"])
    optimiser.step()
    return losses


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def _added(sums: dict[str, Tensor], losses: Mapping[str, Tensor], processes: Processes) -> dict[str, Tensor]:
    means = processes.mean(torch.stack([value.detach().double() for value in losses.values()]))
    return {name: sums.get(name, 0.0) + mean for name, mean in zip(losses, means, strict=True)}


def _epoch(number: int, sums: Mapping[str, Tensor], *, plan: Plan) -> Epoch:
    step = number * plan.steps_per_epoch
    return Epoch(
        number=number,
        step=step,
        learning_rate=learning_rate(plan.schedule, step=step - 1, steps=plan.steps),
        losses={name: float(total) / plan.steps_per_epoch for name, total in sums.items()},
    )


def _described(epoch: Epoch) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in epoch.losses.items())


def _state(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage | None,
    epochs: Sequence[Epoch],
    *,
    step: int,
    sums: Mapping[str, Tensor],
) -> dict[str, Any]:
    return {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": {} if average is None else dict(average.state()),
        "epochs": [asdict(epoch) for epoch in epochs],
        "step": step,
        "sums": dict(sums),
    }


def _restore(
    resume: ResumeFile, network: nn.Module, optimiser: torch.optim.Optimizer, average: WeightAverage | None
) -> tuple[list[Epoch], int, dict[str, Tensor]]:
    """The epochs that are over, the steps done, and the sums of the epoch under way."""
    state = resume.load()
    if state is None:
        return [], 0, {}
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    if average is not None:
        average.restore(state["average"])
    device = next(network.parameters()).device
    log.info("%s: going on after step %d", resume.path.stem, state["step"])
    sums = {name: total.to(device) for name, total in state["sums"].items()}
    return [Epoch(**epoch) for epoch in state["epochs"]], state["step"], sums
