"""Large files through `ricefish segment` and `Client.submit`: what breaks off goes on where it stopped."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile

from ricefish.client import RESUMABLE_BYTES, Client, RicefishError
from ricefish.resumable import FileChanged
from scans.formats import open_volume
from scans.intensity import IntensityRule
from tests.e2e.relay import Relay
from tests.serving.models import run_offline, write_model
from tests.serving.running import RunningServer

ENOUGH_BYTES = 9 << 20
"""By then the first part, of 4 MiB, has been kept, and the second is under way."""
KEY = "rf_not-to-be-shown"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("server"), model)
    yield running.start()
    running.end()


@pytest.fixture
def relay(server: RunningServer) -> Iterator[Relay]:
    between = Relay(lambda: server.url)
    yield between
    between.close()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where uploads are remembered."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "ricefish" / "uploads"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """25 MB, other ones for each test."""
    seed = int.from_bytes(tmp_path.name.encode(), "little")
    grey = np.random.default_rng(seed).integers(0, 999, (48, 512, 512)).astype(np.int16)
    path = tmp_path / "scans" / "fish.nii"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(grey.T, np.diag([0.01, 0.02, 0.03, 1])), path)
    return path


def start(relay: Relay, scan: Path, out: Path, *options: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ricefish", "segment", str(scan), "-o", str(out), "--server", relay.url]
    environment = {**os.environ, "RICEFISH_API_KEY": KEY, "COLUMNS": "120", "TERM": "xterm"}
    return subprocess.Popen(
        [*command, "--resume-above", "1", *options], env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
    )


def uploads(server: RunningServer) -> Path:
    return server.store / "scratch" / "uploads"


def until_half(server: RunningServer) -> Path:
    """The file of the only upload, once the client is in its middle."""
    server.until(lambda: any(data.stat().st_size > ENOUGH_BYTES for data in uploads(server).glob("*/data")))
    (data,) = uploads(server).glob("*/data")
    return data


def settled(server: RunningServer, data: Path) -> int:
    """How much the server keeps of an upload whose client is gone: whole parts, of 4, 8 and 16 MiB."""
    server.until(lambda: data.stat().st_size in (4 << 20, 12 << 20))
    return data.stat().st_size


def assert_right(model: Path, scan: Path, out: Path) -> None:
    with open_volume(scan) as volume:
        expected = run_offline(model, volume.read(), IntensityRule(0.0, 100.0).window(volume))
    np.testing.assert_array_equal(np.asarray(nib.load(out).dataobj).T, expected)


def client(relay: Relay, **options: float) -> Client:
    return Client(relay.url, **{"resumable_bytes": 1 << 20, "patience_seconds": 20.0, **options})


def on_a_terminal(process: subprocess.Popen[str], terminal: int) -> tuple[str, str]:
    """What a process says on stdout and draws on its terminal."""
    drawn: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(terminal, 65536):
                drawn.append(piece)
        except OSError:  # Linux: the last process on it has ended
            return

    reader = threading.Thread(target=read)
    reader.start()
    said, _ = process.communicate(timeout=120)
    reader.join()
    return said, b"".join(drawn).decode()


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
    (remembered,) = state.iterdir()
    assert KEY not in remembered.read_text() and data.parent.name in remembered.read_text()

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
    server.start(port=server.url.rpartition(":")[2])
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
    with pytest.raises(ValueError, match="key holds a space") as refused:
        Client(key=f"{KEY}\r\nX: y")
    assert KEY not in str(refused.value)


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
    assert time.monotonic() - began < 10
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
    """Accepted, but still remembered: asked for again it is the same scan, and nothing is sent; with another spacing
    it is another scan."""
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
        assert relay.sent_bytes > scan.stat().st_size
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


def test_a_home_that_cannot_be_written_is_no_obstacle(relay: Relay, scan: Path, tmp_path: Path) -> None:
    """Then what broke off goes on in the same run only."""
    (tmp_path / "state").write_text("no folder")
    relay.answers = [b"HTTP/1.1 502 Bad Gateway\r\n"]
    with client(relay) as sender:
        assert sender.submit(scan).slices_total == 48
    assert relay.asked("POST", "/v1/uploads") == 1
