"""Slice memory: what slices may take of the machine's while they are computed, known before they are begun."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scans.tiling import HALO, STRIDE, least_tile
from serving.inference.memory_budget import MemoryBudget
from serving.inference.memory_fallback import padded_pixels
from serving.parsing.malformed import TooLarge

MOST_SLICE_PIXELS = 1 << 25
"""Of one single slice as a network pads it, which is one piece of work: 8192 x 4096."""

_LEAST_SCAN_PIXELS = 1 << 20
_LEAST_QUEUE_BYTES = 1 << 28
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def machine_bytes() -> int:
    """Memory of this machine, or of the container that this process is in, where that has a limit."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(_CGROUP_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such file, or "max"
        return physical


@dataclass(frozen=True)
class SliceMemory:
    """The memory of what a process computes at once: single slices, batches of scans. Safe to use from any thread."""

    most_bytes: int = 1_500_000_000
    """What single slices may take."""
    scan_bytes: int | None = None
    """What the batches of scans may take at once; None: a quarter of the machine's."""
    _budget: MemoryBudget = field(default_factory=MemoryBudget)

    def most_pixels(self, pixel_bytes: int | None) -> int | None:
        """That go at once through a network which takes so many bytes for each; None: as many as fit."""
        return None if pixel_bytes is None else self.most_bytes // pixel_bytes

    def scan_pixels(self, pixel_bytes: int | None, *, lanes: int, batch_pixels: int) -> int | None:
        """That go through a network at once for a scan, in each of its lanes; None: as many as fit.

        Never fewer than in the batches that it was tuned for, nor than a slice of 1024 x 1024 pixels has.
        """
        if pixel_bytes is None:
            return None
        share = (self.scan_bytes or machine_bytes() // 4) // lanes
        return max(share // pixel_bytes, batch_pixels, _LEAST_SCAN_PIXELS)

    @property
    def queue_bytes(self) -> int:
        """That the batches of one scan may take in front of a device, with their answers."""
        return max((self.scan_bytes or machine_bytes() // 4) // 8, _LEAST_QUEUE_BYTES)

    def check(self, height: int, width: int, *, most_pixels: int | None, whole: bool) -> None:
        """Raises TooLarge where a slice can be computed neither whole nor, unless it has to be `whole`, in tiles."""
        pixels = padded_pixels(height, width)
        if pixels > MOST_SLICE_PIXELS:
            raise TooLarge(
                f"a slice of {height} x {width} pixels, for a network {pixels}; at most {MOST_SLICE_PIXELS} pixels are "
                "taken in one slice: post it to /v1/scans"
            )
        if most_pixels is None or pixels <= most_pixels:
            return
        side = least_tile(HALO, STRIDE)
        if whole or most_pixels < side * side:
            what = "with its confidence, which is not computed in tiles" if whole else "by this model"
            raise TooLarge(
                f"a slice of {height} x {width} pixels; at most {most_pixels} pixels are computed at once {what} "
                "(RICEFISH_SLICE_MEMORY_BYTES)"
            )

    @contextmanager
    def taken(self, pixels: int, *, most_pixels: int | None, look: Callable[[], None]) -> Iterator[None]:
        """Holds the memory for so many pixels at once, waiting until others have given theirs back.

        What `look` raises, which is called before and now and then while it waits, ends the waiting.
        """
        share = 0.0 if most_pixels is None else pixels / max(1, most_pixels)
        with self._budget.taken(share, look=look):
            yield
