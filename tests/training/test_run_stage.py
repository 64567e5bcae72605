"""What every stage does around its work, in a real MLflow store."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from scans.tracking import TRACKING_URI
from tests.tracking_stores import write_store
from training.learning.loop import Epoch
from training.learning.run_training import run_training, trained
from training.params import Params
from training.profiles import ParamsError
from training.run_stage import OneProcessOnly, Report, run_stage
from training.tracking import provenance, runs
from training.tracking.model_files import download

pytestmark = pytest.mark.slow

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a params.yaml and no MLflow store."""
    for name in (TRACKING_URI, "RANK", "WORLD_SIZE", provenance.DVC_STAGE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS.read_text())
    return tmp_path


@pytest.fixture
def store(repository: Path) -> Path:
    """The MLflow store of that working directory."""
    return write_store(repository / "mlflow.db")


def run_of(stage: str) -> Any:
    client = runs.connect()
    found = client.search_runs([runs.experiment_id(client)])
    return next(run for run in found if run.info.run_name == stage)


@pytest.mark.usefixtures("store")
def test_what_a_stage_reports_is_written_down_and_logged(repository: Path) -> None:
    """Metrics as JSON in metrics/, figures and files in the run, with the seed and the stage's section of the file."""

    def work(params: Params, run: runs.StageRun) -> Report:
        (repository / "figures").mkdir()
        (repository / "figures/a.txt").write_text("a picture")
        (repository / "list.csv").write_text("1,2")
        run.tag("note", params.refine.threshold)
        return Report({"kept": 3, "of": None}, {"kept": 3}, files=(Path("figures"), Path("list.csv")))

    run_stage("refine", work)
    assert (repository / "metrics/refine.json").read_text() == '{\n "kept": 3,\n "of": null\n}\n'
    run = run_of("refine")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["kept"] == 3.0
    assert run.data.params == {
        "seed": "1",
        "quality_classifier": "True",
        "least_confidence": "0.0",
        "keep_empty": "False",
        "components": "False",
        "threshold": "0.5",
    }
    assert run.data.tags["note"] == "0.5"
    kept = download(f"runs:/{run.info.run_id}/", repository / "fetched")
    assert sorted(str(path.relative_to(kept)) for path in kept.rglob("*.*")) == ["figures/a.txt", "list.csv"]


@pytest.mark.usefixtures("store")
def test_a_stage_with_nothing_to_report_writes_no_file(repository: Path) -> None:
    """A stage without metrics, and a process of a training that is not the first, leave no metrics file."""
    run_stage("pseudo_label", lambda _params, _run: Report())
    run_stage("train_teacher", lambda _params, _run: None)
    assert not (repository / "metrics").exists()


def test_a_mistake_in_the_parameters_stops_a_stage_before_it_works(repository: Path) -> None:
    """No run is begun, and the work is not."""
    (repository / "params.yaml").write_text(PARAMS.read_text().replace("alpha:", "aplha:"))
    with pytest.raises(ParamsError, match=r"train_student\.aplha is unknown"):
        run_stage("refine", lambda _params, _run: pytest.fail("it worked"))
    assert not (repository / "mlflow.db").exists()


@pytest.mark.usefixtures("store")
def test_the_epochs_of_a_training_are_reported_as_they_come(repository: Path) -> None:
    """The losses of each epoch are metrics with its number as step, and those of the last are `final`."""

    def train(params: Params, ranks: Any, report: Any) -> Report | None:
        assert ranks.first
        for number, loss in enumerate((2.0, 1.0), start=1):
            report(Epoch(number, number * 10, params.train_teacher.schedule.learning_rate, {"loss": loss}))
        Path("epochs.csv").write_text("epoch,loss\n")
        return trained({"loss": 1.0, "steps": 20}, epochs=Path("epochs.csv"))

    run_training("train_teacher", train)
    run = run_of("train_teacher")
    history = runs.connect().get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 2.0), (2, 1.0)]
    assert {name: value for name, value in run.data.metrics.items() if name.startswith("final")} == {
        "final.loss": 1.0,
        "final.steps": 20.0,
    }
    assert json.loads((repository / "metrics/train_teacher.json").read_text()) == {"loss": 1.0, "steps": 20}


def test_only_the_first_process_of_a_training_reports() -> None:
    """Without metrics, which are the first process's, there is no report."""
    assert trained({}, epochs=Path("epochs.csv")) is None


@pytest.mark.parametrize(
    "stage",
    ["prepare", "pseudo_label", "label_quality", "train_classifier", "refine", "evaluate", "export", "register"],
)
def test_what_one_process_does_refuses_to_begin_in_several(
    repository: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Under torchrun each process would write the same files: none begins, and nothing is written."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = sorted(repository.iterdir())
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(OneProcessOnly, match=f"python -m training.stages.{stage}"):
            importlib.import_module(f"training.stages.{stage}").main()
    assert sorted(repository.iterdir()) == before
