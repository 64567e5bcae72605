"""How a stage is called: what the user can put right is one line with the way out, and a fault is a traceback."""

from __future__ import annotations

import errno
import importlib
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from scans.organs import OrganMapError
from scans.tracking import TRACKING_URI
from training.command import StageError, check_inputs, run_command
from training.learning.checkpoints import TEACHER, load_network

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the pipeline and its parameters, where no stage has run."""
    for name in (TRACKING_URI, "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("dvc.yaml", "params.yaml"):
        Path(name).write_text((REPOSITORY / name).read_text())
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], stage: str, *arguments: str) -> str:
    """The one line that a stage says at its end, with status 1; what MLflow says before is its own."""
    main = importlib.import_module(f"training.stages.{stage}").main
    with pytest.raises(SystemExit) as ended:
        run_command(stage, main, arguments)
    assert ended.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"{stage}: ")
    return last


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in {"resolve", "prepare"}])
def test_a_stage_out_of_order_says_which_comes_first(
    project: Path, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    """One line that names the file, the stage that makes it and the command; nothing is begun, and nothing removed."""
    with pytest.raises(SystemExit):
        run_command(stage, lambda: pytest.fail("it began"), [])
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    found = message.split()
    makers = {name for name, other in STAGES.items() if found[1] in _made(other)}
    assert makers and message == (
        f"{stage}: {found[1]} does not exist, and stage {makers.copy().pop()} makes it: "
        f"`dvc repro {makers.pop()}` runs it, and what it needs\n"
    )
    assert sorted(path.name for path in project.iterdir()) == ["dvc.yaml", "params.yaml"]


def _made(stage: dict[str, list[str | dict[str, object]]]) -> set[str]:
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return {path for entry in entries for path in ([entry] if isinstance(entry, str) else entry)}


@pytest.mark.slow
def test_a_raw_folder_that_is_not_there_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the command that names another, and what was prepared before stays."""
    (project / "data/prepared").mkdir(parents=True)
    message = said(capsys, "prepare")
    assert message.startswith(
        f"prepare: raw_dir in params.yaml is data/phantom, and {project}/data/phantom is no folder"
    )
    assert message.endswith("`dvc exp run -S raw_dir=FOLDER`")
    assert (project / "data/prepared").is_dir()


@pytest.mark.slow
def test_a_raw_folder_without_organs_and_a_parameter_out_of_range_are_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they are by the functions behind."""
    (project / "data/phantom").mkdir(parents=True)
    assert said(capsys, "prepare").startswith("prepare: data/phantom/organs.yaml does not exist; a data set needs")
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("seed: 1", "seed: -1"))
    assert said(capsys, "resolve").startswith("resolve: seed is -1; expected a number of at least 0")
    (project / "params.yaml").unlink()
    assert said(capsys, "prepare").startswith(f"prepare: {project}/params.yaml does not exist; stages run in the root")


def test_resolve_warns_of_a_raw_folder_that_is_not_there(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    """DVC's own error about it, which comes next, says nothing of params.yaml."""
    main = importlib.import_module("training.stages.resolve").main
    run_command("resolve", main, [])
    assert "raw_dir in params.yaml is data/phantom, and there is no such folder" in caplog.text
    caplog.clear()
    (project / "data/phantom").mkdir(parents=True)
    (project / "params.resolved.yaml").unlink()
    run_command("resolve", main, [])
    assert not caplog.messages


def test_missing_weights_are_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the pipeline's file is not there to say it first."""
    (project / "dvc.yaml").unlink()
    with pytest.raises(SystemExit):
        run_command("pseudo_label", lambda: load_network(TEACHER) and None, [])
    message = f"pseudo_label: {TEACHER} does not exist; the stage that trains it has to run first\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk of {cwd} is full (No space left on device); make"),
        (
            OSError(errno.EROFS, "Read-only file system", "data/x"),
            "data/x cannot be used (Read-only file system)",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), "x: No such file or directory"),
        (FileNotFoundError("x is gone"), "x is gone"),
    ],
)
def test_what_is_wrong_with_a_disk_is_said_with_the_way_out(
    error: OSError, message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Full, or not to be written; other errors of files name the file."""

    def main() -> NoReturn:
        raise error

    with pytest.raises(SystemExit):
        run_command("prepare", main, [])
    assert capsys.readouterr().err.startswith(f"prepare: {message.format(cwd=project)}")


@pytest.mark.parametrize("error", [StageError("few"), OrganMapError("few"), FileNotFoundError(2, "few", "x")])
def test_debug_shows_where_an_error_arose(error: Exception) -> None:
    """The same error is raised, and Python prints its traceback."""

    def main() -> NoReturn:
        raise error

    with pytest.raises(SystemExit):
        run_command("resolve", main, [])
    with pytest.raises(type(error)) as raised:
        run_command("resolve", main, ["--debug"])
    assert raised.value is error


@pytest.mark.parametrize(
    "error", [MemoryError(), MemoryError("Unable to allocate 3 TiB"), RuntimeError("can't allocate memory: 9 bytes")]
)
def test_a_full_memory_is_one_line_that_says_what_takes_less(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of NumPy and of torch, which each say it in a way of their own."""

    def main() -> NoReturn:
        raise error

    with pytest.raises(SystemExit):
        run_command("prepare", main, [])
    message = capsys.readouterr().err
    assert message.startswith("prepare: the memory is full (") and str(error) in message
    assert "a smaller batch_size" in message and message.count("\n") == 1


def test_a_fault_of_the_program_is_a_traceback() -> None:
    """What no user can put right is not made to look like a mistake of theirs."""
    with pytest.raises(KeyError):
        run_command("resolve", lambda: {}["key"], [])


def test_stopping_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C."""

    def main() -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run_command("prepare", main, [])
    assert (ended.value.code, capsys.readouterr().err) == (130, "prepare: stopped\n")


def test_a_broken_pipeline_file_is_named(project: Path) -> None:
    """And not passed over."""
    (project / "dvc.yaml").write_text("stages: [")
    with pytest.raises(StageError, match=r"dvc\.yaml holds no stages"):
        check_inputs("prepare")
