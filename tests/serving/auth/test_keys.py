"""Keys: the command that makes them, databases of earlier versions, allowances, and where a server may listen."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, inspect, text
from typer.testing import CliRunner

from harness.postgresql import new_postgresql_database
from ricefish.cli.app import app
from ricefish.client import Client, RicefishError
from serving.auth.identity import ANYONE, Identity
from serving.auth.keys import Key, KeyRefused, Keys
from serving.auth.quotas import STEP_BYTES, QuotaExceeded, Quotas
from serving.queue.jobs import Jobs, Priority, ScanNotFound
from serving.storage.database import Database
from tests.serving.auth.conftest import Serve
from tests.serving.conftest import Example
from tests.serving.queues import new_scan
from tests.serving.running import RunningServer

EVERYWHERE = "0.0.0.0"  # noqa: S104 - the point of the test
ADA = Identity(owner="ada", scopes=frozenset({"segment"}), key_id="x")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.process)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    return new_postgresql_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    database.open()
    yield database
    database.close()


def ricefish(*words: str, **environment: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "200", "RICEFISH_TEST_DATA": None, **environment}).invoke(app, words)
    return result.exit_code, result.stdout + result.stderr


def test_the_command_makes_lists_and_revokes_keys(url: str) -> None:
    """The key is shown once, its secret is not in the list; what cannot be done is said in one line."""
    where = {"RICEFISH_DATABASE_URL": url}
    made = ("keys", "add", "--owner", "ada", "--scope", "segment", "--scope", "review", "--expires", "90d")
    status, said = ricefish(*made, "--requests-per-minute", "60", "--bytes-per-day", "1.5GB", **where)
    _, key_id, secret = said.split()[0].split("_")
    assert (status, len(secret)) == (0, 64)
    _, listed = ricefish("keys", "list", **where)
    assert secret not in listed
    assert all(word in listed for word in (key_id, "ada", "review, segment", "valid", "60", "1,500,000,000"))
    (row,) = json.loads(ricefish("keys", "list", "--json", **where)[1])
    assert (row["id"], row["owner"], row["scopes"]) == (key_id, "ada", ["review", "segment"])
    assert (row["state"], row["bytes_per_day"], row["last_used"]) == ("valid", 1_500_000_000, None)
    assert ricefish("keys", "revoke", key_id[:5], **where) == (0, f"{key_id} is revoked.\n")
    assert "revoked" in ricefish("keys", "list", **where)[1]
    assert ricefish("keys", "revoke", "nobody", **where)[0] == 1
    for wrong, reason in (
        (("--scope", "sudo"), "the scope is 'sudo'; give one or more of segment, review, admin"),
        (("--scope", "admin", "--expires", "soon"), "--expires is 'soon'"),
        (("--scope", "admin", "--bytes-per-day", "a lot"), "--bytes-per-day is 'a lot'"),
        (("--scope", "admin", "--requests-per-minute", "0"), "requests_per_minute is 0; expected a number of"),
        (("--scope", "admin", "--expires", "999y"), "--expires is '999y'; give more than nothing and at most 100y"),
    ):
        status, said = ricefish("keys", "add", "--owner", "ada", *wrong, **where)
        assert (status, reason in said) == (1, True), said


def test_the_command_finds_the_database_of_the_store(tmp_path: Path) -> None:
    """Without an address of a database, keys are in the SQLite of the store, before any server was there."""
    status, said = ricefish("keys", "add", "--owner", "a", "--scope", "admin", RICEFISH_STORE=str(tmp_path / "store"))
    secret = said.split()[0].rpartition("_")[2].encode()
    assert status == 0
    assert not [file for file in (tmp_path / "store").iterdir() if secret in file.read_bytes()]


def test_a_database_of_an_earlier_version_is_completed(url: str) -> None:
    """Its scans stay, as what was posted without a key; opening it again changes nothing."""
    database = Database(url)
    database.open()
    old = new_scan()
    Jobs(database, owner="s").reserve(old, priority=Priority.NORMAL, checksums={})
    Jobs(database, owner="s").enqueue(old.id)
    database.close()
    engine = create_engine(database.url.set(drivername="postgresql+psycopg") if database.shared else database.url)
    with engine.begin() as connection:
        for statement in (
            "DROP INDEX ricefish_scans_owned",
            "ALTER TABLE ricefish_scans DROP COLUMN key_owner",
            "DROP TABLE ricefish_api_keys",
        ):
            connection.execute(text(statement))
    for _ in range(2):
        database.open()
        jobs = Jobs(database, owner="s")
        assert jobs.scan(old.id) == old
        with pytest.raises(ScanNotFound):
            jobs.seen_by(ADA).scan(old.id)
        Keys(database).add(owner="ada", scopes=["admin"])
        database.close()
    assert "ricefish_scans_owned" in {index["name"] for index in inspect(engine).get_indexes("ricefish_scans")}
    engine.dispose()


def test_the_queue_is_everybodys_own(database: Database) -> None:
    """Each call on another's scan is answered as if it were not there; for the server itself nothing is hidden."""
    jobs = Jobs(database, owner="s")
    ada, eve = jobs.seen_by(ADA), jobs.seen_by(Identity("eve", frozenset({"segment"})))
    scan = new_scan()
    ada.reserve(scan, priority=Priority.NORMAL, checksums={}, key="k")
    ada.enqueue(scan.id)
    assert eve.page(limit=9) == [] and eve.of_key("k") is None and jobs.of_key("k") is None
    for call in (eve.get, eve.cancel, eve.retry, eve.remove):
        with pytest.raises(ScanNotFound):
            call(scan.id)
    same = {"sha256": scan.upload.sha256, "spacing": None, "model_key": scan.model.key}
    assert (ada.find(**same), eve.find(**same), jobs.find(**same)) == (scan, None, None)
    assert ada.of_key("k") == scan and jobs.seen_by(ANYONE).scan(scan.id) == scan
    assert jobs.seen_by(Identity(None, frozenset({"segment"}))).page(limit=9) == []


def limited(keys: Keys, **limits: int) -> Key:
    keys.add(owner="ada", scopes=["segment"], **limits)
    return keys.all()[-1]


def test_requests_come_back_steadily(database: Database) -> None:
    """Three a minute: three at once, then one each twenty seconds; the answer says how long to wait."""
    now = [1000.0]
    keys = Keys(database)
    key, quotas = limited(keys, requests_per_minute=3), Quotas(keys, clock=lambda: now[0])
    for _ in range(3):
        quotas.take_request(key)
    now[0] += 5
    with pytest.raises(QuotaExceeded, match="3 requests a minute") as refused:
        quotas.take_request(key)
    assert refused.value.seconds == 15
    now[0] += 15
    quotas.take_request(key)


def test_bytes_are_counted_over_processes_and_days(database: Database) -> None:
    """What one process has written down another knows of when it reads the keys; a new day begins at nothing."""
    now = [100 * 86400.0 + 86390]
    keys = Keys(database)
    limit = 2 * STEP_BYTES
    key = limited(keys, bytes_per_day=limit)
    one, other = (Quotas(keys, clock=lambda: now[0]) for _ in range(2))
    for process in (one, other):
        process.learn([key])

    async def send(process: Quotas, size: int) -> None:
        process.check_bytes(key, size)
        await process.add_bytes(key.id, size)

    asyncio.run(send(one, STEP_BYTES))
    asyncio.run(send(one, STEP_BYTES - 10))
    other.learn(keys.all())
    with pytest.raises(QuotaExceeded, match=f"may send {limit} bytes a day; {STEP_BYTES} were sent"):
        other.check_bytes(key, STEP_BYTES + 1)
    with pytest.raises(QuotaExceeded) as refused:
        one.check_bytes(key, 11)
    assert refused.value.seconds == 10
    one.close()
    assert keys.all()[-1].bytes == limit - 10
    now[0] += 10
    asyncio.run(send(one, limit))


def test_a_secret_needs_an_owner(database: Database) -> None:
    """An owner is a name that can be printed on one line."""
    for owner in ("", " ", "a\nb", "a" * 201):
        with pytest.raises(KeyRefused, match="the owner is"):
            Keys(database).add(owner=owner, scopes=["admin"])


def add(server: RunningServer, *words: str) -> dict[str, str]:
    status, said = ricefish("keys", "add", "--owner", "ada", *words, RICEFISH_STORE=str(server.store))
    assert status == 0, said
    return {"Authorization": f"Bearer {said.split()[0]}"}


def refused_start(model: Path, store: Path, **settings: str) -> str:
    """What a server says that must not start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RICEFISH_")}
    environment |= {f"RICEFISH_{name.upper()}": value for name, value in {"port": "0", **settings}.items()}
    command = [sys.executable, "-m", "ricefish", "serve", "--model", str(model), "--store", str(store)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.process
def test_a_server_without_keys_closes_with_the_first(serve: Serve, example: Example) -> None:
    """On loopback everybody may do everything; from the first key on none may without, and admins see what there was.

    Then `--requests-per-minute` and `--bytes-per-day` bite, and calls without a body go on when the bytes are used up,
    after a restart too.
    """
    server = serve().start()
    scan = server.post(example.path, "fish.nii.gz").raise_for_status().json()["id"]
    admin = add(server, "--scope", "admin")
    server.until(lambda: server.get(f"/v1/scans/{scan}").status_code == 401)
    assert server.http.get(f"{server.url}/v1/scans/{scan}", headers=admin).status_code == 200
    slow = add(server, "--scope", "segment", "--requests-per-minute", "2")
    little = add(server, "--scope", "segment", "--bytes-per-day", "10kB")
    server.until(lambda: server.http.get(f"{server.url}/v1/scans/{scan}", headers=little).status_code == 404)
    answers = [server.http.get(f"{server.url}/v1/scans/{scan}", headers=slow) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [404, 404, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    waiting = add(server, "--scope", "segment", "--requests-per-minute", "30")["Authorization"].removeprefix("Bearer ")
    server.until(lambda: server.http.get(f"{server.url}/v1/model", headers={"X-API-Key": waiting}).status_code == 200)
    with Client(server.url, key=waiting) as client:  # which waits until it may ask again
        assert len([client.submit(example.path).id for _ in range(31)]) == 31
    where = "/v1/scans?filename=a.nii"
    stated = server.http.post(server.url + where, content=b"x" * 10_001, headers=little)
    streamed = server.http.post(server.url + where, content=iter([b"x" * 4000] * 5), headers=little)
    assert (stated.status_code, streamed.status_code) == (429, 429)
    assert 1 <= int(streamed.headers["retry-after"]) <= 86400
    assert server.end() == 0
    server.start()
    assert server.http.post(server.url + where, content=b"x", headers=little).status_code == 429
    assert server.http.get(f"{server.url}/v1/scans", headers=little).status_code == 200


@pytest.mark.process
def test_other_machines_are_served_with_keys_alone(serve: Serve, tmp_path: Path, model_dir: Path) -> None:
    """Beyond loopback the server does not start without a key, and says how to make one, unless it is told to."""
    refused = refused_start(model_dir, tmp_path / "store", host=EVERYWHERE)
    assert "RICEFISH_HOST is 0.0.0.0 and there is no API key" in refused
    assert "ricefish keys add" in refused and "RICEFISH_ANONYMOUS=true" in refused
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = refused_start(model_dir, tmp_path / "store", port=str(taken.getsockname()[1]), log_format="json")
    last = [json.loads(line) for line in busy.splitlines()][-1]
    assert last["message"] == "failed" and "cannot be listened on" in last["error"]
    told = serve(host=EVERYWHERE, anonymous="true").start()
    told.end()
    add(told, "--scope", "admin")
    assert serve(host=EVERYWHERE).start().log.count("event=open_to_the_network") == 1


@pytest.mark.process
def test_a_server_with_a_certificate_speaks_https(
    serve: Serve, tmp_path: Path, model_dir: Path, example: Example
) -> None:
    """The client goes through with its key; browsers are told to come by HTTPS only; half a pair is refused."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {certificate}"
    subject = ["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *made.split(), *subject], check=True, capture_output=True)
    server = serve(tls_certificate=certificate, tls_key=key)
    shown = add(server, "--scope", "segment")
    server.start()
    assert server.url.startswith("https://")
    context = ssl.create_default_context(cafile=certificate)
    answer = httpx.get(f"{server.url}/v1/model", headers=shown, verify=context)
    assert (answer.status_code, answer.headers["strict-transport-security"]) == (200, "max-age=31536000")
    pair = {"tls_certificate": str(example.path), "tls_key": str(key)}
    assert "cannot be used" in refused_start(model_dir, tmp_path / "other", **pair)
    assert "belong together" in refused_start(model_dir, tmp_path / "other", tls_key=str(key))


@pytest.mark.process
def test_the_client_shows_its_key(serve: Serve, tmp_path: Path, example: Example) -> None:
    """`ricefish segment` takes it from RICEFISH_API_KEY; without one the server's reason is shown."""
    server = serve()
    key = add(server, "--scope", "segment")["Authorization"].removeprefix("Bearer ")
    server.start()
    segment = ("segment", str(example.path), "-o", str(tmp_path / "out.nii.gz"), "--server", server.url)
    assert ricefish(*segment, RICEFISH_API_KEY=key)[0] == 0
    with Client(server.url) as client, pytest.raises(RicefishError, match="the server wants an API key"):
        client.submit(example.path)
