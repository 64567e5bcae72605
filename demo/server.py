"""`ricefish serve` as the demo runs it: on a free loopback port, with a store of its own, stopped whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from demo.parts import DemoError
from harness import servers


@contextmanager
def running_server(model: str, *, store: Path, log_path: Path, folder: Path) -> Iterator[str]:
    """Starts a server of `model` and gives its address once it is ready; stops it at the end.

    Raises DemoError if the server ends or does not get ready; the message holds the end of its log.
    """
    log_path.unlink(missing_ok=True)
    server = replace(servers.server(folder, model=model, store=store, device="auto"), log=log_path, folder=folder)
    try:
        yield server.start().url
    except servers.DidNotStart as error:
        raise DemoError(str(error)) from error
    finally:
        server.stop()
