"""What `ricefish doctor` looks at: port, certificate, disks, whether there is a model; and that it makes nothing."""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from serving.observability.findings import Finding, Level
from serving.process.diagnosis import audit, examine
from serving.process.diagnosis.listening import certificate, port
from serving.process.diagnosis.machine import disks
from serving.settings import Settings
from tests.certificates import self_signed


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RICEFISH_TEST_DATA", raising=False)
    monkeypatch.setenv("RICEFISH_DEVICE", "cpu")


def looked(**given: object) -> Mapping[str, Finding]:
    return {finding.name: finding for finding in examine(scan_bytes=1000, port=0, **given)}


def test_without_a_model_it_fails_and_makes_nothing(tmp_path: Path) -> None:
    """A server would not start; a worker would, and is asked for by name."""
    wanted = tmp_path / "not" / "there" / "store"
    findings = looked(store=wanted)
    assert findings["model"].level is Level.FAIL and "RICEFISH_MODEL is not set" in findings["model"].found
    assert {name for name, one in findings.items() if one.level is Level.FAIL} == {"model"}
    assert f"{wanted}, which a server makes: " in findings["store"].found
    assert f"{wanted / 'jobs.sqlite'}, which a server makes: " in findings["database"].found
    assert list(tmp_path.iterdir()) == []
    of_worker = looked(store=wanted, worker=True)
    assert set(findings) - set(of_worker) == {"model", "port", "certificate"}
    assert list(tmp_path.iterdir()) == []


def test_a_model_repository_is_enough(tmp_path: Path) -> None:
    """A server with plain models alone starts."""
    found = looked(store=tmp_path / "store", model_repository=tmp_path)["model"]
    assert (found.level, found.found) == (Level.OK, f"none but the plain models in {tmp_path}")


def test_a_folder_that_is_no_store_stays_as_it_is(tmp_path: Path) -> None:
    """Neither of the two looks puts anything into it; --store says that it is none."""
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam")
    looked(store=tmp_path)
    (found,) = audit(store=tmp_path)
    assert found.level is Level.FAIL and f"{tmp_path} is no store: no server has worked there" in found.found
    (missing,) = audit(store=tmp_path / "elsewhere")
    assert missing.level is Level.FAIL and "is no store" in missing.found
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_a_port_that_another_program_has_is_told() -> None:
    """A free one, and one that is taken by a program which is asked for its health and never answers."""
    assert port(Settings(port=0)).level is Level.OK
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        taken.close()
        assert port(Settings(port=number)).level is Level.OK
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(0)
        refused = port(Settings(port=held.getsockname()[1]))
    assert refused.level is Level.FAIL and "another program has it" in refused.found and "ss -ltnp" in refused.advice


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine_is_told(host: str) -> None:
    """An address of another machine, and a name of none."""
    elsewhere = port(Settings(host=host, port=0))
    assert elsewhere.level is Level.FAIL and "RICEFISH_HOST is an address" in elsewhere.advice


def test_a_port_of_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 1024."""

    def bind(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    refused = port(Settings(port=443))
    assert refused.level is Level.FAIL and "Ports below 1024 are root's" in refused.advice


def test_a_certificate_is_shown_to_a_client(tmp_path: Path) -> None:
    """One that holds, one that ends soon, one that has ended, a pair that does not belong together, and none."""
    assert certificate(Settings()).found == "none: the server speaks HTTP"
    expected = {90: (Level.OK, "127.0.0.1, valid for 90 days"), 3: (Level.WARN, "valid for 3 days")}
    for days, (level, words) in expected.items():
        pem = self_signed(tmp_path, name=f"of_{days}", days=days)
        found = certificate(Settings(tls_certificate=pem, tls_key=pem))
        assert found.level is level and words in found.found
    old = self_signed(tmp_path, name="old", days=-1)
    ended = certificate(Settings(tls_certificate=old, tls_key=old))
    assert ended.level is Level.FAIL and "expired" in ended.found and "renewed" in ended.advice
    for key in (old, tmp_path / "none.pem"):
        torn = certificate(Settings(tls_certificate=tmp_path / "of_90.pem", tls_key=key))
        assert torn.level is Level.FAIL and "PEM files of one pair" in torn.advice


def test_room_is_counted_against_what_a_scan_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 GB take 2.125 times as much and 0.268 GB stay free; folders on one disk share it."""
    folders = {"store": tmp_path / "store", "scratch": tmp_path / "store" / "scratch"}
    for free, level in ((25e9, Level.FAIL), (26e9, Level.WARN), (78e9, Level.OK)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=int(free), total=10**12))
        found = disks(folders, scan_bytes=12_000_000_000)
        assert found.level is level
        assert found.found == f"store and scratch {free / 1e9:.1f} GB free, 25.8 GB needed for one scan of 12 GB"
