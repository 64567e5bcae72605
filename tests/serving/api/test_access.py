"""Who may call what: every route, with every kind of key, on a real server with SQLite and with PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from harness.postgresql import new_postgresql_database
from serving.api.access import OPEN, needs
from serving.app import create_app
from serving.auth.authentication import FRESH_SECONDS
from serving.auth.keys import Keys
from serving.settings import read_settings
from serving.storage.database import Database
from tests.serving.api.access_table import EXPECTED, SIGN_IN, SIGN_OUT, SIGNED, UNENDING
from tests.serving.conftest import Example
from tests.serving.running import RunningServer

TUS = {"Tus-Resumable": "1.0.0"}
NOWHERE = "0" * 32

GUARDED = sorted(route for route, scopes in EXPECTED.items() if scopes is not OPEN)
IDS = ("{scan_id}", "{upload_id}", "{review_id}")
OWNED = sorted(route for route in GUARDED if any(part in route[1] for part in IDS) and route[0] != "OPTIONS")
BOUND_SECONDS = 60
"""Longer than it takes on any machine."""


def routes() -> set[tuple[str, str]]:
    app = create_app(read_settings({}, model="m"))
    found = set()
    for route in iter_route_contexts(app.routes):
        if route.methods is None:
            found.add(("GET", f"{route.path}/swagger-ui.css"))
        found |= {(method, str(route.path)) for method in route.methods or ()}
    return found


@dataclass
class Site:
    """A server with keys of every kind, and what belongs to Ada."""

    server: RunningServer
    keys: Keys
    shown: dict[str, str]
    scan: str = ""
    upload: str = ""
    review: str = ""

    def call(self, method: str, path: str, key: str | None, **request: object) -> httpx.Response:
        given = request.pop("headers", None) or {}
        headers = {**TUS, **dict(given), **({} if key is None else {"Authorization": f"Bearer {key}"})}
        if path == UNENDING:
            with self.server.http.stream(method, self.server.url + path, headers=headers) as answer:
                return (
                    answer
                    if answer.is_success
                    else httpx.Response(answer.status_code, headers=answer.headers, content=answer.read())
                )
        return self.server.http.request(method, self.server.url + path, headers=headers, **request)

    def filled(self, path: str, *, scan: str = NOWHERE, upload: str = NOWHERE, review: str = NOWHERE) -> str:
        parts = {
            "{scan_id}": scan,
            "{upload_id}": upload,
            "{review_id}": review,
            "{axis}": "z",
            "{index}": "0",
            "{organ}": "1",
            "{segment}": "1",
            "{name}": "m",
            "{rest:path}": "status",
            "{name:path}": "zarr.json",
            "{file:path}": "index.html" if path.startswith("/v/") else "page.css",
            "{scan}": "any",
        }
        for name, value in {**parts, "{version}": "1"}.items():
            path = path.replace(name, value)
        return path

    def judged(self) -> dict[str, str]:
        """A verdict of Ada's on her scan."""
        offered = self.call("GET", "/v1/reviews/next", self.shown["review"]).json()
        said = {name: offered[name] for name in ("scan", "slice_index", "mask_sha256")}
        answer = self.call("POST", "/v1/reviews", self.shown["review"], json={**said, "verdict": "good"})
        review: dict[str, str] = answer.raise_for_status().json()
        return review

    def post(self, who: str, file: Path, **request: object) -> httpx.Response:
        path = f"/v1/scans?filename={file.name}"
        return self.call("POST", path, self.shown[who], content=file.read_bytes(), **request)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    model_dir: Path,
    example: Example,
    processes: None,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("access")
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{folder}/q.sqlite" if sqlite else new_postgresql_database(request.getfixturevalue("postgresql"))
    database = Database(url)
    database.open()
    keys = Keys(database)
    shown = {scope: keys.add(owner="ada", scopes=[scope]) for scope in ("segment", "review")}
    shown["admin"] = keys.add(owner="root", scopes=["admin"])
    shown["stranger"] = keys.add(owner="eve", scopes=["segment", "review"])
    shown["expired"] = keys.add(owner="ada", scopes=["admin"], expires_seconds=0.001)
    shown["revoked"] = keys.add(owner="ada", scopes=["admin"])
    keys.revoke(shown["revoked"].split("_")[1])
    shown["wrong"] = shown["segment"][:-1] + ("0" if shown["segment"][-1] != "0" else "1")
    shown |= {"unknown": "rf_000000000000_" + "0" * 64, "malformed": "Bearer of ill tidings"}
    server = RunningServer(folder, model_dir, database_url=url, slab_slices=4)
    there = Site(server.start(), keys, shown)
    there.scan = there.post("segment", example.path).raise_for_status().json()["id"]
    place = there.call("POST", "/v1/uploads", shown["segment"], headers={"Upload-Length": "9"}).headers["location"]
    there.upload = place.rpartition("/")[2]
    server.until(lambda: there.call("GET", f"/v1/scans/{there.scan}", shown["segment"]).json()["state"] == "succeeded")
    there.review = there.judged()["id"]
    yield there
    server.end()
    database.close()


def test_every_route_is_classified() -> None:
    """What each route needs is written down here, and the server has the same opinion; what is new is the admins'."""
    assert routes() == set(EXPECTED)
    assert {route: needs(route[1]) for route in EXPECTED} == EXPECTED
    assert needs("/v1/others") == needs("/v1") == needs("/x") == needs("/metrics") == {"admin"}
    assert needs("/metrics", metrics_open=True) is OPEN


@pytest.mark.parametrize(("method", "path"), sorted(set(EXPECTED) - set(GUARDED) - {SIGNED, SIGN_IN, SIGN_OUT}))
def test_an_open_route_asks_for_nothing(site: Site, method: str, path: str) -> None:
    """Neither no key nor a wrong one keeps probes and the description from being read."""
    path = site.filled(path)
    assert [site.call(method, path, site.shown.get(kind)).status_code for kind in ("none", "wrong")] == [200, 200]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_good_key_everything_else_is_refused(site: Site, method: str, path: str) -> None:
    """No key, a wrong, unknown, expired, revoked one, and what is no key: 401 in the same words, for Ada's scan too."""
    where = site.filled(path, scan=site.scan, upload=site.upload, review=site.review)
    kinds = ("none", "wrong", "unknown", "malformed", "expired", "revoked")
    answers = [site.call(method, where, site.shown.get(kind)) for kind in kinds]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert len({answer.content for answer in answers}) == 1
    assert method == "HEAD" or "API key" in answers[0].text


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_key_is_for_its_scopes(site: Site, method: str, path: str) -> None:
    """403 without the scope; with it, or as an admin, what the route itself says."""
    where = site.filled(path)
    for scope in ("segment", "review", "admin"):
        status = site.call(method, where, site.shown[scope]).status_code
        allowed = scope in EXPECTED[method, path] or scope == "admin"
        assert (status not in (401, 403)) if allowed else status == 403, (scope, status)


@pytest.mark.parametrize(("method", "path"), OWNED)
def test_what_is_anothers_is_not_there(site: Site, method: str, path: str) -> None:
    """Another owner gets the very answer that an id gets which never was; and nothing has changed."""
    body = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    request = {"headers": body, "content": b"evil"} if method == "PATCH" else {}
    filled = site.filled(path, scan=site.scan, upload=site.upload, review=site.review)
    if method == "PUT":
        request = {"params": {"filename": "evil.nii"}, "content": b"evil"}
    there = site.call(method, filled, site.shown["stranger"], **request)
    nowhere = site.call(method, site.filled(path), site.shown["stranger"], **request)
    assert (there.status_code, nowhere.status_code) == (404, 404)
    told = there.text
    for name in (site.scan, site.upload, site.review):
        told = told.replace(name, NOWHERE)
    assert told == nowhere.text
    assert site.call("GET", f"/v1/scans/{site.scan}", site.shown["segment"]).json()["state"] == "succeeded"
    upload = site.call("HEAD", f"/v1/uploads/{site.upload}", site.shown["segment"])
    assert (upload.status_code, upload.headers["upload-offset"]) == (200, "0")


def test_a_list_shows_what_is_ones_own(site: Site) -> None:
    """A page holds the owner's scans, an admin's all; a page after another's scan is no page."""
    listed = {who: site.call("GET", "/v1/scans", site.shown[who]).json() for who in ("segment", "stranger", "admin")}
    ids = {who: [scan["id"] for scan in page["scans"]] for who, page in listed.items()}
    assert site.scan in ids["segment"] and site.scan in ids["admin"] and site.scan not in ids["stranger"]
    assert site.call("GET", f"/v1/scans?before={site.scan}", site.shown["stranger"]).status_code == 404
    assert site.call("GET", f"/v1/scans/{site.scan}/organs", site.shown["admin"]).status_code == 200


def test_the_same_file_and_key_of_another_owner_are_another_scan(site: Site, example: Example) -> None:
    """Nobody learns from a post that somebody has the same file, or has used the same Idempotency-Key."""
    ours = site.post("segment", example.path, headers={"Idempotency-Key": "k"})
    theirs = site.post("stranger", example.path, headers={"Idempotency-Key": "k"})
    assert ours.json()["id"] == site.scan and theirs.json()["id"] != site.scan
    again = site.post("stranger", example.path, headers={"Idempotency-Key": "k"})
    assert again.json()["id"] == theirs.json()["id"]
    second = site.keys.add(owner="ada", scopes=["segment"])
    time.sleep(FRESH_SECONDS)
    assert site.call("GET", f"/v1/scans/{site.scan}", second).status_code == 200, "another key of the same owner"


def test_an_upload_of_another_owner_is_no_source(site: Site, example: Example) -> None:
    """It cannot become a scan, nor be removed under cover of an Idempotency-Key that stands for a scan."""
    site.post("stranger", example.path, headers={"Idempotency-Key": "cover"}).raise_for_status()
    source = {"source": {"upload": site.upload}}
    bare = site.call("POST", "/v1/scans", site.shown["stranger"], json=source)
    assert bare.status_code == 404
    site.call("POST", "/v1/scans", site.shown["stranger"], json=source, headers={"Idempotency-Key": "cover"})
    assert site.call("HEAD", f"/v1/uploads/{site.upload}", site.shown["segment"]).status_code == 200


def test_a_key_counts_and_ends_within_seconds(site: Site) -> None:
    """A running server learns of new and of revoked keys by itself; either header will do."""
    key = site.keys.add(owner="new", scopes=["segment"])
    deadline = time.monotonic() + BOUND_SECONDS
    while site.call("GET", "/v1/model", key).status_code != 200:
        assert time.monotonic() < deadline
    assert site.call("GET", "/v1/model", None, headers={"X-API-Key": key}).status_code == 200
    site.keys.revoke(key.split("_")[1])
    deadline = time.monotonic() + BOUND_SECONDS
    while site.call("GET", "/v1/model", key).status_code != 401:
        assert time.monotonic() < deadline


def test_no_secret_is_written_anywhere(site: Site) -> None:
    """After calls with good and with wrong keys, in every header, the log names ids alone, and answers nothing."""
    for key in site.shown.values():
        for headers in ({"X-API-Key": key}, {"Authorization": f"Basic {key}"}, {"Authorization": f"Bearer {key}"}):
            answer = site.call("POST", "/v1/scans?filename=a.nii", None, headers=headers, content=b"no scan")
            assert key not in answer.text + str(answer.headers)
    log = site.server.log
    assert f"key={site.shown['segment'].split('_')[1]}" in log
    assert not [kind for kind, key in site.shown.items() if key.rpartition("_")[2] in log]


def test_every_answer_tells_browsers_what_to_leave_alone(site: Site) -> None:
    """Pages, JSON and refusals; what is said of scans is kept nowhere; the documentation still finds its scripts."""
    for path, key in (("/v1/scans", "segment"), ("/v1/scans", "none"), ("/v1/nothing", "segment"), ("/docs", "none")):
        headers = site.call("GET", path, site.shown.get(key)).headers
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert ("script-src 'self'" in headers["content-security-policy"]) == (path == "/docs")
        assert headers.get("cache-control") == ("no-store" if path.startswith("/v1/") else None)
        assert "strict-transport-security" not in headers
