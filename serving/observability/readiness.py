"""Readiness: whether a server can do its work at this moment, and why not. No look holds anybody up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from serving.observability.probes import Probe
from serving.observability.reasons import reason, without_paths

_AGE_SECONDS = 1.0
_LIMIT_SECONDS = 2.0
PATIENT_SECONDS = 5.0
"""How long a request waits that would be refused otherwise."""


class Threads(Protocol):
    """What works in threads of its own."""

    @property
    def alive(self) -> bool:
        """False if one of them has ended that should not have."""
        ...


@dataclass(frozen=True)
class Check:
    """What was seen of one thing."""

    name: str
    ok: bool
    seconds: float
    """That looking took; near 0 where somebody else had just looked."""
    reason: str | None = None
    """Without folders of the server: it is told to all."""


class Readiness:
    """What a server needs, each looked at once a second at most, in a thread, with a time limit."""

    def __init__(
        self,
        *,
        needed: Mapping[str, Callable[[], object]],
        threads: Mapping[str, Threads],
        model: Callable[[], object],
        room: Mapping[str, Callable[[], object]] = MappingProxyType({}),
    ) -> None:
        """`needed`, `model` and `room` raise what is wrong; `model` is quick.

        `room` is looked at where something needed answers: whether more can be written, which not all calls need.
        """
        self._probes = {
            name: Probe(look, most_age_seconds=_AGE_SECONDS, limit_seconds=_LIMIT_SECONDS)
            for name, look in needed.items()
        }
        self._room = {
            name: Probe(look, most_age_seconds=_AGE_SECONDS, limit_seconds=_LIMIT_SECONDS)
            for name, look in room.items()
        }
        self._threads = threads
        self._model = model
        self.draining = False
        """True from the moment that the server is told to stop."""

    def alive(self) -> list[Check]:
        """Whether starting again would help."""
        return [
            Check(name, threads.alive, 0.0, None if threads.alive else "a thread has ended; the log says why")
            for name, threads in self._threads.items()
        ]

    async def look(self, name: str) -> None:
        """Looks at one of what is needed, with more patience. Raises what is wrong with it, and Unanswered."""
        await self._probes[name].ask_async(limit_seconds=PATIENT_SECONDS)

    async def checks(self) -> list[Check]:
        """Whether work can be taken."""
        asked = [_checked(name, self._well(name)) for name in self._probes]
        stopping = "the server was told to stop" if self.draining else None
        return [
            Check("accepting", not self.draining, 0.0, stopping),
            await _checked("model", self._has_model()),
            *self.alive(),
            *await asyncio.gather(*asked),
        ]

    async def _well(self, name: str) -> None:
        await self._probes[name].ask_async()
        if name in self._room:
            await self._room[name].ask_async()

    async def _has_model(self) -> None:
        self._model()


async def _checked(name: str, look: Awaitable[object]) -> Check:
    began = time.perf_counter()
    why = None
    try:
        await look
    except Exception as error:
        why = without_paths(reason(error))
    return Check(name, why is None, time.perf_counter() - began, why)
