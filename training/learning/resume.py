"""The state of a training under way, on disk, so that a training that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.learning.checkpoints import write_atomically
from training.stage_files import in_short

RESUME_DIR = Path(".resume")
"""Outside the outputs of every stage: DVC removes those before it runs the stage."""

ARITHMETIC = 2
"""Counts up where new code makes other weights of the same values and data."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResumeFile:
    """Where one training keeps its state, and what it must have been started with to be gone on with."""

    path: Path
    fingerprint: str
    """Of all that the weights depend on; see `fingerprint`."""

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last; None where there is none, or it is damaged or of another training."""
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            matches = content["fingerprint"] == self.fingerprint
        except Exception as error:  # what torch says of a file that is none of its own has many names
            log.warning("%s cannot be read (%s); training starts over", self.path, in_short(error))
            return None
        if not matches:
            log.warning("%s is of a training with other parameters or data; training starts over", self.path)
            return None
        state: dict[str, Any] = content["state"]
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replaces the state with tensors and plain values, whole or not at all."""
        write_atomically(self.path, {"fingerprint": self.fingerprint, "state": state})

    def remove(self) -> None:
        """Forgets the state, once what the training made has been written."""
        self.path.unlink(missing_ok=True)


def fingerprint(*parts: Any) -> str:
    """SHA-256 of ARITHMETIC and of parameters, seeds and hashes of data, given as values that JSON can hold (others as
    their `str`)."""
    return hashlib.sha256(json.dumps([ARITHMETIC, *parts], sort_keys=True, default=str).encode()).hexdigest()


class Interval:
    """Says when the next save is due, so that saving costs little of the time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def is_over(self) -> bool:
        """True when that many seconds have passed since it last was."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True
