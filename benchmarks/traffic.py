"""Clients of a server that is being killed: they post, upload, cancel and remove, and keep a ledger of what it said."""

from __future__ import annotations

import hashlib
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

_AT_ONCE = 4
_TUS = {"Tus-Resumable": "1.0.0"}
_PART_BYTES = 300_000


class Lost(RuntimeError):
    """What must never happen, did."""


@dataclass
class Ledger:
    """What clients were promised. Each entry is the scan's id with the number of the file that it is of."""

    accepted: dict[str, int] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    fetched: dict[str, str] = field(default_factory=dict)
    """SHA-256 of results that came whole, as OME-Zarr."""
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, scan_id: str, number: int, *, how: str) -> None:
        """A scan was accepted."""
        with self._lock:
            self.accepted[scan_id] = number
            self.counts[how] += 1

    def pick(self, generator: random.Random) -> str | None:
        """A scan that nobody has disturbed yet; None if there is none."""
        with self._lock:
            left = sorted(set(self.accepted) - self.removed - self.cancelled)
        return generator.choice(left) if left else None


@dataclass
class Traffic:
    """Clients that post, upload, cancel and remove, and try again until they are answered."""

    url: str
    files: Sequence[Path]
    ledger: Ledger
    seed: int
    stopping: threading.Event = field(default_factory=threading.Event)
    _asking: dict[int, float] = field(default_factory=dict)
    """Since when each client has waited for an answer, by thread."""

    @property
    def longest_wait_seconds(self) -> float:
        """Of the client that has waited for longest, be it for several servers in a row; 0: none waits."""
        return time.monotonic() - min(list(self._asking.values()), default=time.monotonic())

    def threads(self) -> list[threading.Thread]:
        """One per client; they run until `stopping` is set."""
        clients: list[Callable[[random.Random, httpx.Client], None]] = [
            self.post,
            self.upload,
            self.fetch,
            self.disturb,
        ]
        return [threading.Thread(target=self._run, args=(n, one)) for n, one in enumerate(clients)]

    def _run(self, number: int, client: Callable[[random.Random, httpx.Client], None]) -> None:
        generator = random.Random(self.seed * 10 + number)  # noqa: S311 - not for secrets
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as http:
            while not self.stopping.is_set():
                try:
                    client(generator, http)
                except Lost as error:
                    self.ledger.faults.append(str(error))
                    return
                self.stopping.wait(generator.uniform(0.0, 0.3))

    def post(self, generator: random.Random, http: httpx.Client) -> None:
        """Posts a file in one request. Raises Lost."""
        self._not_too_many(http)
        number = generator.randrange(len(self.files))
        priority = generator.choice(("interactive", "normal", "backlog"))
        query = {"filename": self.files[number].name, "fresh": "true", "priority": priority}
        body, headers = self.files[number].read_bytes(), {"Idempotency-Key": uuid.uuid4().hex}
        answer = self._answered(lambda: http.post("/v1/scans", params=query, headers=headers, content=body))
        if answer.status_code not in (200, 202):
            raise Lost(f"a post was refused: {answer.status_code} {answer.text}")
        self.ledger.add(answer.json()["id"], number, how="posted")

    def upload(self, generator: random.Random, http: httpx.Client) -> None:
        """Uploads a file in parts, from wherever the server says that it stands. Raises Lost."""
        self._not_too_many(http)
        number = generator.randrange(len(self.files))
        content = self.files[number].read_bytes()
        begun = self._answered(lambda: http.post("/v1/uploads", headers={**_TUS, "Upload-Length": str(len(content))}))
        place = begun.headers["location"]
        offset = 0
        while offset < len(content):
            part = content[offset : offset + _PART_BYTES]
            headers = {**_TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
            try:
                http.patch(place, content=part, headers=headers)
            except httpx.HTTPError:
                self.ledger.counts["parts cut off"] += 1
            at = self._answered(lambda: http.head(place, headers=_TUS))
            if at.status_code != 200:
                raise Lost(f"an upload is gone: {at.status_code}")
            offset = int(at.headers["upload-offset"])
        source = {"source": {"upload": place.rpartition("/")[2]}, "filename": self.files[number].name, "fresh": True}
        answer = self._answered(lambda: http.post("/v1/scans", json=source))
        if answer.status_code not in (200, 202):
            raise Lost(f"an upload was refused: {answer.status_code} {answer.text}")
        self.ledger.add(answer.json()["id"], number, how="uploaded")

    def fetch(self, generator: random.Random, http: httpx.Client) -> None:
        """Fetches a result once; a transfer that breaks off, and a scan that is not finished, give none."""
        scan_id = self.ledger.pick(generator)
        if scan_id is None:
            return
        try:
            answer = http.get(f"/v1/scans/{scan_id}/segmentation", params={"format": "ome-zarr"})
        except httpx.HTTPError:
            self.ledger.counts["fetches cut off"] += 1
            return
        if answer.is_success:
            self.ledger.fetched[scan_id] = hashlib.sha256(answer.content).hexdigest()
            self.ledger.counts["fetched"] += 1
        elif answer.status_code >= 500 and answer.status_code != 503:
            raise Lost(f"a result was answered with {answer.status_code} {answer.text}")

    def disturb(self, generator: random.Random, http: httpx.Client) -> None:
        """Cancels or removes a scan in whatever state it is. Raises Lost."""
        self.stopping.wait(generator.uniform(2.0, 8.0))
        scan_id = self.ledger.pick(generator)
        if scan_id is None:
            return
        if generator.random() < 0.5:
            self.ledger.removed.add(scan_id)
            answer = self._answered(lambda: http.delete(f"/v1/scans/{scan_id}"))
            if answer.status_code not in (204, 404):  # 404: the first try got through, its answer did not
                raise Lost(f"a removal was refused: {answer.status_code} {answer.text}")
            self.ledger.counts["removed"] += 1
            return
        self.ledger.cancelled.add(scan_id)
        answer = self._answered(lambda: http.post(f"/v1/scans/{scan_id}/cancel"))
        if answer.status_code not in (200, 409):  # 409: it has ended
            raise Lost(f"a cancellation was refused: {answer.status_code} {answer.text}")
        self.ledger.counts["cancelled"] += answer.status_code == 200

    def _not_too_many(self, http: httpx.Client) -> None:
        while not self.stopping.is_set():
            waiting = self._answered(lambda: http.get("/v1/scans", params={"state": "queued"})).json()["scans"]
            running = self._answered(lambda: http.get("/v1/scans", params={"state": "running"})).json()["scans"]
            if len(waiting) + len(running) < _AT_ONCE:
                return
            self.stopping.wait(0.2)

    def _answered(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        """Asks until there is an answer that is one: a killed server gives none, a starting one 503."""
        self._asking[threading.get_ident()] = time.monotonic()
        try:
            return self._asked(ask)
        finally:
            del self._asking[threading.get_ident()]

    def _asked(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                answer = ask()
            except httpx.HTTPError:
                time.sleep(0.1)
                continue
            if answer.status_code != 503:
                return answer
            time.sleep(0.1)
        raise Lost("no answer for two minutes")
