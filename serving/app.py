"""create_app: the HTTP application. Everything it uses is made in its lifespan, from the settings, and handed in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline

from serving.api import access, document, problems
from serving.api.headers import SecurityHeaders
from serving.api.pace import BodyPace
from serving.api.query import known_query
from serving.api.request_log import RequestWatch
from serving.api.routes import (
    health,
    infer,
    inference_protocol,
    models,
    promotion,
    results,
    reviews,
    scans,
    segmentations,
    shadow,
    stores,
    submission,
    surfaces,
    uploads,
)
from serving.api.stopping import AnsweredWhenCut
from serving.auth.origin import Origins
from serving.observability.telemetry import Telemetry
from serving.observability.tracing import Tracing
from serving.process import wiring
from serving.process.components import owner
from serving.settings import Settings
from serving.storage import raised_by
from serving.web import routes as web

_OF_SCANS = (submission, scans, results, segmentations, surfaces, stores, reviews, uploads)
_OF_MODELS = (models, shadow, promotion, inference_protocol)
"""Modules of routes, in the order in which they are documented."""


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings. Nothing is opened before its lifespan begins.

    Raises TracingError. Starting raises StoreError, DatabaseError or ModelError, which is also left on
    `app.state.startup_error`.
    """
    telemetry = wiring.telemetry_of_process()
    tracing = Tracing.to(settings.otlp_endpoint, instance=owner(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            stack.enter_context(contextlib.closing(tracing))
            try:
                server = wiring.server(settings, telemetry=telemetry, tracing=tracing)
                app.state.resources = await asyncio.to_thread(stack.enter_context, server)
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
        **document.ABOUT,
        lifespan=lifespan,
        dependencies=[Depends(known_query)],
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.resources = None
    app.state.telemetry = telemetry
    app.state.startup_error = None
    calls = (infer, health, *_OF_SCANS, *_OF_MODELS)
    for router in (*(routes.router for routes in calls), *web.ROUTERS):
        app.include_router(router)
    _guard(app, settings, telemetry, tracing)
    problems.install(app, *raised_by(settings))
    document.install(app, bare=infer.described.routes)
    _build_routes(app)
    return app


def _build_routes(app: FastAPI) -> None:
    """FastAPI builds the routes of a router when the first request is matched against them: neither shall that one
    wait for it, nor two at once in threads of one process.
    """
    nowhere = {"type": "http", "method": "GET", "path": "/-", "root_path": "", "headers": []}
    for route in app.routes:
        route.matches(nowhere)


def _guard(app: FastAPI, settings: Settings, telemetry: Telemetry, tracing: Tracing) -> None:
    """What every request passes, the last first."""
    origins = Origins(settings.host, settings.hosts)
    app.add_middleware(BodyPace, seconds=settings.upload_timeout_seconds)
    app.add_middleware(access.Access, origins=origins, metrics_open=settings.metrics_open)
    app.add_middleware(AnsweredWhenCut)
    app.add_middleware(RequestWatch, telemetry=telemetry, tracing=tracing)
    app.add_middleware(SecurityHeaders, tls=settings.tls_certificate is not None)
