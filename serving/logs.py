"""Structured logging: one line an event on stderr, `time=... level=... event=... key=value ...`."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

FIELDS = "ricefish_fields"


def configure(level: str) -> None:
    """Sends every log record of the process to stderr in this form; libraries speak from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ricefish").setLevel(level.upper())


def event(name: str, *, level: int = logging.INFO, exc_info: bool = False, **fields: Any) -> None:
    """Logs one event of the server, with its fields in the order given, and the traceback at hand where asked to."""
    logging.getLogger("ricefish").log(level, name, exc_info=exc_info, extra={FIELDS: fields})


class KeyValueFormatter(logging.Formatter):
    """`time=2026-01-31T12:00:00.000Z level=info event=name key=value`; values with spaces are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where there is one."""
        fields = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **({} if record.name == "ricefish" else {"logger": record.name}),
            **getattr(record, FIELDS, {}),
        }
        line = " ".join(f"{key}={quoted(value)}" for key, value in fields.items())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def quoted(value: Any) -> str:
    """The value as it stands in a log line: bare where that is unambiguous, else in double quotes on one line."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    if text and not any(c in text for c in ' "=\n\r\t'):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
