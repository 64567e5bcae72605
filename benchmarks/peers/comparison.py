"""Comparison: one network on all servers in turn, and the bare onnxruntime loop before, between and after them.

One server runs at a time; the others are stopped in their tracks (SIGSTOP), for some of them use a core's seventh while
nobody asks them anything. All of it happens several times, beginning with another server each time.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import Size
from benchmarks.overhead import SIDE, BareLoop
from benchmarks.peers.contenders import PEERS, Peer, Running, Way, start_peer, start_ricefish
from benchmarks.peers.dialects import Dialect
from benchmarks.peers.environments import Environments
from benchmarks.peers.load import Measured, ask, measure

CLIENTS = (1, 8, 32)
_DISTINCT = 32
"""Slices that are sent; each client takes the next one."""
_TRIED_WITH = 8
"""Clients that ask while a way of running is tried."""
_MOST_DIFFERENT = 0.001
"""Share of the pixels: rounding in batches of other sizes decides ties, as for the golden slice of a model."""


class Different(RuntimeError):
    """A server that gives other answers than the bare loop cannot be compared with it."""


@dataclass(frozen=True)
class Effort:
    """How long everything is measured for."""

    rounds: int
    seconds: float
    """That clients ask one server for, in each round and for each number of them; what is under way then, ends."""
    trying_seconds: float
    """The same for each way of running a peer; 0: the first is taken untried."""
    bare_slices: int
    """That the bare loop segments each time."""


@dataclass
class Contender:
    """A running server with what it was measured to do."""

    running: Running
    requests: Sequence[bytes]
    tried: dict[str, float] = field(default_factory=dict)
    """Slices per second of each way of running that was tried."""
    measured: dict[int, list[Measured]] = field(default_factory=dict)
    """By number of clients, once a round."""
    cpu_seconds: dict[int, float] = field(default_factory=dict)
    """That the server used while so many clients asked it."""
    pixels_different: int = 0

    def check(self, slices: NDArray[np.uint16], expected: NDArray[np.uint8]) -> None:
        """Compares one answer pixel by pixel. Raises Different, BadAnswer."""
        found = self.running.dialect.segmentation(ask(self.running.url, self.requests[0]), slices[0])
        self.pixels_different = int((found != expected[0]).sum())
        if self.pixels_different > _MOST_DIFFERENT * found.size:
            raise Different(f"{self.running.title}: {self.pixels_different} of {found.size} pixels differ")

    def load(self, clients: int, seconds: float) -> Measured:
        """Every client is answered at least once."""
        return measure(self.running.url, self.requests, clients=clients, seconds=seconds, least=clients)

    def round(self, seconds: float) -> None:
        """Wakes it, warms it up, and measures it with every number of clients."""
        with self.running.tree.awake():
            self.load(_TRIED_WITH, min(seconds, 0.5))
            for clients in CLIENTS:
                before = self.running.tree.cpu_seconds()
                self.measured.setdefault(clients, []).append(self.load(clients, seconds))
                used = self.running.tree.cpu_seconds() - before
                self.cpu_seconds[clients] = self.cpu_seconds.get(clients, 0.0) + used

    def rate(self, clients: int) -> float:
        """Slices per second, the median of the rounds."""
        return statistics.median(one.rate for one in self.measured[clients])

    def row(self) -> dict[str, Any]:
        """For the results."""
        return {
            "server": self.running.title,
            **self.running.about,
            "encoding": self.running.dialect.about,
            "pixels_different": self.pixels_different,
            "tried_slices_per_second": {way: round(rate, 2) for way, rate in self.tried.items()},
            "loads": [self._load_row(clients) for clients in self.measured],
        }

    def _load_row(self, clients: int) -> dict[str, Any]:
        rounds = self.measured[clients]
        latencies = [latency for one in rounds for latency in one.latencies]
        errors = sum((one.errors for one in rounds), Counter[str]())
        p50, p99 = np.quantile(latencies, (0.5, 0.99)) if latencies else (np.inf, np.inf)
        return {
            "clients": clients,
            "slices_per_second": round(self.rate(clients), 2),
            "of_each_round": [round(one.rate, 2) for one in rounds],
            "p50_ms": round(1000 * p50, 2),
            "p99_ms": round(1000 * p99, 2),
            "server_cpu_ms_per_slice": round(1000 * self.cpu_seconds[clients] / max(1, len(latencies)), 3),
            "answers": len(latencies),
            "errors": dict(errors),
        }


@dataclass(frozen=True)
class Comparison:
    """One network on all of them."""

    size: Size
    model: Path
    folder: Path
    environments: Environments
    effort: Effort
    say: Callable[[str], None]

    def run(self) -> dict[str, Any]:
        """The row of this network. Raises EnvironmentFailed, DidNotStart, Different, BadAnswer."""
        grey = np.random.default_rng(1).integers(0, 4000, (self.effort.bare_slices, SIDE, SIDE)).astype(np.uint16)
        bare, slices = BareLoop(self.model, grey), grey[:_DISTINCT]
        bare.run()
        ways = {peer.name: self._choose(peer, slices) for peer in PEERS}
        rates = []
        with ExitStack() as stack:
            contenders = [self._contender(start_ricefish(self.folder, model=self.model, size=self.size), slices, stack)]
            for peer in PEERS:
                way, tried = ways[peer.name]
                for dialect in peer.dialects:
                    contenders.append(self._contender(self._start(peer, way, dialect), slices, stack))
                    contenders[-1].tried = tried
            for contender in contenders:
                with contender.running.tree.awake():
                    contender.check(slices, bare.segmentation)
            for turn in range(self.effort.rounds):
                rates.append(len(grey) / bare.run())
                for n in range(len(contenders)):
                    contender = contenders[(turn + n) % len(contenders)]
                    contender.round(self.effort.seconds)
                    named = f"{contender.running.title}, {contender.running.dialect.about}"
                    self.say(f"{self.size}, round {turn + 1}: {named}, {_rates(contender)}")
            rates.append(len(grey) / bare.run())
        return row(self.size, bare.batch, rates, contenders)

    def _contender(self, running: Running, slices: NDArray[np.uint16], stack: ExitStack) -> Contender:
        """Asleep from now on, and ended with the stack."""
        stack.callback(running.end)
        running.tree.freeze()
        return Contender(running, [running.dialect.request(running.url, piece) for piece in slices])

    def _choose(self, peer: Peer, slices: NDArray[np.uint16]) -> tuple[Way, dict[str, float]]:
        """The way in which a peer is fastest here in its densest encoding, and the slices/s of all that were tried."""
        if not self.effort.trying_seconds:
            return peer.ways[0], {}
        rates = {}
        for way in peer.ways:
            with ExitStack() as stack:
                contender = self._contender(self._start(peer, way, peer.dialects[0]), slices, stack)
                with contender.running.tree.awake():
                    contender.load(_TRIED_WITH, self.effort.trying_seconds / 4)
                    rates[way] = contender.load(_TRIED_WITH, self.effort.trying_seconds).rate
        best = max(rates, key=lambda way: rates[way])
        self.say(f"{self.size}: {peer.title} is fastest with {best}")
        return best, {str(way): rate for way, rate in rates.items()}

    def _start(self, peer: Peer, way: Way, dialect: Dialect) -> Running:
        return start_peer(peer, way, dialect, environments=self.environments, model=self.model, folder=self.folder)


def row(size: Size, bare_batch: int, bare_rates: Sequence[float], contenders: Sequence[Contender]) -> dict[str, Any]:
    """What is written down of one network; Ricefish comes first among the contenders."""
    bare = statistics.median(bare_rates)
    ricefish, *others = contenders
    return {
        "network": size,
        "bare_batch": bare_batch,
        "bare_slices_per_second": round(bare, 2),
        "bare_of_each_round": [round(rate, 2) for rate in bare_rates],
        "servers": [contender.row() for contender in contenders],
        "ricefish": [
            {
                "clients": clients,
                "of_the_bare_loop": round(ricefish.rate(clients) / bare, 3),
                "of_the_best_other": round(ricefish.rate(clients) / _best(others, clients, numbers=False), 3),
                "of_the_best_other_in_json": round(ricefish.rate(clients) / _best(others, clients, numbers=True), 3),
            }
            for clients in ricefish.measured
        ],
    }


def _best(others: Sequence[Contender], clients: int, *, numbers: bool) -> float:
    return max(one.rate(clients) for one in others if one.running.dialect.numbers == numbers)


def _rates(contender: Contender) -> str:
    return ", ".join(f"{clients}: {rounds[-1].rate:.1f}/s" for clients, rounds in contender.measured.items())
