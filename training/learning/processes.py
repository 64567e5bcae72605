"""The processes that train together: one, or those that torchrun started, each with its part of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """This process, and how many train together."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """True in the one process that writes, draws progress and talks to MLflow."""
        return self.rank == 0

    @property
    def arithmetic(self) -> str:
        """What weights depend on of the device: a training that began with one does not go on with another."""
        return f"{self.device.type} {'bfloat16' if has_bfloat16(self.device) else 'float32'}"

    def mean(self, values: Tensor) -> Tensor:
        """The mean of the values that each process has, the same in all of them."""
        if self.world_size > 1:
            distributed.all_reduce(values)
            values /= self.world_size
        return values


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for it, as GPUs have, and processors with AVX-512 BF16 or AMX.

    Where it has, convolutions are computed in it, the losses and the weights in float32 all the same.
    """
    if device.type == "cuda":
        return True
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


@contextmanager
def processes() -> Iterator[Processes]:
    """Joins the processes that torchrun started, where it did: over NCCL where each has a GPU, else over Gloo.

    Inside, torch uses algorithms that give the same numbers each time, where it has them.
    """
    world_size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = local_rank < torch.cuda.device_count()
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    with _reproducible():
        if world_size == 1:
            yield Processes(device=device)
            return
        distributed.init_process_group("nccl" if on_gpu else "gloo", device_id=device if on_gpu else None)
        try:
            yield Processes(rank=rank, world_size=world_size, device=device)
        finally:
            distributed.destroy_process_group()


@contextmanager
def _reproducible() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS gives other sums each time
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = False  # that finds faults, changes no result, and takes time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        settings.fill_uninitialized_memory = before[1]
