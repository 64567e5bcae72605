"""History: the runs of whole reproductions, as a table to compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from training.tracking import runs

_MOST_AT_ONCE = 1000


@dataclass(frozen=True)
class PastRun:
    """One `dvc repro`."""

    id: str
    """MLflow's id of the parent run."""
    name: str
    started: datetime
    seconds: float | None
    """From its first stage to the end of its last; None while it runs."""
    status: str
    """As MLflow says it: FINISHED, FAILED, KILLED or RUNNING."""
    profile: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    model: str | None
    """models:/NAME/VERSION, where it has registered one."""
    git_commit: str
    git_dirty: bool


def past_runs(*, limit: int) -> tuple[PastRun, ...]:
    """The latest, the newest first. Raises TrackingError."""
    client = runs.connect()
    found = client.search_runs(
        [runs.experiment_id(client)],
        f"tags.`{runs.REPRODUCTION_TAG}` LIKE '%'",
        max_results=min(limit, _MOST_AT_ONCE),
        order_by=["attributes.start_time DESC"],
    )
    return tuple(_past_run(run) for run in found)


def _past_run(run: Any) -> PastRun:
    info, tags = run.info, run.data.tags
    seconds = None if info.end_time is None else (info.end_time - info.start_time) / 1000
    return PastRun(
        id=info.run_id,
        name=info.run_name,
        started=datetime.fromtimestamp(info.start_time / 1000, UTC),
        seconds=seconds if info.status != "RUNNING" else None,
        status=info.status,
        profile=tags.get("ricefish.profile", ""),
        parameters=dict(run.data.params),
        metrics=dict(run.data.metrics),
        model=tags.get(runs.MODEL_TAG),
        git_commit=tags.get("git.commit", ""),
        git_dirty=tags.get("git.dirty") == "true",
    )
