"""Large files through `ricefish segment`: what breaks off goes on where it stopped."""

from __future__ import annotations

import os
import pty
import re
import signal
import time
from pathlib import Path

import pytest

from ricefish.client import Client, RicefishError
from tests.e2e.resumable.relay import Relay
from tests.e2e.resumable.sending import (
    KEY,
    assert_right,
    client,
    on_a_terminal,
    settled,
    start,
    until_half,
    uploads,
)
from tests.serving.running import RunningServer


def test_a_killed_client_goes_on_where_it_stopped(
    server: RunningServer, relay: Relay, model: Path, scan: Path, state: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle: the second run sends the remainder, shows the rest as done, and leaves no state."""
    out = tmp_path / "organs.nii.gz"
    relay.bytes_per_second = 20e6
    first = start(relay, scan, out)
    data = until_half(server)
    first.kill()
    first.communicate()
    at = settled(server, data)
    (upload_state,) = state.iterdir()
    assert KEY not in upload_state.read_text() and data.parent.name in upload_state.read_text()

    relay.forget()
    ours, theirs = pty.openpty()
    second = start(relay, scan, out, stderr=theirs)
    os.close(theirs)
    said, drawn = on_a_terminal(second, ours)
    os.close(ours)
    assert second.returncode == 0, drawn
    missing = scan.stat().st_size - at
    assert missing <= relay.sent_bytes < missing + 100_000
    assert relay.asked("POST", "/v1/uploads") == 0
    shown = [float(done) for done in re.findall(r"sending.*?([\d.]+)/25\.2 MB", drawn)]
    assert shown and min(filter(None, shown)) >= at / 1e6 - 0.1
    assert_right(model, scan, out)
    assert "heart" in said
    assert list(state.iterdir()) == [] and list(uploads(server).iterdir()) == []
    assert list(scan.parent.iterdir()) == [scan]


def test_a_killed_server_is_waited_for(
    server: RunningServer, relay: Relay, model: Path, scan: Path, state: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle, started again a moment later: the same run goes on with the same upload."""
    out = tmp_path / "organs.nii.gz"
    relay.bytes_per_second = 20e6
    running = start(relay, scan, out)
    data = until_half(server)
    server.end(signal.SIGKILL)
    at = data.stat().st_size
    time.sleep(1)
    relay.bytes_per_second = None
    server.start(same_port=True)
    _, complained = running.communicate(timeout=120)
    assert running.returncode == 0, complained
    assert complained.count("trying again for 300 s") == 1
    assert relay.asked("POST", "/v1/uploads") == 1
    assert at <= relay.sent_bytes - (scan.stat().st_size - at) < at + (8 << 20)
    assert_right(model, scan, out)
    assert list(state.iterdir()) == []


def test_each_request_has_the_key_and_nobody_sees_it(
    relay: Relay, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment or as a parameter, as a bearer token; not in what is printed, nor in an error about it."""
    running = start(relay, scan, tmp_path / "organs.nii.gz", "--priority", "backlog", "--fresh")
    said, complained = running.communicate(timeout=120)
    assert running.returncode == 0, complained
    assert relay.heads and all(b"Bearer " + KEY.encode() + b"\r\n" in head for head in relay.heads)
    assert KEY not in said + complained
    relay.forget()
    monkeypatch.setenv("RICEFISH_API_KEY", "another")
    with client(relay, key=KEY + "\n") as given, pytest.raises(RicefishError, match="no scan"):
        given.status("0" * 32)
    assert b"Bearer " + KEY.encode() + b"\r\n" in relay.heads[0]
    with pytest.raises(ValueError, match=r"RICEFISH_API_KEY\) holds a space") as refused:
        Client(key=f"{KEY}\r\nX: y")
    assert KEY not in str(refused.value)


def test_a_file_is_sent_by_one_process_at_a_time(server: RunningServer, relay: Relay, scan: Path) -> None:
    """A second one is told so, and does not disturb the first."""
    relay.bytes_per_second = 10e6
    first = start(relay, scan, scan.parent / "first.nii.gz")
    until_half(server)
    relay.bytes_per_second = 1e5
    second = start(relay, scan, scan.parent / "second.nii.gz")
    _, complained = second.communicate(timeout=60)
    assert second.returncode == 1
    assert complained == f"ricefish: {scan} is being sent to {relay.url} by another process already\n"
    relay.bytes_per_second = None
    assert first.wait(60) == 0
    first.communicate()
