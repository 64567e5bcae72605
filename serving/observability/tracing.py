"""Tracing: OpenTelemetry spans of requests, scans and slabs, sent by OTLP where a collector is set, else nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

TRACEPARENT = "traceparent"
_EXPORT_SECONDS = 5


class TracingError(RuntimeError):
    """Traces are asked for and cannot be made; the message says what is missing."""


class Tracing:
    """Makes spans. The open one is that of the task or thread; `logs.carried` gives it to another thread."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """Without a provider, it does nothing and costs next to nothing."""
        self._provider = provider
        self._tracer = provider.get_tracer("ricefish", version("ricefish")) if provider else None

    @classmethod
    def to(cls, endpoint: str | None, *, instance: str) -> Tracing:
        """Spans go to the OTLP collector at that address over HTTP; None: nowhere. Raises TracingError.

        `instance` names this process. Sampling is set by the usual OTEL_TRACES_SAMPLER.
        """
        if endpoint is None:
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise TracingError(
                f"RICEFISH_OTLP_ENDPOINT is set, but {error.name} is not installed: install ricefish[telemetry]"
            ) from None
        about = {"service.name": "ricefish", "service.version": version("ricefish"), "service.instance.id": instance}
        provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    def span(
        self, name: str, *, parent: str | None = None, **attributes: str | int
    ) -> AbstractContextManager[Span | None]:
        """A span for as long as the context lasts, below the open one or below a W3C `traceparent`."""
        if self._tracer is None:
            return contextlib.nullcontext()
        return self._tracer.start_as_current_span(name, context=_context(parent), attributes=_named(attributes))

    @contextmanager
    def request(self, headers: Mapping[str, str], *, method: str) -> Iterator[Span | None]:
        """The span of a request, below that of its sender where the headers name one."""
        if self._tracer is None:
            yield None
            return
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        with self._tracer.start_as_current_span(
            method,
            context=_context(headers.get(TRACEPARENT), headers.get("tracestate")),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
        ) as span:
            yield span

    def since(self, name: str, began_ns: int, **attributes: str | int) -> None:
        """A span from then (`time.time_ns`) to now."""
        if self._tracer is not None:
            span = self._tracer.start_span(name, start_time=began_ns, attributes=_named(attributes))
            span.end(time.time_ns())

    def traceparent(self) -> str | None:
        """The open span, as a header says it; None where there is none."""
        if self._tracer is None:
            return None
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        return carrier.get(TRACEPARENT)

    def close(self) -> None:
        """Sends what is left, for a few seconds at most."""
        if self._provider is not None:
            self._provider.shutdown()


def _context(parent: str | None, state: str | None = None) -> Any:
    """What OpenTelemetry takes as a parent; None: the open span."""
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    return TraceContextTextMapPropagator().extract({TRACEPARENT: parent, **({"tracestate": state} if state else {})})


def _named(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    return {f"ricefish.{name}": value for name, value in attributes.items()}
