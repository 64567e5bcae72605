"""Looking at stores as Neuroglancer does: which chunks of which levels a view needs, and how they are asked for.

After its client 2.41 (`sliceview/base.ts` filterVisibleSources, `datasource/zarr/codec/sharding_indexed`): of all
levels, from the coarsest to the first whose voxels are no larger than 1.1 pixels; of each, the chunks that the planes
cut; the index at the end of a shard before the chunks in it. Browsers give a host six connections.
"""

from __future__ import annotations

import http.client
import itertools
import json
import queue
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from scans.geometry import Triple

CONNECTIONS = 6
_PANEL_PIXELS = (400, 500)
"""Height and width of each of the four panels in a window of 1000 x 800."""
_MARGIN = 1.1
_INDEX_CHECKSUM_BYTES = 4
_NO_CHUNK = 2**64 - 1


@dataclass(frozen=True)
class Level:
    """One array of a pyramid."""

    path: str
    """Of its address."""
    stride: float
    """Voxels of the finest level in one of it."""
    shape: Triple
    chunk: Triple
    shard: Triple


@dataclass(frozen=True)
class View:
    """Three planes around a place."""

    place: Triple
    """Voxels z, y, x."""
    scale: float
    """Voxels in a pixel."""


def opened_levels(looker: Looker, store: str) -> list[Level]:
    """The levels of a store, finest first."""
    attributes = json.loads(looker.get(f"{store}/zarr.json"))["attributes"]["ome"]["multiscales"][0]["datasets"]
    levels = []
    for number, dataset in enumerate(attributes):
        found = json.loads(looker.get(f"{store}/{dataset['path']}/zarr.json"))
        shard = found["chunk_grid"]["configuration"]["chunk_shape"]
        chunk = found["codecs"][0]["configuration"]["chunk_shape"]
        path = f"{store}/{dataset['path']}/c"
        levels.append(Level(path, 2.0**number, tuple(found["shape"]), tuple(chunk), tuple(shard)))
    return levels


def drawn_levels(levels: Sequence[Level], scale: float) -> list[Level]:
    """Those that are asked for, coarsest first."""
    asked = []
    for level in reversed(levels):
        asked.append(level)
        if level.stride <= _MARGIN * scale:
            break
    return asked


def chunks_of(level: Level, view: View) -> set[Triple]:
    """Chunks of a level, by number along z, y, x, that any of the three planes shows."""
    found: set[Triple] = set()
    for across in range(3):
        ranges: list[range] = []
        down, right = (axis for axis in range(3) if axis != across)
        halves = {across: 0.0, down: _PANEL_PIXELS[0] / 2 * view.scale, right: _PANEL_PIXELS[1] / 2 * view.scale}
        for axis in range(3):
            low, high = ((view.place[axis] + sign * halves[axis]) / level.stride for sign in (-1, 1))
            first, last = max(0, int(low)), min(level.shape[axis] - 1, int(high))
            ranges.append(range(first // level.chunk[axis], last // level.chunk[axis] + 1))
        z, y, x = ranges
        found.update(itertools.product(z, y, x))
    return found


class Looker:
    """A client with six connections that stay open."""

    def __init__(self, url: str) -> None:
        host = urlsplit(url).netloc
        self._connections: queue.SimpleQueue[http.client.HTTPConnection] = queue.SimpleQueue()
        for _ in range(CONNECTIONS):
            self._connections.put(http.client.HTTPConnection(host))
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._lock = threading.Lock()
        self._asked: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown()
        while not self._connections.empty():
            self._connections.get().close()

    def get(self, path: str, asked: str | None = None) -> bytes:
        """A file, or the range of it that is `asked` for. Raises SystemExit where it is refused."""
        connection = self._connections.get()
        try:
            connection.request("GET", path, headers={} if asked is None else {"Range": f"bytes={asked}"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            self._connections.put(connection)
        if answer.status not in (200, 206):
            raise SystemExit(f"viewing: {path} was answered with {answer.status}: {body[:200]!r}")
        with self._lock:
            self._asked.append(len(body))
        return body

    def look(self, stores: Sequence[Sequence[Level]], view: View, *, before: View | None) -> tuple[int, int]:
        """Fetches what a view shows and the one before did not, if there was one; gives requests and bytes."""
        self._asked.clear()
        waiting = [
            self._pool.submit(self._shard, level, shard, chunks)
            for levels in stores
            for level in drawn_levels(levels, view.scale)
            for shard, chunks in _by_shard(
                level, chunks_of(level, view) - (chunks_of(level, before) if before else set())
            )
        ]
        for one in waiting:
            for further in one.result():
                further.result()
        return len(self._asked), sum(self._asked)

    def _shard(self, level: Level, shard: Triple, chunks: Sequence[Triple]) -> list[Any]:
        name = "/".join(map(str, shard))
        counts = [whole // part for whole, part in zip(level.shard, level.chunk, strict=True)]
        size = 16 * int(np.prod(counts)) + _INDEX_CHECKSUM_BYTES
        index = self.get(f"{level.path}/{name}", f"-{size}")
        places = np.frombuffer(index[:-_INDEX_CHECKSUM_BYTES], "<u8").reshape(*counts, 2)
        asked = []
        for chunk in chunks:
            start, length = (int(n) for n in places[tuple(n % count for n, count in zip(chunk, counts, strict=True))])
            if start != _NO_CHUNK:
                asked.append(self._pool.submit(self.get, f"{level.path}/{name}", f"{start}-{start + length - 1}"))
        return asked


def _by_shard(level: Level, chunks: set[Triple]) -> Iterator[tuple[Triple, list[Triple]]]:
    shards: dict[Triple, list[Triple]] = defaultdict(list)
    counts = [whole // part for whole, part in zip(level.shard, level.chunk, strict=True)]
    for z, y, x in sorted(chunks):
        shards[z // counts[0], y // counts[1], x // counts[2]].append((z, y, x))
    yield from shards.items()
