"""What is wrong with a command for many scans is told in one line, before anything is sent: there is no server."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ricefish.cli.app import app
from ricefish.cli.batch_state import STATE_FILE, BatchState, BatchUnderWay, remove_partial, results_folder

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a/fish.nii", "b/fish.tif", "b/Fish.nrrd", "c/fish.nii.gz"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a/fish.nii b/fish.tif -o out", "a/fish.nii and b/fish.tif would both become out/fish.nii.gz, and nothing"),
        ("b -o out", "b/Fish.nrrd and b/fish.tif would both become out/fish.nii.gz"),
        ("c/fish.nii.gz a -o c", "c/fish.nii.gz is a scan itself, and nothing was sent"),
        ("a c -o organs.nii.gz", "organs.nii.gz names one file, and there are 2 scans; give a folder, and --format"),
        ("a c -o organs.nii", "organs.nii names one file, and there are 2 scans"),
        ("a -o organs.nii", "organs.nii: a segmentation is fetched as one of .dcm, .nii.gz"),
        ("a/fish.nii -o out.tif --format tif", "--format is for scans that go into a folder; here out.tif says"),
        ("a -o out --format docx", "--format is 'docx'; it is one of nii.gz, tif, tiff, seg.nrrd, nrrd, ome.zarr.zip"),
        ("a -o out --format nrrd --with-scan", "the scan and its segmentation are fetched as one of .ome.zarr"),
        ("'d*' -o out", "d*: no file or folder has such a name"),
        ("a none.nii -o out", "none.nii does not exist"),
        ("a -o a/fish.nii/out", "a/fish.nii/out: no folder of results can be made there: Not a directory"),
        ("a -o out --spacing 1,1", "--spacing is '1,1'; give Z,Y,X in mm"),
        (
            "a -o out --spacing 1,1,wide",
            "--spacing is '1,1,wide'; give Z,Y,X in mm, such as 0.01,0.005,0.005 (could",
        ),
        ("a -o a", "a is both where the scans are and where the results go; give another folder with -o"),
        ("a -o out", "no answer from http://127.0.0.1:9"),
    ],
)
def test_nothing_is_sent(words: str, message: str) -> None:
    """Status 1 and one line; a server that is not there at all is told at once, too."""
    ended = CliRunner().invoke(app, ["segment", *words.replace("'", "").split(), "--server", NOWHERE])
    assert ended.exit_code == 1
    assert ended.stderr.startswith("ricefish: ") and ended.stderr.count("\n") == 1
    assert message in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize("words", ["a -o out --jobs 0", "a -o out --jobs 65", "-o out"])
def test_what_no_command_is_has_the_usage(words: str) -> None:
    """Status 2, as typer has it."""
    assert CliRunner().invoke(app, ["segment", *words.split(), "--server", NOWHERE]).exit_code == 2


def test_one_command_at_a_time_fills_a_folder() -> None:
    """The second is told so; the lock goes with the first."""
    Path("out").mkdir()
    with results_folder(Path("out")):
        ended = CliRunner().invoke(app, ["segment", "a", "-o", "out", "--server", NOWHERE])
        assert (ended.exit_code, "another ricefish segment is at work on this folder" in ended.stderr) == (1, True)
        with pytest.raises(BatchUnderWay), results_folder(Path("out")):
            pass
    with results_folder(Path("out")):
        pass
    assert list(Path("out").iterdir()) == []


SCANS = [Path("a/fish.nii"), Path("b/fish.tif")]


def _ended(words: str, meanwhile: Callable[[], object] = lambda: None, *, forgotten: bool = False) -> BatchState:
    """The state of a batch of these scans that is at its end, whether something failed or all of it is made."""
    with results_folder(Path()) as folder:
        state = folder.begun(words, SCANS)
        meanwhile()
        if forgotten:
            folder.forget()
    return state


def test_a_batch_that_was_ended_is_known_by_its_words() -> None:
    """What it wrote is told from what was there before; one of which nothing was left, or that is asked for otherwise,
    is not gone on with.
    """
    old, new = Path("old"), Path("new")
    old.write_text("before")
    os.utime(old, (1, 1))
    first = _ended("--force", lambda: new.write_text("after"))
    second, third = _ended("--force"), _ended("--force", forgotten=True)
    assert not first.wrote(SCANS[0], new)
    for state in (second, third):
        assert (state.token, state.wrote(SCANS[0], old), state.wrote(SCANS[0], new)) == (first.token, False, True)
    assert not Path(STATE_FILE).exists()
    fourth, fifth = _ended("--force"), _ended("--force --fresh")
    assert len({first.token, fourth.token, fifth.token}) == 3
    assert not fourth.wrote(SCANS[0], new) and not fifth.wrote(SCANS[0], new)
    Path(STATE_FILE).write_text("torn")
    assert not _ended("--force").since_ns


def test_scans_that_changed_since_are_made_again() -> None:
    """By their size or the time of their change, each for itself, and from then on they count as the others do."""
    new = Path("new")
    _ended("--force", lambda: new.write_text("after"))
    SCANS[1].write_bytes(b"other")
    second = _ended("--force")
    assert (second.wrote(SCANS[0], new), second.wrote(SCANS[1], new)) == (True, False)
    third = _ended("--force", lambda: new.write_text("again"))
    assert _ended("--force").wrote(SCANS[1], new) and third.token == second.token
    os.utime(SCANS[0], (1, 1))
    assert not _ended("--force").wrote(SCANS[0], new)


def test_a_server_that_is_not_there_costs_a_batch_nothing() -> None:
    """What is kept of one that was interrupted is kept, whatever the command that nothing comes of asks for."""
    _ended("--force")
    Path(STATE_FILE).rename(Path("a", STATE_FILE))
    before = Path("a", STATE_FILE).read_bytes()
    for words in ([], ["--force"]):
        ended = CliRunner().invoke(app, ["segment", "b/fish.tif", "-o", "a", *words, "--server", NOWHERE])
        assert (ended.exit_code, "no answer from" in ended.stderr) == (1, True)
    assert Path("a", STATE_FILE).read_bytes() == before


def test_what_killed_commands_leave_is_removed_and_nothing_else() -> None:
    """Parts of the results that are asked for; a folder that was about to be replaced is put back."""
    Path("out").mkdir()
    uuid = "0" * 32
    for name in (f".a.nii.gz.{uuid}.part", f".other.nii.gz.{uuid}.part", ".a.nii.gz.part"):
        Path("out", name).write_text("x")
    for name in (f".b.ome.zarr.{uuid}.before", f".b.ome.zarr.{uuid}.unpacked"):
        Path("out", name).mkdir()
        Path("out", name, "zarr.json").write_text(name)
    remove_partial([Path("out/a.nii.gz"), Path("out/b.ome.zarr"), Path("none/c.nii.gz")])
    left = {path.name for path in Path("out").iterdir()}
    assert left == {f".other.nii.gz.{uuid}.part", ".a.nii.gz.part", "b.ome.zarr"}
    assert Path("out/b.ome.zarr/zarr.json").read_text().endswith("before")
