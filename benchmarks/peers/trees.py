"""Process trees: a server with all that it started, stopped in its tracks while another one is measured."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Tree:
    """A process and its descendants, in whichever process groups they put themselves."""

    pid: int

    def members(self) -> list[psutil.Process]:
        """Those alive, the root first; none once the root is gone."""
        try:
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_seconds(self) -> float:
        """What those alive have used of the processors, in user and system mode."""
        total = 0.0
        for member in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                total += times.user + times.system
        return total

    def freeze(self) -> None:
        """SIGSTOP: from now on none of them takes any time from the others."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._send(signal.SIGCONT)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Runs for as long as the context lasts, and is frozen after it."""
        self.thaw()
        try:
            yield
        finally:
            self.freeze()

    def end(self) -> None:
        """SIGTERM to the root, and after a while SIGKILL to whatever is left; returns when all are gone."""
        members = self.members()
        self.thaw()
        if members:
            with contextlib.suppress(psutil.NoSuchProcess):
                members[0].terminate()
        _, left = psutil.wait_procs(members, timeout=_STOP_SECONDS)
        for member in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(left, timeout=_STOP_SECONDS)

    def _send(self, number: signal.Signals) -> None:
        for member in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)
