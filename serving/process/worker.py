"""The worker process: works on the queue of a server, on this machine or another, until told to stop."""

from __future__ import annotations

import signal
import sys
import threading

from serving.models.served import ModelError
from serving.observability import logs
from serving.observability.telemetry import PortTaken
from serving.observability.tracing import TracingError
from serving.process import wiring
from serving.settings import Settings
from serving.storage import StoreError
from serving.storage.database import DatabaseError


def work(settings: Settings) -> int:
    """Works until SIGTERM or SIGINT; gives the exit status. Prints a line once it takes scans."""
    logs.configure(settings.log_level)
    stop_requested = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_requested.set())
    try:
        with wiring.worker(settings) as name:
            print(f"Ricefish works as {name}", flush=True)
            logs.event("working", worker=name)
            stop_requested.wait()
    except (DatabaseError, ModelError, PortTaken, StoreError, TracingError) as error:
        print(f"ricefish: {error}", file=sys.stderr)
        return 1
    return 0
