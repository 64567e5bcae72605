"""Clients of a site that is being disturbed: they post one scan after another, and keep what they were promised."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.threads import Threads
from ricefish.client import Client, RicefishError

BOUND_SECONDS = 600.0
"""Nothing may hang for so long; generous, as the machine may be busy."""
_AWAY = (None, 503)
"""No answer, or one that says to come again."""


@dataclass
class Clients(Threads):
    """Two clients, each with one scan at a time, until the context is left; then all that was accepted has ended."""

    url: str
    file: Path
    accepted: list[str] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    """Scans that succeeded, by the model's version."""
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self._repeat, self._repeat)

    def until(self, reached: Callable[[], bool]) -> None:
        """Returns then, or as soon as something is wrong, which `faults` says."""
        deadline = time.monotonic() + BOUND_SECONDS
        while not reached() and not self.faults:
            assert time.monotonic() < deadline, (self.accepted, self.ended)
            time.sleep(0.2)
        assert not self.faults, self.faults

    def until_ended(self, more: int) -> None:
        """Returns when so many more scans have succeeded."""
        enough = self.ended.total() + more
        self.until(lambda: self.ended.total() >= enough)

    def _repeat(self) -> None:
        with Client(self.url) as client:
            try:
                while not self.stopping.is_set():
                    self._one(client)
            except Exception as error:
                self.faults.append(repr(error))

    def _one(self, client: Client) -> None:
        try:
            scan_id = client.submit(self.file, fresh=True).id
        except RicefishError as error:
            if error.status not in _AWAY:
                raise
            self.stopping.wait(1.0)
            return
        self.accepted.append(scan_id)
        status = list(client.wait(scan_id, poll_seconds=0.2))[-1]
        if status.state == "succeeded":
            self.ended[status.model.rpartition(" ")[2]] += 1
        else:
            self.faults.append(f"{scan_id} {status.state}: {status.error}")
