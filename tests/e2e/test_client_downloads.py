"""What a download replaces stays until all of the new one is there."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ricefish.client import Client, RicefishError


def archive(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}/zarr.json", text)
    return packed.getvalue()


@contextmanager
def answering(content: bytes, *, length: int | None = None) -> Iterator[Client]:
    """A client of a server that answers this, and says that it is of that length."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(length or len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with Client(f"http://127.0.0.1:{server.server_address[1]}") as client:
                yield client
        finally:
            server.shutdown()
            thread.join()


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Of the one before nothing is left, and nothing beside it."""
    path = tmp_path / "organs.ome.zarr"
    with answering(archive(old="1")) as client:
        client.download("a", path)
    with answering(archive(new="2")) as client:
        client.download("a", path)
    assert [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.json")] == [
        "organs.ome.zarr/new/zarr.json"
    ]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["cut off", "one byte", "not an archive"])
def test_a_damaged_archive_replaces_nothing(tmp_path: Path, damage: str) -> None:
    """The folder of an earlier download is as it was, and nothing lies beside it."""
    path = tmp_path / "organs.ome.zarr"
    (path / "old").mkdir(parents=True)
    (path / "old" / "zarr.json").write_text("before")
    whole = archive(new="a text that is stored as it is")
    changed = bytearray(whole)
    changed[whole.index(b"text")] ^= 1
    content, length = {
        "cut off": (whole[:-30], len(whole)),
        "one byte": (bytes(changed), None),
        "not an archive": (b"hello", None),
    }[damage]
    with answering(content, length=length) as client, pytest.raises(RicefishError):
        client.download("a", path)
    assert (path / "old" / "zarr.json").read_text() == "before"
    assert list(tmp_path.iterdir()) == [path] and list(path.iterdir()) == [path / "old"]


@pytest.mark.parametrize("renames", [0, 1])
def test_a_folder_is_there_whenever_the_command_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Ctrl-C before or between the two renames: what was there before is there, under its name."""
    path = tmp_path / "organs.ome.zarr"
    (path / "old").mkdir(parents=True)
    (path / "old" / "zarr.json").write_text("before")
    rename, done = Path.rename, []

    def ended(self: Path, target: Path) -> Path:
        done.append(target)
        if len(done) == renames + 1:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", ended)
    with answering(archive(new="after")) as client, pytest.raises(KeyboardInterrupt):
        client.download("a", path)
    assert (path / "old" / "zarr.json").read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
