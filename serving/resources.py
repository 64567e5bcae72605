"""Resources: what a running server consists of, opened in order and closed in reverse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from serving.intake import Intake
from serving.jobs import Jobs
from serving.models import Models
from serving.results import Results
from serving.settings import Settings
from serving.store import Store

DATABASE_FILE = "jobs.sqlite"


@dataclass(frozen=True)
class Resources:
    """What routes are handed; on `app.state.resources` while the app runs."""

    store: Store
    models: Models
    jobs: Jobs
    intake: Intake
    results: Results


@contextmanager
def opened(settings: Settings) -> Iterator[Resources]:
    """The resources of a server, open for as long as the context lasts.

    In this order: the store, the model (checked on its golden slice), then the jobs, which may need both at once.
    Raises StoreError or ModelError.
    """
    with Store(settings.store).opened() as store:
        models = Models(store.models_dir, device=settings.device, threads=settings.threads)
        models.serve(settings.model)
        jobs = Jobs(
            store=store,
            models=models,
            database_url=settings.database_url or f"sqlite:///{settings.store / DATABASE_FILE}",
        )
        jobs.start()
        try:
            unfinished = set(jobs.unfinished())
            models.prune({scan.model.key for scan in store.scans() if scan.id in unfinished})
            intake = Intake(store=store, models=models, jobs=jobs, settings=settings)
            yield Resources(store, models, jobs, intake, Results(store))
        finally:
            jobs.stop()
