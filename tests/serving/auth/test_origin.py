"""Without keys a server answers this machine's programs and its own pages, and nobody whom another page sends."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import httpx
import pytest

from serving.auth.origin import ForeignOrigin, Origins
from tests.serving.in_process import App, running_app
from tests.serving.running import RunningServer

ELSEWHERE = "http://pages.example"


@pytest.fixture(scope="module")
def one_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running_app(
        tmp_path_factory.mktemp("once"), None, model_repository=str(tmp_path_factory.mktemp("none"))
    ) as app:
        yield app


def asked(server: RunningServer, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.http.post(f"{server.url}/v1/scans?filename=a.nii", content=b"x", headers=named)


@pytest.mark.process
def test_a_name_that_was_made_to_mean_this_machine_is_refused(server: RunningServer) -> None:
    """Reading and posting alike, before a byte of the body is looked at; health checks ask by any name."""
    for name in ("pages.example", "pages.example:8000", "localhost.pages.example", "127.0.0.1.pages.example", "server"):
        answer = server.http.get(f"{server.url}/v1/scans", headers={"Host": name})
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:ricefish:problem:foreign-origin")
        assert asked(server, Host=name).status_code == 403
        assert server.http.get(f"{server.url}/v2/models/student", headers={"Host": name}).status_code == 403
        assert server.http.get(f"{server.url}/health/live", headers={"Host": name}).status_code == 200
    for name in ("localhost", "LOCALHOST:1", "localhost.", "[::1]:8000", "127.0.0.1"):
        assert server.http.get(f"{server.url}/v1/scans", headers={"Host": name}).status_code == 200


@pytest.mark.process
def test_another_page_posts_nothing(server: RunningServer) -> None:
    """By its origin, by none that can be named, and by what the browser says of it where it names none."""
    own = server.url.removeprefix("http://")
    for refused in (
        {"Origin": ELSEWHERE},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "navigate"},
        {"Origin": ELSEWHERE, "Sec_Fetch_Site": "same-origin"},
    ):
        assert asked(server, **refused).status_code == 403, refused
    for unreadable in (
        {},
        {"Origin": f"http://{own}"},
        {"Origin": "null", "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
    ):
        assert asked(server, **unreadable).status_code in (415, 422), unreadable
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    embedded = followed | {"Sec-Fetch-Mode": "no-cors"}
    answers = [server.http.get(f"{server.url}/v1/scans", headers=sent).status_code for sent in (followed, embedded)]
    assert answers == [200, 403]


@pytest.mark.process
def test_a_request_without_a_host_is_no_browsers(server: RunningServer) -> None:
    """HTTP 1.0 knows none."""
    at = urlsplit(server.url)
    with socket.create_connection((at.hostname, at.port), timeout=10) as connection:
        connection.sendall(b"GET /v1/scans HTTP/1.0\r\n\r\n")
        assert connection.recv(100).split()[1] == b"200"


def allowed(origins: Origins, **headers: str) -> bool:
    sent: Mapping[str, str] = {name.lower(): value for name, value in headers.items()}
    try:
        origins.check("POST", sent)
    except ForeignOrigin:
        return False
    return True


def test_a_server_for_a_trusted_network_has_names_that_no_page_can_take() -> None:
    """Addresses, names without a dot, and what it is told; a name of the public DNS may be anybody's."""
    open_to_all = Origins("0.0.0.0", ("fish.example",))  # noqa: S104 - the point of the test
    assert all(
        allowed(open_to_all, Host=name) for name in ("10.1.2.3:8000", "[fe80::1]", "server:8000", "Fish.example")
    )
    assert not allowed(open_to_all, Host="pages.example")
    assert allowed(open_to_all, Host="server:8000", Origin="https://fish.example")
    assert not allowed(open_to_all, Host="server:8000", Origin=ELSEWHERE)
    assert allowed(Origins("127.0.0.2"), Host="127.0.0.2:8000") and not allowed(Origins("127.0.0.1"), Host="10.0.0.1")


@pytest.mark.parametrize("name", ["Host", "Origin", "Content-Type", "X-API-Key", "Idempotency-Key", "Upload-Offset"])
def test_a_header_of_one_value_is_given_once(name: str, one_app: App) -> None:
    """Neither the first nor the last is taken: 400 by name, on calls that are open to all too."""
    twice = [(name.encode(), b"localhost"), (name.lower().encode(), b"localhost")]
    for path in (b"/v1/scans", b"/health/live", b"/v2/models/any/ready"):
        answer = one_app.ask("GET", path, headers=twice)
        assert answer.status == 400 and name.lower() in answer.body.decode(), answer.body
    assert one_app.ask("GET", b"/v1/scans", headers=[(b"accept", b"text/html"), (b"accept", b"*/*")]).status == 200
