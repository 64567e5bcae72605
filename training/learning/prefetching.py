"""Batches are made ahead of the steps: by worker processes, or by a thread while the network computes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

AHEAD = 2
"""Batches that are ready or being made beside that of the step; as many for each worker process."""

Change = Callable[[Any], Any]
"""What the batches are, on the device -> what the objective takes. Draws nothing at random."""


def as_it_is(batch: Any) -> Any:
    """The change that is none."""
    return batch


def batches_ahead(
    batches: Dataset[Any], change: Change, *, steps: range, workers: int, device: torch.device
) -> Iterator[Any]:
    """The changed batch of each step, in order, on the device.

    On a processor a thread changes them too; on a GPU that is the GPU's work, and takes its turn between two steps.
    """
    pinned = device.type == "cuda"
    made = _made_by_processes(batches, steps, workers, pinned=pinned) if workers else map(batches.__getitem__, steps)

    def following() -> Any:
        batch = next(made)
        if pinned:
            return batch if workers else mapped(batch, Tensor.pin_memory)
        return _changed(batch, change)

    def copied(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        ahead: deque[Future[Any]] = deque()
        try:
            for number in range(len(steps)):
                while len(ahead) < min(AHEAD, len(steps) - number):
                    ahead.append(thread.submit(following))
                batch = ahead.popleft().result()
                yield _changed(mapped(batch, copied), change) if pinned else batch
        finally:
            thread.shutdown(cancel_futures=True)


def mapped(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A NamedTuple of tensors, and of such NamedTuples, with what the function makes of each tensor."""
    return type(batch)(*(function(part) if isinstance(part, Tensor) else mapped(part, function) for part in batch))


@torch.no_grad()
def _changed(batch: Any, change: Change) -> Any:
    return change(batch)


def _made_by_processes(batches: Dataset[Any], steps: range, workers: int, *, pinned: bool) -> Iterator[Any]:
    loader: DataLoader[Any] = DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        # Not forked: a fork copies the locks of this process' threads (torch, Zarr) in whatever state they are.
        multiprocessing_context=multiprocessing.get_context("forkserver"),
        prefetch_factor=AHEAD,
        pin_memory=pinned,
    )
    return iter(loader)
