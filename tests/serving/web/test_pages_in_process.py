"""What pages are sent with, and what they say where there is nothing to show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.web.vendored import VENDORED
from tests.serving.in_process import App, running_app

BROWSER = [(b"accept", b"text/html")]
NOWHERE = b"0" * 32


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("pages"), model_dir) as app:
        yield app


@pytest.mark.parametrize("path", [b"/", b"/models", b"/scans/" + NOWHERE])
def test_a_page_lets_nothing_in_from_elsewhere(app: App, path: bytes) -> None:
    """Its policy allows scripts and styles of this server's files alone, no frame around it, and nobody keeps it."""
    headers = app.ask("GET", path, headers=BROWSER).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
    assert "unsafe" not in policy and "script-src" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["content-type"] == "text/html; charset=utf-8"


def test_the_viewer_alone_may_make_functions_of_text(app: App) -> None:
    """And lies in frames of this server alone."""
    for name in (b"", b"index.html", b"main.8608d1fc21b22785.js"):
        policy = app.ask("GET", b"/v/any/" + name).headers["content-security-policy"]
        assert "script-src 'self' 'unsafe-eval'" in policy and "frame-ancestors 'self'" in policy
        assert "default-src 'self'" in policy and "script-src 'self' 'unsafe-inline'" not in policy


@pytest.mark.parametrize("one", VENDORED, ids=lambda one: one.file)
def test_a_library_is_sent_once(app: App, one: object) -> None:
    """It may be kept for ever, for its name changes with it; packed to those who can unpack, plain to the others."""
    file: str = one.file  # type: ignore[attr-defined]  # a Vendored
    path = f"/v/x/{file.rpartition('/')[2]}" if file.startswith("neuroglancer") else f"/static/{file}"
    path = path.removesuffix(".gz")
    plain = app.ask("GET", path.encode())
    assert plain.status == 200 and "content-encoding" not in plain.headers
    kept = plain.headers["cache-control"]
    assert ("immutable" in kept) == (not path.endswith("index.html"))
    known = app.ask("GET", path.encode(), headers=[(b"if-none-match", plain.headers["etag"].encode())])
    assert (known.status, known.body) == (304, b"")
    packed = app.ask("GET", path.encode(), headers=[(b"accept-encoding", b"gzip, br")])
    assert ("content-encoding" in packed.headers) == file.endswith(".gz")
    assert len(packed.body) <= len(plain.body)


@pytest.mark.parametrize(
    "name", ["", "no", "../vendored.py", "..%2fvendored.py", "%2fetc%2fpasswd", "vendor", "page.css/"]
)
def test_no_other_file_is_sent(app: App, name: str) -> None:
    """Neither one that is not there nor one that lies beside."""
    for place in ("/static/", "/v/x/"):
        if place == "/v/x/" and not name:
            continue
        assert app.ask("GET", f"{place}{name}".encode()).status == 404


def test_a_refusal_is_a_page_to_people_and_a_document_to_programs(app: App) -> None:
    """An unknown scan, in words with a way on; and a name in the address that no page knows."""
    answer = app.ask("GET", b"/scans/" + NOWHERE, headers=BROWSER)
    assert answer.status == 404 and b"There is no such scan" in answer.body and b'href="/"' in answer.body
    assert (
        app.ask("GET", b"/v1/scans/" + NOWHERE, headers=BROWSER).headers["content-type"] == "application/problem+json"
    )
    assert app.ask("GET", b"/?sate=failed", headers=BROWSER).status == 400
    assert b"did you mean state?" in app.ask("GET", b"/?sate=failed", headers=BROWSER).body.replace(b"&#39;", b"'")


def test_a_list_without_scans_says_how_to_begin(app: App) -> None:
    """And where to drop files, for which there is a model."""
    shown = app.ask("GET", b"/", headers=BROWSER).body
    assert b"No scans here yet." in shown and b'id="drop"' in shown


def test_a_server_without_a_model_says_so(tmp_path: Path) -> None:
    """In place of where files are dropped."""
    with running_app(tmp_path, None, model_repository=str(tmp_path)) as app:
        shown = app.ask("GET", b"/", headers=BROWSER).body
        assert b"RICEFISH_MODEL" in shown and b'id="drop"' not in shown
        assert b"No segmentation model is served." in app.ask("GET", b"/models", headers=BROWSER).body


def test_a_form_of_many_fields_is_refused(app: App) -> None:
    """400, whatever they are; nobody is signed in by it."""
    body = b"&".join(b"a%d=1" % number for number in range(11))
    form = [(b"content-type", b"application/x-www-form-urlencoded"), (b"sec-fetch-site", b"same-origin")]
    answer = app.ask("POST", b"/sign-in", headers=form, body=body)
    assert (answer.status, "set-cookie" in answer.headers) == (400, False)
