"""`ricefish segment` looks where its answer is to go before it sends anything."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ricefish.cli import segment as command
from ricefish.cli.app import app
from ricefish.cli.output import OutputRefused, check_output, check_source
from ricefish.client.client import Client, ScanStatus

SCAN = ScanStatus("a" * 32, "succeeded", 1, 1, None, None, None, "fish")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("fish.nii").write_bytes(bytes(1000))
    Path("here.nii.gz").write_bytes(b"of yesterday")
    Path("folder.nii.gz").mkdir()
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("nowhere/organs.nii.gz", "nowhere/organs.nii.gz: there is no folder /"),
        ("here.nii.gz", "here.nii.gz exists; --force replaces it"),
        ("/proc/organs.nii.gz", "/proc/organs.nii.gz: the folder /proc cannot be written: "),
    ],
)
def test_where_the_answer_cannot_go_nothing_is_sent(out: str, message: str) -> None:
    """One line and status 1; the server is not even asked, for there is none."""
    ended = CliRunner().invoke(app, ["segment", "fish.nii", "-o", out, "--server", "http://127.0.0.1:9"])
    assert ended.exit_code == 1
    assert ended.stderr.startswith(f"ricefish: {message}") and ended.stderr.count("\n") == 1
    assert Path("here.nii.gz").read_bytes() == b"of yesterday"


@pytest.mark.usefixtures("folder")
def test_a_full_disk_and_a_folder_in_the_way_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The room that a segmentation takes at least is counted by the size of the scan."""
    with pytest.raises(OutputRefused, match=r"folder\.nii\.gz is a folder; name a file"):
        check_output(Path("folder.nii.gz"), sent_bytes=1000, force=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=30_000_000))
    check_output(Path("new.nii.gz"), sent_bytes=2_000_000_000, force=False)
    with pytest.raises(OutputRefused, match=r"has 30\.0 MB left; the segmentation of this scan takes 40\.0 MB or more"):
        check_output(Path("new.nii.gz"), sent_bytes=4_000_000_000, force=False)


def test_force_replaces_what_is_there_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, after the scan's id; a new file is not spoken of."""
    client = Client("http://127.0.0.1:9")
    monkeypatch.setattr(client, "submit", lambda *_, **__: SCAN)
    monkeypatch.setattr(client, "wait", lambda _: iter([SCAN]))
    monkeypatch.setattr(client, "download", lambda _, path, **__: path.write_bytes(b"of today"))
    monkeypatch.setattr(client, "labels", lambda _: "names and colours")
    monkeypatch.setattr(client, "organs", lambda _: [])
    command.segment(client, folder / "fish.nii", Path("here.nii.gz"), force=True)
    said = capsys.readouterr().err
    assert said == f"scan {SCAN.id}\nhere.nii.gz was there before, and is replaced\n"
    assert Path("here.nii.gz").read_bytes() == b"of today"
    command.segment(client, folder / "fish.nii", Path("new.nii.gz"))
    assert capsys.readouterr().err == f"scan {SCAN.id}\n"
    Path("new.nii.gz").unlink()
    with pytest.raises(OutputRefused, match=r"new_labels\.txt exists"):
        command.segment(client, folder / "fish.nii", Path("new.nii.gz"))
    client.close()


@pytest.mark.parametrize("name", ["fish.nii", "fish.nii.gz", "fish.tif"])
def test_dicom_of_what_is_no_dicom_is_refused_before_it_is_sent(name: str, folder: Path) -> None:
    """The formats that there are stand in the message."""
    begin = {"fish.nii": bytes(344) + b"n+1\0", "fish.nii.gz": b"\x1f\x8b\x08", "fish.tif": b"II*\0"}[name]
    (folder / name).write_bytes(begin + bytes(600))
    ended = CliRunner().invoke(app, ["segment", name, "-o", "organs.dcm", "--server", "http://127.0.0.1:9"])
    assert ended.exit_code == 1
    assert f"{name} is none; name a file such as organs.nii.gz" in ended.stderr


@pytest.mark.parametrize("start", [bytes(128) + b"DICM", b"PK\3\4", b"\x08\0\x05\0CS\x0a\0ISO_IR 100"])
def test_what_may_be_dicom_is_sent(start: bytes, folder: Path) -> None:
    """A file with its prefix or without, and a zip, of which nobody knows before it is opened."""
    (folder / "series").write_bytes(start + bytes(600))
    check_source(folder / "series", folder / "organs.dcm")
    check_source(folder, folder / "organs.dcm")
