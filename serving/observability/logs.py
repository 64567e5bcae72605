"""Structured logging: one line an event on stderr, `time=... level=... event=... key=value ...`, or one JSON object."""

from __future__ import annotations

import contextvars
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Literal

from scans.addresses import without_passwords

FIELDS = "ricefish_fields"
_BOUND: ContextVar[Mapping[str, str]] = ContextVar("ricefish_bound", default=MappingProxyType({}))


def configure(level: str, *, form: Literal["text", "json"] = "text") -> None:
    """Sends every log record of the process to stderr in this form; libraries speak from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else KeyValueFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ricefish").setLevel(level.upper())


def event(name: str, *, level: int = logging.INFO, exc_info: bool = False, **fields: Any) -> None:
    """Logs one event of the server, with its fields in the order given, and the traceback at hand where asked to."""
    logging.getLogger("ricefish").log(level, name, exc_info=exc_info, extra={FIELDS: fields})


def fail(why: str) -> None:
    """Says on stderr why the process ends: `ricefish: WHY`, or an event where each line is an object."""
    if any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
        event("failed", level=logging.ERROR, error=why)
    else:
        print(f"ricefish: {without_passwords(why)}", file=sys.stderr)


def bind(**fields: str) -> None:
    """Adds fields to every record that this task or thread logs from now on: which request, which scan it is for."""
    _BOUND.set({**_BOUND.get(), **fields})


def bound(name: str) -> str | None:
    """What `bind` has set."""
    return _BOUND.get().get(name)


def carried() -> Callable[[], None]:
    """Called in a new thread, gives it what is bound in this one, and the span that is open in it."""
    variables = list(contextvars.copy_context().items())

    def take_over() -> None:
        for variable, value in variables:
            variable.set(value)

    return take_over


class KeyValueFormatter(logging.Formatter):
    """`time=2026-01-31T12:00:00.000Z level=info event=name key=value`; values with spaces are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback indented below it where there is one, so that no text begins a line."""
        fields = {**_about(record), "event": record.getMessage(), **_said(record)}
        line = without_passwords(" ".join(f"{key}={quoted(value)}" for key, value in fields.items()))
        if not record.exc_info:
            return line
        traceback = without_passwords(self.formatException(record.exc_info)).splitlines()
        return "\n".join([line, *(f"  {escaped(below)}" for below in traceback)])


class JsonFormatter(logging.Formatter):
    """`{"time": ..., "level": ..., "message": NAME, ...}`, the fields as they are and a traceback as `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """One object on one line, in ASCII."""
        fields = {**_about(record), "message": record.getMessage(), **_said(record)}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        shown = {
            name: without_passwords(v) if isinstance(v := _plain(value), str) else v for name, value in fields.items()
        }
        return json.dumps(shown).replace("\x7f", "\\u007f")


def _about(record: logging.LogRecord) -> dict[str, str]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}


def _said(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a record, and those that are bound where it was logged."""
    logger = {} if record.name == "ricefish" else {"logger": record.name}
    said = {**logger, **getattr(record, FIELDS, {})}
    return {**said, **{name: value for name, value in _BOUND.get().items() if name not in said}}


def _plain(value: Any) -> Any:
    """What JSON has a word for, and text for all else."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | None) else str(value)


def quoted(value: Any) -> str:
    """The value as it stands in a log line: bare where that is unambiguous, else in double quotes on one line."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    if text and text.isprintable() and not any(c in text for c in ' "='):
        return text
    inside = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped(inside)}"'


def escaped(text: str) -> str:
    """The text with all that no terminal and no editor may act upon spelt out, such as `\\n`, `\\x1b` and `\\u202e`.

    Control characters, line separators, what turns the direction of writing, what cannot be seen, lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
