"""Publisher: writes a shadow's agreement as a tag of its version in the registry, where the gate reads it.

The tag is made anew from the database each time, so that a registry that was down has missed nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from scans.model.shadow_agreement import TAG
from serving.observability import logs
from serving.shadow.report import PairReport, ShadowReport

PERIOD_SECONDS = 60.0
_LOOKING_SECONDS = 5.0
_STOPPING_SECONDS = 5.0


class Publisher:
    """A thread of its own, which nothing waits for; a registry that hangs holds up nothing else."""

    def __init__(
        self,
        report: ShadowReport,
        *,
        write: Callable[[str, str, str, str], None],
        period_seconds: float = PERIOD_SECONDS,
        looking_seconds: float = _LOOKING_SECONDS,
    ) -> None:
        """`write` is given name and version of a registered model, key and value of a tag, and raises what it likes.

        It is called at most once in `period_seconds`, and only after something was compared.
        """
        self._report = report
        self._write = write
        self._period = period_seconds
        self._looking = looking_seconds
        self._written: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="shadow-publisher", daemon=True)

    def start(self) -> None:
        """Begins its rounds."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False if its thread has ended although it was not told to stop."""
        return self._stopping.is_set() or self._thread.is_alive()

    def stop(self) -> None:
        """Ends it; a call of the registry under way is waited for a few seconds at most."""
        self._stopping.set()
        self._thread.join(_STOPPING_SECONDS)

    def _rounds(self) -> None:
        not_before = 0.0
        while not self._stopping.is_set():
            if time.monotonic() >= not_before:
                try:
                    if self._publish():
                        not_before = time.monotonic() + self._period
                except Exception as error:  # of the registry or the database; the next round begins anew
                    not_before = time.monotonic() + self._period
                    logs.event("shadow_not_published", level=logging.WARNING, error=error)
            self._stopping.wait(self._looking)

    def _publish(self) -> bool:
        """True if the registry was written to."""
        latest = self._report.latest_seconds()
        if latest is None or latest == self._written:
            return False
        pair = _registered(self._report.pairs())
        if pair is not None and pair.shadow.version is not None:
            self._write(pair.shadow.name, pair.shadow.version, TAG, pair.agreement.to_tag())
            logs.event("shadow_published", model=pair.shadow.name, version=pair.shadow.version, compared=pair.scans)
        self._written = latest
        return pair is not None


def _registered(pairs: list[PairReport]) -> PairReport | None:
    """Of the version that ran last as a shadow, the latest pair: with a version of the same model if there is one."""
    of_last = [pair for pair in pairs if pair.shadow == pairs[0].shadow and pair.shadow.version is not None]
    of_same_model = [pair for pair in of_last if pair.champion.name == pair.shadow.name]
    return next(iter(of_same_model or of_last), None)
