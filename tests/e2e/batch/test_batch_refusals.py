"""What is wrong with a command for many scans is told in one line, before anything is sent: there is no server."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ricefish.cli.app import app
from ricefish.cli.batch_state import STATE_FILE, BatchState, BatchUnderWay, batch_state, remove_partial

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
        ("a -o organs.nii", "organs.nii: a segmentation is fetched as one of .nii.gz"),
        ("a/fish.nii -o out.tif --format tif", "--format is for scans that go into a folder; here out.tif says"),
        ("a -o out --format docx", "--format is 'docx'; it is one of nii.gz, tif, tiff, seg.nrrd, nrrd, ome.zarr.zip"),
        ("a -o out --format nrrd --with-scan", "the scan and its segmentation are fetched as one of .ome.zarr"),
        ("'d*' -o out", "d*: no file or folder has such a name"),
        ("a none.nii -o out", "none.nii does not exist"),
        ("a -o a/fish.nii/out", "a/fish.nii/out: no folder of results can be made there: Not a directory"),
        ("a -o out --spacing 1,1", "--spacing is '1,1'; give Z,Y,X in mm"),
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
    with batch_state(Path("out"), "words"):
        ended = CliRunner().invoke(app, ["segment", "a", "-o", "out", "--server", NOWHERE])
        assert (ended.exit_code, "another ricefish segment is at work on this folder" in ended.stderr) == (1, True)
        with pytest.raises(BatchUnderWay), batch_state(Path("out"), "words"):
            pass
    with batch_state(Path("out"), "words"):
        pass
    assert list(Path("out").iterdir()) == []


def _interrupted(words: str, meanwhile: Callable[[BatchState], object] = lambda _: None) -> BatchState:
    """The state of a batch that Ctrl-C ended."""
    states = []
    with suppress(KeyboardInterrupt), batch_state(Path(), words) as state:
        states.append(state)
        meanwhile(state)
        raise KeyboardInterrupt
    return states[0]


def test_a_batch_that_was_ended_is_known_by_its_words() -> None:
    """What it wrote is told from what was there before; one that came to its end, or is asked for otherwise, is not
    gone on with.
    """
    old, new = Path("old"), Path("new")
    old.write_text("before")
    os.utime(old, (1, 1))
    first = _interrupted("--force", lambda _: new.write_text("after"))
    second = _interrupted("--force")
    assert not first.wrote(new)
    assert (second.token, second.wrote(old), second.wrote(new)) == (first.token, False, True)
    with batch_state(Path(), "--fresh") as third:
        assert third.token != first.token and not third.wrote(new)
    with batch_state(Path(), "--force") as fourth:
        assert fourth.token != first.token and not fourth.wrote(new)
    with suppress(OSError), batch_state(Path(), "--force"):
        raise OSError("no server")
    assert not Path(STATE_FILE).exists()
    Path(STATE_FILE).write_text("torn")
    with batch_state(Path(), "--force") as fifth:
        assert fifth.since_ns is None


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
