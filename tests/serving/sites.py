"""Sites: a server that only takes in, a worker, PostgreSQL, and clients that post scans all the time."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from harness import forked, servers
from harness.postgresql import new_postgresql_database
from harness.stoppable import Stoppable
from serving.auth.keys import Keys
from serving.storage.database import Database
from tests.serving.intake.test_ways_in import nifti

FILES = [nifti(number, (24, 40, 48)) for number in range(2)]
BOUND_SECONDS = 60
"""Nothing may hang for so long; generous, as the machine may be busy."""


@dataclass
class Site:
    """A server that only takes in, one worker, and clients with keys that post all the time."""

    server: servers.Process
    worker: servers.Process
    admin: dict[str, str]
    segment: dict[str, str]
    accepted: dict[str, int] = field(default_factory=dict)
    """Ids of scans, with the number of their file."""
    answers: list[int] = field(default_factory=list)
    """Statuses of posts."""
    pause_seconds: float = 0.5
    """Between two posts of a client."""
    faults: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def get(self, path: str) -> httpx.Response:
        url = f"{self.server.url}{path}"
        return httpx.get(url, headers=self.admin, timeout=BOUND_SECONDS, trust_env=False)

    def post(self, number: int) -> None:
        """One scan, with one key, until it is accepted."""
        query = {"filename": "fish.nii", "fresh": "true"}
        headers = {**self.segment, "Idempotency-Key": uuid.uuid4().hex}
        while not self.stopping.is_set():
            url = f"{self.server.url}/v1/scans"
            answer = httpx.post(
                url, params=query, content=FILES[number], headers=headers, timeout=BOUND_SECONDS, trust_env=False
            )
            self.answers.append(answer.status_code)
            if answer.status_code in (200, 202):
                self.accepted[answer.json()["id"]] = number
                return
            problem = answer.json()
            if answer.status_code != 503 or not problem["type"].startswith("urn:ricefish:problem:"):
                self.faults.append(answer.text)
            assert int(answer.headers["retry-after"]) >= 1
            self.stopping.wait(0.3)

    def load(self) -> None:
        number = 0
        while not self.stopping.is_set():
            try:
                self.post(number % len(FILES))
            except Exception as error:
                self.faults.append(repr(error))
            number += 1
            self.stopping.wait(self.pause_seconds)

    def until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + BOUND_SECONDS
        while not reached():
            assert time.monotonic() < deadline, (self.faults, self.answers[-20:], self.server.log.read_text()[-3000:])
            time.sleep(0.1)

    def accept(self, more: int) -> None:
        """Waits until so many more scans are accepted."""
        before = len(self.accepted)
        self.until(lambda: len(self.accepted) >= before + more)

    def not_ready(self) -> dict[str, str]:
        checks = self.get("/health/ready").json()["checks"]
        return {check["name"]: check["reason"] for check in checks if not check["ok"]}

    def database_up(self) -> bool:
        answer = self.get("/metrics")
        assert answer.status_code == 200, answer.text
        return "ricefish_database_up 1.0" in answer.text

    def away(self) -> set[str]:
        """What the metrics say is not there."""
        lines = self.get("/metrics").text.splitlines()
        gauges = {name: f"ricefish_{name}_up" for name in ("registry", "database")}
        return {
            name for name, gauge in gauges.items() if any(re.match(rf"{gauge}(\{{.*\}})? 0\.0$", one) for one in lines)
        }

    def result(self, scan_id: str) -> bytes:
        return self.get(f"/v1/scans/{scan_id}/segmentation").raise_for_status().content


@contextmanager
def a_site(folder: Path, postgresql: Stoppable, *, model: Path | str, **settings: Any) -> Iterator[Site]:
    url = new_postgresql_database(postgresql.uri)
    database = Database(url)
    database.open()
    bearer = [
        {"Authorization": f"Bearer {Keys(database).add(owner='ada', scopes={scope})}"} for scope in ("admin", "segment")
    ]
    database.close()
    common = {"database_url": url, "threads": 1, "batch_size": 1, "slab_slices": 2, "lease_seconds": 3, **settings}
    server = forked.server(folder, model=model, concurrent_scans=0, worker_id="server", **common)
    worker = forked.worker(folder, name="worker", store=folder / "store", **common)
    made = Site(server, worker, *bearer)
    try:
        server.start()
        worker.start()
        yield made
    finally:
        made.stopping.set()
        worker.kill()
        server.kill()
