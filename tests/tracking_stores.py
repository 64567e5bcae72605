"""MLflow's store in a SQLite file, as it is before it is first used: MLflow takes a second to make its tables."""

from __future__ import annotations

import sqlite3
import tempfile
import warnings
from contextlib import closing
from functools import cache
from pathlib import Path

from training.tracking.local_store import quiet


def write_store(file: Path) -> Path:
    """A copy of the store that MLflow makes, without an experiment: it makes the first when it opens the file."""
    file.write_bytes(_tables())
    return file


@cache
def _tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder, quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's and SQLAlchemy's own
        from mlflow import MlflowClient

        file = Path(folder, "mlflow.db")
        MlflowClient(tracking_uri=f"sqlite:///{file}", registry_uri=f"sqlite:///{file}").search_experiments()
        with closing(sqlite3.connect(file)) as database:
            database.execute("DELETE FROM experiments")
            database.commit()
            return database.serialize()
