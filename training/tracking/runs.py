"""MLflow: every stage is a run inside the parent run of its `dvc repro`. This file and those beside it are
the only ones in training that import mlflow.

Runs go to the store that MLFLOW_TRACKING_URI names, else to mlflow.db and mlruns/ in the repository root. A server that
does not answer stops a stage before it works. One that goes away later does not: what could not be sent is kept and
sent later in the stage; all of it stands in metrics/, plots/ and figures/ in any case, so that no training is lost.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from scans.addresses import without_passwords
from scans.tracking import DATABASE_FILE, TRACKING_URI, set_up_client, tracking_uri
from training.profiles import to_dict
from training.tracking import provenance
from training.tracking.local_store import alone, quiet

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "ricefish"
ARTIFACT_DIR = Path("mlruns")
SAMPLING_SECONDS = 5
"""Time between two samples of the system metrics."""
RETRY_SECONDS = 60.0
"""How long a store that did not answer is left alone."""
REPRODUCTION_TAG = "ricefish.repro"
"""Of the parent run: which reproduction it is of."""
MODEL_TAG = "ricefish.model_version"
"""Of the run that registers and of its parent: the version that it registered, or found to be registered."""

_MOST_PARAMETERS = 100
"""That MLflow takes at once."""
_SETTINGS = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_OUR_FAULT = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "PERMISSION_DENIED", "UNAUTHENTICATED")

logger = logging.getLogger(__name__)


class TrackingError(RuntimeError):
    """The MLflow store cannot be used; the message says which and why."""


def connect() -> MlflowClient:
    """A client of the store, made where it is a SQLite file that does not exist yet. Raises TrackingError."""
    set_up_client(_SETTINGS)
    uri = tracking_uri()
    try:
        import mlflow  # noqa: PLC0415  takes 5 s; reads the settings above

        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        with alone(uri), quiet():
            client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)
    except ImportError as error:
        install = (
            "install the training environment: pip install 'ricefish[training]', and [tracking] for a database or S3"
        )
        raise TrackingError(
            without_passwords(f"the MLflow store at {uri} cannot be used: {error}; {install}.")
        ) from error
    except Exception as error:
        why = without_passwords(f"the MLflow store at {uri} cannot be used: {' '.join(str(error).split())}")
        start = f"start the server, or unset {TRACKING_URI} to use {DATABASE_FILE} in this folder"
        room = f"make room on the disk and the folder writable, or set {TRACKING_URI} to a store elsewhere"
        raise TrackingError(f"{why}; {start if os.environ.get(TRACKING_URI) else room}.") from error
    return client


def experiment_id(client: MlflowClient) -> str:
    """The experiment that all runs are in, made where there is none."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        place = None if os.environ.get(TRACKING_URI) else ARTIFACT_DIR.absolute().as_uri()
        try:
            return str(client.create_experiment(EXPERIMENT, artifact_location=place))
        except MlflowException:
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


class StageRun:
    """The run of one stage. What the store does not take at once is kept and sent with the next call, or at the end."""

    def __init__(self, client: MlflowClient | None, run_id: str, *, parent_id: str = "") -> None:
        self.run_id = run_id
        """MLflow's id; "" in every process of a distributed training but the first, where nothing is logged."""
        self.parent_id = parent_id
        """That of the run of the whole reproduction."""
        self._client = client
        self._unsent: list[Callable[[MlflowClient], object]] = []
        self._not_before = 0.0

    def metric(self, name: str, value: float, *, step: int | None = None) -> None:
        """Logs one figure."""
        self.metrics({name: value}, step=step)

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Logs figures that belong together; `step` counts epochs."""
        from mlflow.entities import Metric  # noqa: PLC0415

        now = int(time.time() * 1000)
        entries = [Metric(allowed_name(name), float(value), now, step or 0) for name, value in values.items()]
        self._send(lambda client: client.log_batch(self.run_id, metrics=entries))

    def headline(self, values: Mapping[str, float]) -> None:
        """Logs figures of the whole reproduction, by which it is compared with others."""
        for name, value in values.items():
            self._send(partial(_log_metric, run_id=self.parent_id, name=allowed_name(name), value=float(value)))

    def registered(self, uri: str) -> None:
        """Says of this run and of the whole reproduction which version of a model came of it."""
        for run_id in (self.run_id, self.parent_id):
            self._send(partial(_set_tag, run_id=run_id, key=MODEL_TAG, value=uri))

    def file(self, path: Path, *, folder: str = "") -> None:
        """Stores a file, or all that a folder holds, under `folder` of the run. Raises FileNotFoundError."""
        if path.is_dir():
            self._send(lambda client: client.log_artifacts(self.run_id, str(path), folder or None))
        elif path.is_file():
            self._send(lambda client: client.log_artifact(self.run_id, str(path), folder or None))
        else:
            raise FileNotFoundError(f"{path} does not exist, and cannot be stored with the run")

    def tag(self, key: str, value: object) -> None:
        """Sets a tag."""
        self._send(lambda client: client.set_tag(self.run_id, allowed_name(key), str(value)))

    def _send(self, call: Callable[[MlflowClient], object]) -> None:
        if self._client is None:
            return
        self._unsent.append(call)
        if time.monotonic() >= self._not_before:
            self.flush()

    def flush(self) -> int:
        """Sends what is kept, in order; returns how many calls are left. A value that MLflow refuses is an error."""
        while self._client is not None and self._unsent:
            try:
                self._unsent[0](self._client)
            except Exception as error:
                if getattr(error, "error_code", "") in _OUR_FAULT:
                    self._unsent.pop(0)
                    raise
                logger.warning("MLflow does not answer, will try again: %s", error)
                self._not_before = time.monotonic() + RETRY_SECONDS
                break
            self._unsent.pop(0)
        return len(self._unsent)


def _log_metric(client: MlflowClient, *, run_id: str, name: str, value: float) -> None:
    client.log_metric(run_id, name, value)


def _set_tag(client: MlflowClient, *, run_id: str, key: str, value: str) -> None:
    client.set_tag(run_id, key, value)


@contextmanager
def stage_run(
    stage: str, *, section: Any, seed: int, parameters: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[StageRun]:
    """The run of one stage, inside the parent run of this `dvc repro` (or of this process, started by hand).

    Logs the section of params.yaml (a dataclass), the seed, git commit and whether the checkout is dirty, DVC's hashes
    of what the stage reads and writes, and system metrics. Under torchrun only the first process logs. Raises
    TrackingError before anything is done if the store cannot be used.
    """
    if os.environ.get("RANK", "0") != "0":
        yield StageRun(None, "")
        return
    client = connect()
    experiment = experiment_id(client)
    _end_what_was_killed(client, experiment)
    parent = _parent_run(client, experiment, parameters)
    run = _child_run(client, experiment, parent=parent, stage=stage)
    status = "FAILED"
    try:
        _describe(client, run.run_id, stage=stage, params={"seed": seed, **to_dict(section)})
        with _system_metrics(run.run_id):
            yield run
        for path, md5 in provenance.written_hashes(stage).items():
            run.tag(f"dvc.wrote.{path}", md5)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        _end(client, run, parent=parent, status=status)


def _parent_run(client: MlflowClient, experiment: str, parameters: Mapping[str, Any]) -> str:
    """The run of this reproduction: RUNNING while a stage is, and after it as that stage ended."""
    from mlflow.entities import Param  # noqa: PLC0415

    reproduction = provenance.Reproduction.current()
    found = client.search_runs([experiment], f"tags.`{REPRODUCTION_TAG}` = '{reproduction.id}'", max_results=1)
    if found:
        client.update_run(found[0].info.run_id, status="RUNNING")
        return str(found[0].info.run_id)
    name = f"repro {datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"
    tags = {REPRODUCTION_TAG: reproduction.id, **provenance.tags(reproduction.process)}
    run_id = str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)
    entries = [Param(allowed_name(key), str(value)) for key, value in parameters.items()]
    for start in range(0, len(entries), _MOST_PARAMETERS):
        client.log_batch(run_id, params=entries[start : start + _MOST_PARAMETERS])
    return run_id


def _child_run(client: MlflowClient, experiment: str, *, parent: str, stage: str) -> StageRun:
    tags = {"ricefish.stage": stage, "mlflow.parentRunId": parent, **provenance.tags(provenance.Process.current())}
    run_id = str(client.create_run(experiment, run_name=stage, tags=tags).info.run_id)
    return StageRun(client, run_id, parent_id=parent)


def _describe(client: MlflowClient, run_id: str, *, stage: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag  # noqa: PLC0415

    hashes = provenance.read_hashes(stage)
    client.log_batch(
        run_id,
        params=[Param(key, str(value)) for key, value in params.items()],
        tags=[RunTag(allowed_name(f"dvc.read.{path}"), md5) for path, md5 in hashes.items()],
    )
    context = [InputTag("mlflow.data.context", stage)]
    data = [Dataset(path, md5, "local", json.dumps({"uri": path})) for path, md5 in hashes.items()]
    if data:
        client.log_inputs(run_id, [DatasetInput(dataset, context) for dataset in data])


@contextmanager
def _system_metrics(run_id: str) -> Iterator[None]:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor  # noqa: PLC0415

    monitor: Any = SystemMetricsMonitor  # publishes no types
    monitor = monitor(run_id, sampling_interval=SAMPLING_SECONDS, tracking_uri=tracking_uri())
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _end(client: MlflowClient, run: StageRun, *, parent: str, status: str) -> None:
    if left := run.flush():
        logger.warning(
            "MLflow does not answer; %d calls of run %s are not in it. The figures stand in %s.",
            left, run.run_id, "metrics/, plots/ and figures/",
        )  # fmt: skip
    try:
        client.set_terminated(run.run_id, status=status)
        client.set_terminated(parent, status=status)
    except Exception as error:
        logger.warning("MLflow does not answer; run %s stays open: %s", run.run_id, error)


def _end_what_was_killed(client: MlflowClient, experiment: str) -> None:
    """A process that was killed left its run open: whoever comes next on that machine ends it."""
    mine = f"attributes.status = 'RUNNING' and tags.`{provenance.HOST_TAG}` = '{socket.gethostname()}'"
    for run in client.search_runs([experiment], mine):
        if not provenance.Process.parse(run.data.tags[provenance.PROCESS_TAG]).alive:
            client.set_terminated(run.info.run_id, status="KILLED")


def allowed_name(name: str) -> str:
    """What MLflow takes as the name of a metric or tag."""
    return re.sub(r"[^\w\-. :/]", "_", name)
