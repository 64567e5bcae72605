"""Signing in with a key: a cookie that stands for it, as long as it counts, and a token against other pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import pytest

from serving.auth.authentication import FRESH_SECONDS
from serving.auth.keys import Keys
from serving.auth.sessions import COOKIE, Session
from serving.storage.database import Database
from serving.storage.tables import sessions
from tests.serving.in_process import Answered, App, running_app

BROWSER = [(b"accept", b"text/html,*/*;q=0.8")]
FORM = [(b"content-type", b"application/x-www-form-urlencoded")]
BOUND_SECONDS = 60


@dataclass
class Desk:
    """A server with keys, and what a browser does there."""

    app: App
    keys: Keys
    database: Database

    def sign_in(self, key: str, *, after: str = "/", headers: list[tuple[bytes, bytes]] | None = None) -> Answered:
        body = urlencode({"key": key, "next": after}).encode()
        return self.app.ask("POST", b"/sign-in", headers=[*FORM, *(headers or [])], body=body)

    def session(self, key: str) -> Session:
        answer = self.sign_in(key)
        assert answer.status == 303, answer.body
        return Session(SimpleCookie(answer.headers["set-cookie"])[COOKIE].value, key.split("_")[1])

    def ask(self, method: str, path: bytes, session: Session, *headers: tuple[bytes, bytes]) -> Answered:
        return self.app.ask(method, path, headers=[cookie(session.token), *headers])


def cookie(token: str) -> tuple[bytes, bytes]:
    return b"cookie", f"other=1; {COOKIE}={token}".encode()


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    url = f"sqlite:///{folder}/q.sqlite"
    database = Database(url)
    database.open()
    keys = Keys(database)
    keys.add(owner="root", scopes=["admin"])
    with running_app(folder, model_dir, database_url=url) as app:
        yield Desk(app, keys, database)
    database.close()


@pytest.fixture
def key(desk: Desk) -> str:
    made = desk.keys.add(owner="ada", scopes=["segment"])
    until(lambda: desk.sign_in(made).status == 303)
    return made


def test_a_key_becomes_a_cookie_that_scripts_and_other_pages_do_not_get(desk: Desk, key: str) -> None:
    """It is sent nowhere else, ends by itself, is not the key, and the database holds its hash alone."""
    answer = desk.sign_in(key, after="/scans/1?x=2")
    assert (answer.status, answer.headers["location"]) == (303, "/scans/1?x=2")
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said and "samesite=strict" in said and "path=/" in said and "max-age=43200" in said
    assert "secure" not in said  # this answer went by plain HTTP
    session = desk.session(key)
    assert session.token not in key and key.rpartition("_")[2] not in answer.headers["set-cookie"]
    with desk.database.reading() as connection:
        rows = connection.execute(sessions.select()).all()
    assert not [row for row in rows if session.token in str(row)]


def test_a_cookie_is_worth_what_its_key_is_worth(desk: Desk, key: str) -> None:
    """The same scans, the same scopes: what the key may not do, its session may not."""
    session = desk.session(key)
    assert desk.ask("GET", b"/v1/scans", session).json() == {"scans": []}
    assert desk.ask("GET", b"/", session, *BROWSER).status == 200
    assert desk.ask("GET", b"/metrics", session).status == 403
    assert desk.ask("GET", b"/v1/models/shadow", session).status == 403


def test_a_request_that_changes_something_needs_the_token_of_the_page(desk: Desk, key: str) -> None:
    """Without it, with another session's, and in the wrong place 403; with it the route itself answers."""
    session, other = desk.session(key), desk.session(key)
    path = b"/v1/scans/" + b"0" * 32
    for token in (None, "", other.csrf, session.token, session.csrf.upper(), "\u00e9"):
        headers = [] if token is None else [(b"x-csrf-token", token.encode())]
        answer = desk.ask("DELETE", path, session, *headers)
        assert (answer.status, answer.json()["type"]) == (403, "urn:ricefish:problem:forged-request"), token
    assert desk.ask("DELETE", path + b"?csrf_token=" + session.csrf.encode(), session).status == 403
    right = (b"x-csrf-token", session.csrf.encode())
    assert desk.ask("DELETE", path, session, right).status == 404
    assert session.csrf in desk.ask("GET", b"/", session, *BROWSER).body.decode()


def test_a_key_in_a_header_wins_over_a_cookie(desk: Desk, key: str) -> None:
    """A good one needs no token; a wrong one is refused, whatever the cookie."""
    session, path = desk.session(key), b"/v1/scans/" + b"0" * 32
    assert desk.ask("DELETE", path, session, (b"x-api-key", key.encode())).status == 404
    assert desk.ask("GET", b"/v1/scans", session, (b"x-api-key", b"rf_0_0")).status == 401
    assert desk.ask("GET", b"/v1/scans", session, (b"authorization", b"Bearer nonsense")).status == 401


def test_a_revoked_key_ends_its_sessions(desk: Desk) -> None:
    """As soon as it ends itself; the cookie alone opens nothing, and a browser is led to sign in."""
    made = desk.keys.add(owner="bob", scopes=["segment"])
    until(lambda: desk.sign_in(made).status == 303)
    session = desk.session(made)
    assert desk.ask("GET", b"/v1/scans", session).status == 200
    desk.keys.revoke(made.split("_")[1])
    until(lambda: desk.ask("GET", b"/v1/scans", session).status == 401)
    led = desk.ask("GET", b"/?state=failed", session, *BROWSER)
    assert (led.status, led.headers["location"]) == (303, "/sign-in?next=%2F%3Fstate%3Dfailed")


def test_signing_out_ends_the_session_at_once(desk: Desk, key: str) -> None:
    """With the token of the page; without, it stays. The browser forgets the cookie."""
    session = desk.session(key)
    send = [cookie(session.token), *FORM]
    assert desk.app.ask("POST", b"/sign-out", headers=send, body=b"csrf_token=no").status == 403
    assert desk.ask("GET", b"/v1/scans", session).status == 200
    body = urlencode({"csrf_token": session.csrf}).encode()
    answer = desk.app.ask("POST", b"/sign-out", headers=send, body=body)
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in")
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert desk.ask("GET", b"/v1/scans", session).status == 401


def test_a_session_expires(desk: Desk, key: str) -> None:
    """By the database's clock, and its row is swept away."""
    session = desk.session(key)
    with desk.database.writing() as connection:
        connection.execute(sessions.update().values(expires=desk.database.now - 1))
    until(lambda: desk.ask("GET", b"/v1/scans", session).status == 401)
    desk.app.resources.auth.sessions.sweep()
    with desk.database.reading() as connection:
        assert connection.execute(sessions.select()).all() == []


def test_a_wrong_key_and_another_pages_form_begin_no_session(desk: Desk, key: str) -> None:
    """In the same words for every wrong key; a form that another site holds is not looked at."""
    wrong = [desk.sign_in(shown) for shown in ("", "x", key[:-1] + "!", "rf_000000000000_" + "0" * 64, "\u00e9")]
    assert {answer.status for answer in wrong} == {401}
    assert len({answer.body for answer in wrong}) == 1 and b"not valid" in wrong[0].body
    foreign: list[list[tuple[bytes, bytes]]] = [
        [(b"origin", b"http://pages.example")],
        [(b"origin", b"null")],
        [(b"sec-fetch-site", b"cross-site"), (b"origin", b"http://127.0.0.1")],
    ]
    for headers in foreign:
        answer = desk.sign_in(key, headers=headers)
        assert answer.status == 403 and "set-cookie" not in answer.headers
    assert desk.sign_in(key, headers=[(b"origin", b"http://127.0.0.1")]).status == 303


@pytest.mark.parametrize("after", ["//pages.example", "/\\pages.example", "http://pages.example", "x", "", "/a\r\nb"])
def test_signing_in_leads_to_pages_of_this_server_alone(desk: Desk, key: str, after: str) -> None:
    """Whatever the address of the form said, the way leads home."""
    assert desk.sign_in(key, after=after).headers["location"] == "/"


def test_a_programs_request_is_refused_and_not_led_anywhere(desk: Desk) -> None:
    """401 as ever for what does not ask for a page."""
    for method, headers in (("GET", []), ("POST", BROWSER), ("GET", [(b"accept", b"application/json")])):
        assert desk.app.ask(method, b"/v1/scans", headers=headers).status == 401
    assert desk.app.ask("GET", b"/", headers=BROWSER).headers["location"] == "/sign-in?next=%2F"


def test_requests_of_a_session_count_as_its_keys(desk: Desk) -> None:
    """Two a minute: the third is too many, by cookie or by key."""
    made = desk.keys.add(owner="cy", scopes=["segment"], requests_per_minute=2)
    time.sleep(FRESH_SECONDS)
    session = desk.session(made)
    assert desk.ask("GET", b"/v1/scans", session).status == 200
    assert desk.ask("GET", b"/v1/scans", session).status == 429
    assert desk.app.ask("GET", b"/v1/scans", headers=[(b"x-api-key", made.encode())]).status == 429


def test_a_server_without_keys_needs_no_sign_in(tmp_path: Path, model_dir: Path) -> None:
    """It leads past the form, and takes no notice of a cookie of another server on this machine."""
    with running_app(tmp_path, model_dir) as app:
        assert app.ask("GET", b"/sign-in?next=/models", headers=BROWSER).headers["location"] == "/models"
        left_behind = [*BROWSER, cookie("of another server")]
        assert app.ask("GET", b"/", headers=left_behind).status == 200
        foreign = [*left_behind, (b"origin", b"http://pages.example")]
        assert app.ask("DELETE", b"/v1/scans/" + b"0" * 32, headers=foreign).status == 403


def test_over_https_the_cookie_is_sent_over_https_alone(desk: Desk, key: str) -> None:
    """Secure is said where the request came by HTTPS."""
    body = urlencode({"key": key}).encode()
    answer = desk.app.ask("POST", b"/sign-in", headers=FORM, body=body, scheme="https")
    assert "secure" in answer.headers["set-cookie"].lower()
