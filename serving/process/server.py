"""The server process: uvicorn around the app, from settings to exit status."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from serving.auth.authentication import NoKeys
from serving.models.served import ModelError
from serving.observability import logs
from serving.observability.findings import Level, look
from serving.observability.tracing import TracingError
from serving.process.connections import BoundedConnection, ConnectionLimits, limited, open_files
from serving.process.diagnosis.listening import certificate
from serving.protocol.errors import LoadRefused
from serving.settings import Settings
from serving.storage import StoreError
from serving.storage.database import DatabaseError

GRACE_SECONDS = 30
"""For requests under way when the server is told to stop, and before that for batches under way."""


def serve(settings: Settings, create_app: Callable[[Settings], FastAPI]) -> int:
    """Serves an app until told to stop (SIGTERM, SIGINT); gives the exit status. Prints its address once it answers."""
    gc.freeze()  # what was imported stays: no collection, nor the last at the end, need look through it
    logs.configure(settings.log_level, form=settings.log_format)
    try:
        app = create_app(settings)
    except TracingError as missing:
        logs.fail(str(missing))
        return 1
    config = _config(settings, app)
    logging.getLogger("uvicorn.error").addFilter(_without_traceback)
    try:
        config.load()
    except OSError as unusable:
        logs.fail(f"RICEFISH_TLS_CERTIFICATE or RICEFISH_TLS_KEY cannot be used: {unusable}")
        return 1
    _look_at_certificate(settings)
    server = _Server(config, app, drain_seconds=settings.drain_seconds)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it has stopped
    runner = asyncio.Runner(loop_factory=config.get_loop_factory())
    with contextlib.suppress(KeyboardInterrupt, SystemExit), runner:
        runner.run(server.serve())
    if server.started:
        logs.event("stopped", seconds=server.seconds_since_told)
    error: Exception | None = app.state.startup_error
    if error is not None:
        if not isinstance(error, DatabaseError | LoadRefused | ModelError | NoKeys | StoreError):
            logging.getLogger("ricefish").error("startup_failed", exc_info=error)
        logs.fail(str(error))
    elif server.refused:
        taken = f"{settings.host}, port {settings.port} cannot be listened on, as the line before says"
        logs.fail(f"{taken}; end what has it (`ricefish doctor` looks), or set RICEFISH_PORT to another")
    return 0 if server.started else 1


def _config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=limited(_limits(settings)),
        ws="none",
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


def _look_at_certificate(settings: Settings) -> None:
    """Says in the log that clients refuse it, or soon will: the server could still answer those that do not look."""
    seen = look("certificate", lambda: certificate(settings), advice="`ricefish doctor` looks at it too.")
    if seen.level is not Level.OK:
        logs.event("certificate_doubtful", level=logging.WARNING, found=seen.found, advice=seen.advice)


def _limits(settings: Settings) -> ConnectionLimits:
    most = open_files(settings.connections)
    if most < settings.connections:
        logs.event("fewer_connections", level=logging.WARNING, connections=most, reason="the limit of open files")
    return ConnectionLimits(most, settings.head_timeout_seconds, settings.upload_timeout_seconds)


class _Server(uvicorn.Server):
    """Told to stop, it is not ready from then on, has scans parked, and answers until that is done; then it stops."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, *, drain_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds
        self._told: float | None = None
        self._parking: asyncio.Task[None] | None = None
        self.refused = False
        """True where its address could not be taken."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A second signal cuts the draining short."""
        if not self.started or self._told is not None:
            super().handle_exit(sig, frame)
            return
        self._told = time.monotonic()
        self._captured_signals.append(sig)
        self._app.state.resources.readiness.draining = True

    @property
    def seconds_since_told(self) -> float:
        """To stop; 0 where it stopped by itself."""
        return 0.0 if self._told is None else time.monotonic() - self._told

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedConnection):
                    connection.sweep(now)
        if self._told is not None:
            waited = self.seconds_since_told
            if self._parking is None:
                logs.event("draining", least_seconds=self._drain_seconds)
                self._parking = asyncio.create_task(self._park())
            parked = self._parking.done() or waited > GRACE_SECONDS
            self.should_exit = self.should_exit or (parked and waited >= self._drain_seconds)
        if self.should_exit:  # or a model without an end would be waited for
            self._app.state.resources.catalogue.repository.end_runs()
        return await super().on_tick(counter)

    async def _park(self) -> None:
        worker = self._app.state.resources.worker
        if worker is not None:
            await asyncio.to_thread(worker.stop)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            self.refused = True
            raise
        if self.started and self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            address = f"{'https' if self.config.is_ssl else 'http'}://{host}:{port}"
            print(f"Ricefish serves at {address}", flush=True)
            logs.event("serving", address=address)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Drops uvicorn's copy of a failed start, which is reported in one line instead."""
    return not record.getMessage().startswith("Traceback")
