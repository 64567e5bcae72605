"""The worker process: works on the queue of a server, on this machine or another, until told to stop."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time

from serving.models.served import ModelError
from serving.observability import logs
from serving.observability.telemetry import PortTaken
from serving.observability.tracing import TracingError
from serving.process import wiring
from serving.process.components import owner
from serving.settings import Settings
from serving.storage import StoreError
from serving.storage.database import DatabaseError

_LOOKING_SECONDS = 1.0


def work(settings: Settings) -> int:
    """Works until SIGTERM or SIGINT, or until one of its threads ends; gives the exit status.

    Prints a line once it takes scans.
    """
    gc.freeze()  # what was imported stays: no collection, nor the last at the end, need look through it
    logs.configure(settings.log_level, form=settings.log_format)
    stop_requested = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_requested.set())
    try:
        with wiring.worker(settings) as ended:
            name = owner(settings)
            print(f"Ricefish works as {name}", flush=True)
            logs.event("working", worker=name)
            while not stop_requested.wait(_LOOKING_SECONDS):
                if (part := ended()) is not None:  # only a new start helps, as whoever started this process can do
                    logs.event("thread_ended", level=logging.ERROR, part=part)
                    logs.fail(f"a thread of {part} has ended; the log says why")
                    return 1
            logs.event("draining")
            told = time.monotonic()
        logs.event("stopped", worker=name, seconds=time.monotonic() - told)
    except (DatabaseError, ModelError, PortTaken, StoreError, TracingError) as error:
        logs.fail(str(error))
        return 1
    return 0
