"""Large files through `Client.submit`: what the server, the network and the file may do meanwhile."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from ricefish.client.client import RESUMABLE_BYTES, Client, RicefishError
from ricefish.client.resumable_upload import FileChanged
from tests.e2e.resumable.relay import Relay
from tests.e2e.resumable.sending import (
    assert_right,
    client,
    uploads,
)
from tests.serving.running import RunningServer


def test_priority_and_fresh_reach_the_server(server: RunningServer, relay: Relay, scan: Path) -> None:
    """Large or small: the scan has the priority; the same file is the same scan unless it shall be fresh."""
    known: set[str] = set()
    for options in ({}, {"resumable_bytes": RESUMABLE_BYTES}):
        with client(relay, **options) as sender:
            first = sender.submit(scan, priority="backlog", fresh=True)
            server.until_ended(first.id)
            assert server.get(f"/v1/scans/{first.id}").json()["priority"] == "backlog"
            assert first.id not in known
            known.add(first.id)
            assert sender.submit(scan).id in known
            with pytest.raises(ValueError, match="'urgent'; it is one of interactive, normal, backlog"):
                sender.submit(scan, priority="urgent")


def test_only_large_files_are_sent_in_parts(relay: Relay, scan: Path) -> None:
    """Up to 64 MB a file is the body of one request."""
    assert RESUMABLE_BYTES == 64_000_000
    with Client(relay.url) as sender:
        sender.submit(scan)
    assert relay.asked("POST", "/v1/uploads") == relay.asked("OPTIONS", "/v1/uploads") == 0


def test_what_has_arrived_is_reported_at_once(relay: Relay, scan: Path) -> None:
    """An upload that broke off for want of patience goes on; the first report is what is there, the last is all."""
    relay.answers = [b"HTTP/1.1 502 Bad Gateway\r\n"] * 20
    with client(relay, patience_seconds=0.1) as hasty, pytest.raises(RicefishError, match="0 of 25166176 bytes have"):
        hasty.submit(scan)
    at = 12 << 20
    relay.answers = [None, None, b"HTTP/1.1 507 Full\r\n"]
    with client(relay) as sender, pytest.raises(RicefishError, match=f"{at} of 25166176 bytes have") as ended:
        sender.submit(scan)
    assert ended.value.status == 507
    reports: list[int] = []
    with client(relay) as sender:
        sender.submit(scan, report=reports.append)
    assert reports[0] == at and reports[-1] == scan.stat().st_size
    assert reports == sorted(reports)


def test_a_busy_server_is_left_alone_as_long_as_it_asks(
    server: RunningServer, relay: Relay, scan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """503 with Retry-After, 500 and 429 pass; what a 500 says again and again does not."""
    relay.answers = [
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n",
        b"HTTP/1.1 500 Internal Server Error\r\n",
        b"HTTP/1.1 429 Too Many Requests\r\n",
    ]
    began = time.monotonic()
    with client(relay) as sender:
        sender.submit(scan)
    assert time.monotonic() - began > 2 + 1 + 2
    assert len(caplog.records) == 1
    relay.answers = [b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 60\r\n"]
    began = time.monotonic()
    with client(relay) as sender, pytest.raises(RicefishError, match="Service Unavailable"):
        sender.submit(scan, fresh=True)
    assert time.monotonic() - began < 60, "it has waited for what the server asked for"
    for data in uploads(server).iterdir():
        server.http.delete(f"{server.url}/v1/uploads/{data.name}", headers={"Tus-Resumable": "1.0.0"})


def test_a_damaged_part_is_sent_again(server: RunningServer, relay: Relay, model: Path, scan: Path) -> None:
    """Two parts change on their way; the scan has the bytes of the file."""
    relay.damages = 2
    with client(relay) as sender:
        found = sender.submit(scan, fresh=True)
        assert list(sender.wait(found.id))[-1].state == "succeeded"
        out = scan.parent / "organs.nii.gz"
        sender.download(found.id, out)
    assert relay.damages == 0
    assert_right(model, scan, out)


def test_an_expired_upload_is_begun_anew(server: RunningServer, relay: Relay, scan: Path, state: Path) -> None:
    """What is remembered of an upload that the server no longer knows is dropped."""
    relay.answers = [b"HTTP/1.1 507 Full\r\n"]
    with client(relay) as sender:
        with pytest.raises(RicefishError):
            sender.submit(scan)
        (upload,) = uploads(server).iterdir()
        answer = server.http.delete(f"{server.url}/v1/uploads/{upload.name}", headers={"Tus-Resumable": "1.0.0"})
        assert answer.status_code == 204
        assert sender.submit(scan).slices_total == 48
    assert relay.asked("POST", "/v1/uploads") == 2
    assert list(state.iterdir()) == []


def test_a_client_that_died_before_it_heard_the_answer_gets_it(
    relay: Relay, scan: Path, state: Path, tmp_path: Path
) -> None:
    """Accepted, but still remembered: asked for again, with its key or another, it is the scan that the upload became,
    and nothing is sent."""
    kept = tmp_path / "kept"
    relay.answers = [b"HTTP/1.1 507 Full\r\n"]
    with client(relay) as sender:
        with pytest.raises(RicefishError):
            sender.submit(scan, fresh=True)
        shutil.copytree(state, kept)
        first = sender.submit(scan, fresh=True)
        shutil.copytree(kept, state, dirs_exist_ok=True)
        relay.forget()
        assert sender.submit(scan, fresh=True).id == first.id
        assert relay.sent_bytes < 10_000
        shutil.copytree(kept, state, dirs_exist_ok=True)
        assert sender.submit(scan).id == first.id
        assert relay.sent_bytes < 10_000
    assert list(state.iterdir()) == []


def test_a_refused_upload_is_not_sent_again(relay: Relay, tmp_path: Path, state: Path) -> None:
    """A TIFF without a spacing is refused; with one, what was sent becomes the scan."""
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.arange(9 * 400 * 400, dtype=np.uint16).reshape(9, 400, 400), photometric="minisblack")
    from scans.geometry import Spacing

    with client(relay) as sender:
        with pytest.raises(RicefishError, match="spacing"):
            sender.submit(stack)
        relay.forget()
        assert sender.submit(stack, spacing=Spacing(1.0, 2.0, 3.0)).slices_total == 9
    assert relay.sent_bytes < 10_000
    assert list(state.iterdir()) == []


def test_a_file_that_changes_is_another_one(server: RunningServer, relay: Relay, scan: Path, state: Path) -> None:
    """Between two runs, it is sent anew; during one, that is an error and not a mixture."""
    relay.answers = [b"HTTP/1.1 507 Full\r\n"]
    with client(relay) as sender:
        with pytest.raises(RicefishError):
            sender.submit(scan)
        os.utime(scan, ns=(0, 0))
        sender.submit(scan, fresh=True)
        assert relay.asked("POST", "/v1/uploads") == 2
        with pytest.raises(FileChanged, match=r"fish\.nii changed while it was being sent"):
            sender.submit(scan, fresh=True, report=lambda done: done and os.utime(scan, ns=(0, done)))
    assert len(list(state.iterdir())) == 1
    for upload in uploads(server).iterdir():
        shutil.rmtree(upload)


def test_a_home_that_cannot_be_written_is_no_obstacle(relay: Relay, scan: Path, tmp_path: Path) -> None:
    """Then what broke off goes on in the same run only."""
    (tmp_path / "state").write_text("no folder")
    relay.answers = [b"HTTP/1.1 502 Bad Gateway\r\n"]
    with client(relay) as sender:
        assert sender.submit(scan).slices_total == 48
    assert relay.asked("POST", "/v1/uploads") == 1
