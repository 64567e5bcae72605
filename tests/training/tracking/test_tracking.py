"""Runs in a real SQLite store: nesting, what is logged, how they end, and several processes that make one at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from ricefish.cli.app import app
from scans.tracking import TRACKING_URI
from tests.tracking_stores import write_store
from training.params import Refine
from training.tracking import provenance, runs
from training.tracking.history import past_runs
from training.tracking.model_files import download

pytestmark = pytest.mark.slow

SECTION = Refine(quality_classifier=True, threshold=0.5, least_confidence=0.0, keep_empty=False, components=False)
ROOT = Path(__file__).resolve().parents[3]
FOUR_AT_ONCE = """
import os, sys
import mlflow
from training.tracking import runs

forks = []
for _ in range(4):
    if not (fork := os.fork()):
        runs.experiment_id(runs.connect())
        sys.exit()
    forks.append(fork)
sys.exit(any(os.waitpid(fork, 0)[1] for fork in forks))
"""
"""Four processes, which have imported already what takes seconds."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, without MLflow settings from outside."""
    for name in (TRACKING_URI, "RANK", provenance.DVC_STAGE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(provenance.REPRODUCTION, "this repro")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def made_store(store: Path) -> Path:
    """The same, where the tables have been made already."""
    return write_store(store / "mlflow.db").parent


def runs_by_name() -> dict[str, Any]:
    """Every run by its name; the parent's is `repro`."""
    client = runs.connect()
    found = client.search_runs([runs.experiment_id(client)])
    return {run.info.run_name.split()[0]: run for run in found}


def test_stages_of_one_repro_are_runs_inside_one_parent(store: Path) -> None:
    """Two stages make three runs: each is finished, has its params, metrics, files and tags, and names the parent."""
    with runs.stage_run("refine", section=SECTION, seed=7) as run:
        run.metrics({"kept": 12.0, "dice/left eye (L)": 0.5}, step=3)
        (store / "report.txt").write_text("well")
        run.file(store / "report.txt", folder="reports")
        run.tag("note", "first")
    with runs.stage_run("register", section=SECTION, seed=7):
        pass
    found = runs_by_name()
    parent, child = found["repro"], found["refine"]
    assert set(found) == {"repro", "refine", "register"}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert child.data.tags["mlflow.parentRunId"] == found["register"].data.tags["mlflow.parentRunId"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    expected = {
        "seed": "7",
        "quality_classifier": "True",
        "threshold": "0.5",
        "least_confidence": "0.0",
        "keep_empty": "False",
        "components": "False",
    }
    assert child.data.params == expected
    assert child.data.metrics["kept"] == 12.0
    assert child.data.metrics["dice/left eye _L_"] == 0.5
    assert (child.data.tags["ricefish.stage"], child.data.tags["note"]) == ("refine", "first")
    report = download(f"runs:/{child.info.run_id}/reports/report.txt", store / "fetched")
    assert report.read_text() == "well"
    assert (store / "mlflow.db").exists()
    assert (store / "mlruns").is_dir()


@pytest.mark.usefixtures("made_store")
def test_the_parent_has_the_headline_and_all_parameters() -> None:
    """More parameters than MLflow takes at once, those of stages that did not run as well; the table shows the run."""
    parameters = {f"stage.value_{number}": number for number in range(130)}
    with runs.stage_run("refine", section=SECTION, seed=7, parameters=parameters) as run:
        run.headline({"student_dice": 0.75})
    with runs.stage_run("register", section=SECTION, seed=7, parameters=parameters) as run:
        run.registered("models:/fish/3")
    found = runs_by_name()
    assert found["repro"].data.params == {name: str(value) for name, value in parameters.items()}
    assert found["repro"].data.metrics == {"student_dice": 0.75}
    assert "student_dice" not in found["refine"].data.metrics
    assert found["register"].data.tags[runs.MODEL_TAG] == "models:/fish/3"
    (past,) = past_runs(limit=5)
    assert (past.id, past.status, past.model) == (found["repro"].info.run_id, "FINISHED", "models:/fish/3")
    shown = CliRunner().invoke(app, ["runs"])
    assert shown.exit_code == 0, shown.output
    (line,) = [line for line in shown.output.splitlines() if past.id[:8] in line]
    assert [word in line for word in ("finished", "0.7500", "fish/3")] == [True] * 3
    (entry,) = json.loads(CliRunner().invoke(app, ["runs", "--json"]).output)
    assert (entry["metrics"], entry["parameters"]["stage.value_129"]) == ({"student_dice": 0.75}, "129")


@pytest.mark.parametrize("command", [["runs"], ["models", "list", "fish"], ["models", "promote", "fish"]])
def test_a_look_into_a_folder_without_runs_makes_none(store: Path, command: list[str]) -> None:
    """Of somebody in another folder than they meant: the file that is not there is named, and is not made."""
    looked = CliRunner().invoke(app, command)
    assert looked.exit_code == 1
    assert f"{store}/mlflow.db does not exist; run this in the folder where the pipeline ran" in looked.output
    assert not [*store.iterdir()]


@pytest.mark.usefixtures("made_store")
def test_a_stage_that_fails_ends_its_run_and_the_parent_as_failed() -> None:
    """The error goes through; an interrupt from the keyboard is a run that was killed."""
    with pytest.raises(ValueError, match="no data"), runs.stage_run("refine", section=SECTION, seed=1):
        raise ValueError("no data")
    assert {run.info.status for run in runs_by_name().values()} == {"FAILED"}
    with pytest.raises(KeyboardInterrupt), runs.stage_run("register", section=SECTION, seed=1):
        raise KeyboardInterrupt
    assert runs_by_name()["register"].info.status == "KILLED"


@pytest.mark.usefixtures("made_store")
def test_a_run_of_a_process_that_was_killed_is_ended_by_the_next() -> None:
    """SIGKILL leaves a run open; a run of a process that lives is left alone."""
    client = runs.connect()
    experiment = runs.experiment_id(client)
    gone = provenance.tags(provenance.Process(pid=os.getpid(), created=1.0))
    client.create_run(experiment, run_name="gone", tags=gone)
    client.create_run(experiment, run_name="alive", tags=provenance.tags(provenance.Process.current()))
    with runs.stage_run("refine", section=SECTION, seed=1):
        pass
    assert runs_by_name()["gone"].info.status == "KILLED"
    assert runs_by_name()["alive"].info.status == "RUNNING"


def test_other_processes_of_a_distributed_training_log_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that torchrun started, only the one of rank 0 has a run."""
    monkeypatch.setenv("RANK", "1")
    with runs.stage_run("train_teacher", section=SECTION, seed=1) as run:
        run.metric("loss", 0.5)
        run.tag("note", "unheard")
    assert run.run_id == ""
    assert not (store / "mlflow.db").exists()


def test_a_server_that_does_not_answer_stops_the_stage_before_it_works(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the server and the way out."""
    monkeypatch.setenv(TRACKING_URI, "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = runs.stage_run("refine", section=SECTION, seed=1)
    with pytest.raises(runs.TrackingError, match=r"http://127\.0\.0\.1:9 (.|\n)*unset MLFLOW_TRACKING_URI"):
        run.__enter__()


def test_what_the_store_does_not_take_is_sent_later(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store that fails twice does not end a training, and has every figure in the end."""

    class Flaky:
        def __init__(self) -> None:
            self.failures = 2
            self.taken: list[float] = []

        def log_batch(self, run_id: str, *, metrics: list[Any]) -> None:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("no route to host")
            self.taken.append(metrics[0].value)

    flaky: Any = Flaky()
    run = runs.StageRun(flaky, "run")
    run.metric("loss", 0.5)
    run.metric("loss", 0.4)
    assert (flaky.taken, "no route to host" in caplog.text) == ([], True)
    assert run.flush() == 2
    assert run.flush() == 0
    assert flaky.taken == [0.5, 0.4]


def test_a_file_that_does_not_exist_is_an_error_at_once(store: Path) -> None:
    """A figure that was never drawn is the stage's fault, not the store's."""
    client: Any = object()
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        runs.StageRun(client, "run").file(store / "absent.png")


@pytest.mark.process
def test_four_processes_may_be_the_first_to_use_a_store(store: Path) -> None:
    """All four start on a SQLite file that does not exist, and all four find the same experiment."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", FOUR_AT_ONCE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [experiment.name for experiment in runs.connect().search_experiments()] == ["ricefish", "Default"]


@pytest.mark.process
def test_the_hashes_that_dvc_gives_to_data_are_tags(made_store: Path) -> None:
    """md5 of what was read and written, worked out by md5sum; code is left to the commit."""
    from dvc.repo import Repo

    (made_store / "dvc.yaml").write_text(
        "stages:\n  refine:\n    cmd: 'true'\n    deps: [in.txt, scans/formats, training/params.py]\n"
        "    outs: [out.txt]\n    params: [seed]\n"
    )
    files = {"in.txt": "scan\n", "params.yaml": "seed: 1\nprofile: demo\n"}
    for name, content in {**files, "training/params.py": "", "scans/formats/nrrd.py": ""}.items():
        (made_store / name).parent.mkdir(parents=True, exist_ok=True)
        (made_store / name).write_text(content)
    subprocess.run(["git", "init", "--quiet"], cwd=made_store, check=True)
    Repo.init(str(made_store))
    with runs.stage_run("refine", section=SECTION, seed=1):
        (made_store / "out.txt").write_text("fish\n")
    run = runs_by_name()["refine"]
    hashes = {key: value for key, value in run.data.tags.items() if key.startswith("dvc.")}
    assert hashes == {
        "dvc.read.in.txt": "c7af35dcd99d483d8242f12e77e69054",
        "dvc.wrote.out.txt": "e08e4506d2e3f370a5e8ab79647df309",
    }
    assert [(entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs] == [
        ("in.txt", "c7af35dcd99d483d8242f12e77e69054")
    ]
    assert run.data.tags["ricefish.profile"] == "demo"


@pytest.mark.process
def test_stages_under_one_dvc_process_share_a_reproduction(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC marks what it starts; the nearest ancestor without the mark is the DVC process, whatever is between."""
    monkeypatch.delenv(provenance.REPRODUCTION)
    code = "from training.tracking.provenance import Reproduction; print(Reproduction.current().id)"
    command = ["sh", "-c", f'{sys.executable} -c "{code}"; true']
    environment = {**os.environ, "PYTHONPATH": str(ROOT), provenance.DVC_STAGE: "refine"}
    answers = {subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
               for _ in range(2)}  # fmt: skip
    assert len(answers) == 1
    assert f":{os.getpid()}:" in answers.pop()
    assert provenance.Reproduction.current().process.pid == psutil.Process().pid
