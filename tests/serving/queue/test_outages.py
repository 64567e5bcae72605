"""The database is stopped, or falls silent, under load: nothing accepted is lost, and everybody is told the truth."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from harness import servers
from harness.stoppable import Stoppable, stoppable_postgresql
from serving.app import create_app
from serving.auth.authentication import OUTAGE_SECONDS, Auth, NotAuthenticated
from serving.auth.identity import ANYONE
from serving.auth.keys import Key, Keys
from serving.auth.sessions import Sessions
from serving.queue.jobs import Jobs
from serving.settings import Settings
from serving.storage.database import Database
from tests.serving.models import write_model
from tests.serving.sites import BOUND_SECONDS, FILES, Site, a_site


@pytest.fixture(scope="module")
def postgresql(processes: None) -> Iterator[Stoppable]:
    with stoppable_postgresql() as stoppable:
        yield stoppable


@pytest.fixture
def site(tmp_path: Path, postgresql: Stoppable) -> Iterator[Site]:
    with a_site(tmp_path, postgresql, model=write_model(tmp_path / "model", rounds=20)) as made:
        yield made


@pytest.mark.parametrize("how", ["gone", "silent"])
def test_a_database_outage_under_load_loses_nothing(site: Site, postgresql: Stoppable, how: str) -> None:
    """Twice in a row: posts hear 503 problems and none hangs, probes and metrics say so, and all goes on by itself.

    Keys are in force: those that were good when the database last answered may still ask for metrics.
    """
    threads = [threading.Thread(target=site.load) for _ in range(2)]
    undisturbed = dict[int, bytes]()
    for number in range(len(FILES)):
        site.post(number)
    with httpx.Client(base_url=site.server.url, headers=site.admin, trust_env=False) as http:
        for scan_id, number in site.accepted.items():
            assert servers.wait_until_ended(http, scan_id)["state"] == "succeeded"
            undisturbed[number] = site.result(scan_id)
    assert site.database_up()
    for thread in threads:
        thread.start()
    for _ in range(2):
        site.accept(2)
        (postgresql.stop if how == "gone" else postgresql.freeze)()
        try:
            site.until(lambda: "database" in site.not_ready())
            reason = site.not_ready()["database"]
            assert reason.startswith("OperationalError: " if how == "gone" else ("Unanswered", "OperationalError"))
            assert site.get("/health/live").json()["status"] == "live"
            site.until(lambda: not site.database_up())
            refused = len(site.answers)
            site.until(lambda: len(site.answers) >= refused + 6)  # noqa: B023 - called before it changes
            assert set(site.answers[refused + 2 :]) == {503}
            listed = site.get("/v1/scans")
            assert (listed.status_code, listed.json()["type"]) == (503, "urn:ricefish:problem:no-database")
        finally:
            (postgresql.start if how == "gone" else postgresql.thaw)()
        site.until(lambda: not site.not_ready())
        site.until(site.database_up)
    site.accept(2)
    site.stopping.set()
    for thread in threads:
        thread.join(BOUND_SECONDS)
    assert site.faults == []
    with httpx.Client(base_url=site.server.url, headers=site.admin, timeout=BOUND_SECONDS, trust_env=False) as http:
        for scan_id, number in site.accepted.items():
            ended = servers.wait_until_ended(http, scan_id)
            assert (ended["state"], ended["error"]) == ("succeeded", None)
            assert site.result(scan_id) == undisturbed[number]
        states = {scan["state"] for scan in http.get("/v1/scans", params={"limit": 1000}).json()["scans"]}
    assert states == {"succeeded"}
    assert [process.stop() for process in (site.worker, site.server)] == [0, 0]


class Table(Keys):
    """A table of keys that can be away."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.away = False

    def all(self) -> list[Key]:
        if self.away:
            raise OperationalError("SELECT", {}, RuntimeError("no answer"))
        return super().all()


@pytest.mark.slow
def test_a_server_without_keys_stays_open_in_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs no database, as single slices, is answered still; at the very start, nothing is."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    database.open()
    table = Table(database)
    began = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: began, time=time.time)
    monkeypatch.setattr("serving.auth.authentication.time", clock)

    async def in_outage() -> None:
        auth = Auth(table, Sessions(database))
        table.away = True
        with pytest.raises(OperationalError):
            await auth.identify(None)
        table.away = False
        await asyncio.sleep(0.5)
        await auth.identify(None)
        table.away = True
        clock.monotonic = lambda: began + 60
        await asyncio.sleep(0.5)
        assert await auth.identify(None) == (ANYONE, None)

    asyncio.run(in_outage())
    database.close()


@pytest.mark.process
@pytest.mark.parametrize("cut_off", ["reserve", "enqueue"])
def test_an_acceptance_that_was_cut_off_is_no_obstacle(
    tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch, cut_off: str
) -> None:
    """The answer to a statement is lost, carried out or not: 503; sent again with its key, it is one scan, and runs."""
    statement = getattr(Jobs, cut_off)
    lost = []

    def cut(self: Jobs, *given: object, **named: object) -> object:
        if lost:
            return statement(self, *given, **named)
        lost.append(given)
        if cut_off == "reserve":
            statement(self, *given, **named)
        raise OperationalError("COMMIT", {}, RuntimeError("the connection is lost"))

    monkeypatch.setattr(Jobs, cut_off, cut)
    settings = Settings(model=str(model_dir), store=str(tmp_path), threads=1, batch_size=4, device="cpu")
    with TestClient(create_app(settings)) as http:
        url, key = "/v1/scans?filename=a.nii&fresh=true", {"Idempotency-Key": "k"}
        refused = http.post(url, content=FILES[0], headers=key)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:ricefish:problem:no-database")
        accepted = http.post(url, content=FILES[0], headers=key)
        assert accepted.status_code in (200, 202), accepted.text
        (scan,) = http.get("/v1/scans").json()["scans"]
        assert scan["id"] == accepted.json()["id"]
        deadline = time.monotonic() + BOUND_SECONDS
        while http.get(f"/v1/scans/{scan['id']}").json()["state"] != "succeeded":
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.slow
def test_keys_of_the_last_answer_open_metrics_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid ones do, for a day, unless they expire meanwhile; wrong and revoked ones do not; nothing else is opened."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    database.open()
    table = Table(database)
    good, brief, revoked = (
        table.add(owner="ada", scopes={"admin"}, expires_seconds=seconds).encode() for seconds in (None, 600.0, None)
    )
    table.revoke(revoked.decode().split("_")[1])
    clock = SimpleNamespace(monotonic=lambda: began, time=lambda: wall)
    began, wall = time.monotonic(), time.time()
    monkeypatch.setattr("serving.auth.authentication.time", clock)

    async def in_outage() -> None:
        auth = Auth(table, Sessions(database))
        assert (await auth.identify(good))[0].admin
        await asyncio.sleep(0.5)
        table.away = True
        clock.monotonic = lambda: began + 60
        for key in (good, brief):
            assert (await auth.identify(key, in_outage=True))[0].admin
            with pytest.raises(OperationalError):
                await auth.identify(key)
        for key in (revoked, good + b"x", None):
            with pytest.raises(NotAuthenticated):
                await auth.identify(key, in_outage=True)
        clock.time = lambda: wall + 601
        with pytest.raises(NotAuthenticated):
            await auth.identify(brief, in_outage=True)
        clock.monotonic = lambda: began + OUTAGE_SECONDS + 60
        with pytest.raises(OperationalError):
            await auth.identify(good, in_outage=True)
        table.away = False
        await asyncio.sleep(0.5)  # for a moment it counts that the database did not answer
        assert (await auth.identify(good))[0].admin

    asyncio.run(in_outage())
    database.close()
