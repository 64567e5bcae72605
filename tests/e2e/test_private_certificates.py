"""A server whose certificate a lab signed itself: trusted by `--ca`, and refused with what to do about it."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ricefish.cli.app import app
from ricefish.client import Client, RicefishError
from tests.certificates import self_signed


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/v1/scans/moved"):
            self.send_response(301)
            self.send_header("Location", "https://elsewhere.example/v1/scans/moved")
        else:
            self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """What clients break off is what is tried here."""


@contextmanager
def serving(pem: Path | None) -> Iterator[int]:
    """Answers 404 to everything, with that certificate or without any; gives the port."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A certificate, and the address of a server that has it."""
    pem = self_signed(tmp_path_factory.mktemp("private"), name="lab")
    with serving(pem) as port:
        yield pem, f"https://127.0.0.1:{port}"


def refused(url: str, *, ca: Path | None = None, scan: str = "x") -> str:
    with Client(url, ca=ca) as client, pytest.raises(RicefishError) as error:
        client.status(scan)
    return str(error.value)


def test_a_private_certificate_is_trusted_where_it_is_named(
    private: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an argument or by RICEFISH_CA; else the message says that."""
    pem, url = private
    assert "give the certificate of who signed the server's with --ca FILE" in refused(url)
    assert "Not Found" in refused(url, ca=pem)
    monkeypatch.setenv("RICEFISH_CA", str(pem))
    assert "Not Found" in refused(url)


def test_the_commands_take_it(private: tuple[Path, str], tmp_path: Path) -> None:
    """`segment` gets as far as the server's answer, and `plan` too."""
    pem, url = private
    scan = tmp_path / "fish.nii"
    scan.write_bytes(bytes(1000))
    words = ["segment", str(scan), "-o", str(tmp_path / "organs.nii.gz"), "--server", url]
    assert "--ca FILE" in CliRunner().invoke(app, words).stderr
    assert "--ca FILE" not in CliRunner().invoke(app, [*words, "--ca", str(pem)]).stderr
    plan = ["plan", "--scans-per-day", "1", "--voxels", "1G", "--metrics", f"{url}/metrics"]
    assert "--ca FILE" in CliRunner().invoke(app, plan).stderr
    assert "404" in CliRunner().invoke(app, [*plan, "--ca", str(pem)]).stderr


def test_another_name_and_an_old_certificate_have_hints_of_their_own(tmp_path: Path) -> None:
    """No --ca helps there."""
    other = self_signed(tmp_path, name="other", host="10.1.2.3")
    with serving(other) as port:
        assert "by a name that its certificate holds" in refused(f"https://127.0.0.1:{port}", ca=other)
    old = self_signed(tmp_path, name="old", days=-1)
    with serving(old) as port:
        assert "renew the server's certificate" in refused(f"https://127.0.0.1:{port}", ca=old)


def test_http_and_https_are_told_apart(private: tuple[Path, str]) -> None:
    """Whichever of them the address has, and the server has not; and one that moved says where to."""
    assert "begins with https://" in refused(private[1].replace("https", "http"))
    with serving(None) as port:
        assert "begins with http://" in refused(f"https://127.0.0.1:{port}")
        moved = refused(f"http://127.0.0.1:{port}", scan="moved")
        assert "is at https://elsewhere.example/v1/scans/moved now" in moved
    assert "is the server running?" in refused("http://127.0.0.1:9")


def test_what_is_no_certificate_is_refused_by_name(tmp_path: Path) -> None:
    """A file that is not there, and one that holds something else."""
    with pytest.raises(ValueError, match=r"none\.pem is not there; --ca and RICEFISH_CA name a PEM file"):
        Client("https://127.0.0.1:9", ca=tmp_path / "none.pem")
    (tmp_path / "letter.pem").write_text("Dear Sir or Madam")
    with pytest.raises(ValueError, match=r"letter\.pem holds no certificate"):
        Client("https://127.0.0.1:9", ca=tmp_path / "letter.pem")
