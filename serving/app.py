"""create_app: the HTTP application. Everything it uses is made in its lifespan, from the settings, and handed in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import access, errors, logs, resources
from serving.headers import SecurityHeaders
from serving.routes import health, inference, intake, results, scans, uploads
from serving.settings import Settings

_QUIET = ("/health/",)


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings. Nothing is opened before its lifespan begins.

    Starting raises StoreError, DatabaseError or ModelError, which is also left on `app.state.startup_error`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            try:
                app.state.resources = await asyncio.to_thread(stack.enter_context, resources.server(settings))
            except Exception as error:
                app.state.startup_error = error
                raise
            yield
            app.state.resources = None
            await asyncio.to_thread(stack.close)

    app = FastAPIOffline(
        redoc_url=None,
        title="Ricefish",
        version=version("ricefish"),
        summary="Organ segmentation of tomography scans of fish: post a scan, fetch its organs.",
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.resources = None
    app.state.startup_error = None
    app.include_router(health.router)
    for routes in (intake, scans, results, uploads, inference):
        app.include_router(routes.router)
    app.add_middleware(access.Access, metrics_open=settings.metrics_open)
    app.add_middleware(RequestLog)
    app.add_middleware(SecurityHeaders, tls=settings.tls_certificate is not None)
    errors.install(app)
    access.document(app)
    return app


class RequestLog:
    """Logs each request with its status and time; health probes only at level debug."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            logs.event(
                "request",
                level=logging.DEBUG if scope["path"].startswith(_QUIET) else logging.INFO,
                method=scope["method"],
                path=scope["path"],
                status=status,
                seconds=time.monotonic() - started,
                key=access.identity_of(scope).key_id or "none",
            )
