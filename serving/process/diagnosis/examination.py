"""Examination: all looks in the order in which a server needs what they look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from serving.observability.findings import Finding, Level, look
from serving.process.diagnosis import listening, machine, services
from serving.settings import PREFIX, Settings, SettingsError, read_settings
from serving.storage.locations import database_url, scratch_dir

FULL_SCAN_BYTES = 12_000_000_000
"""6000 slices of 1000 x 1000 pixels in uint16: a whole fish."""
_MODEL_SECONDS = 300.0


def examine(*, scan_bytes: int = FULL_SCAN_BYTES, worker: bool = False, **given: Any) -> Iterator[Finding]:
    """One finding after the other, as they come; `given` are settings that options name.

    `worker` looks at what a worker needs, which listens on no port and takes the models of its scans. No folder or file
    is made that stays; a server may run on the same store meanwhile. Only PostgreSQL gets the tables that it lacks.
    """
    try:
        settings = read_settings(needs_model=False, **given)
        scratch = scratch_dir(settings)
    except (SettingsError, OSError) as error:
        advice = "Correct the variable, or unset it; docs/serving.md lists all of them."
        yield Finding("settings", Level.FAIL, str(error), advice)
        return
    yield Finding("settings", Level.OK, _shown(settings))
    yield look("open files", machine.open_files, advice="")
    yield look("device", lambda: machine.device(settings), advice="Look at nvidia-smi.")
    yield look("ONNX Runtime", lambda: machine.onnx_runtime(settings), advice="Install ricefish[serving] anew.")
    folders = {**({"store": settings.store_dir} if settings.store_dir else {}), "scratch": scratch}
    yield look(
        "disk", lambda: machine.disks(folders, scan_bytes=scan_bytes), advice="Mount the disk, or name another folder."
    )
    if not worker:
        yield look("port", lambda: listening.port(settings), advice="RICEFISH_HOST and RICEFISH_PORT say where.")
        yield look("certificate", lambda: listening.certificate(settings), advice="Both are PEM files.")
    yield from _services(settings)
    if not worker or settings.model:
        yield look(
            "model",
            lambda: services.model(settings),
            advice="Mend what fails above; else export it anew, or name another: a server does not start with this.",
            limit_seconds=_MODEL_SECONDS,
        )


def _services(settings: Settings) -> Iterator[Finding]:
    yield look(
        "store",
        lambda: services.store(settings),
        advice="RICEFISH_STORE must have room for this user to write; for S3: RICEFISH_S3_ENDPOINT, the AWS_ keys.",
    )
    url = database_url(settings)
    yield look(
        "database",
        lambda: services.database(settings, url),
        advice="Check RICEFISH_DATABASE_URL: address, password, that the server runs, has room and lets this host in.",
    )
    yield look("clock", lambda: services.clock(url), advice="It needs the database.")
    yield look(
        "registry",
        lambda: services.registry(settings),
        advice="Check MLFLOW_TRACKING_URI, and that the MLflow server runs; RICEFISH_MODEL may also be a folder.",
    )


def _shown(settings: Settings) -> str:
    """The settings that are not the defaults, by the names of their variables; no values, which may be secret."""
    changed = sorted(f"{PREFIX}{name.upper()}" for name in settings.model_fields_set)
    return ", ".join(changed) or "all defaults"
