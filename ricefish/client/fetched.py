"""Fetching: what a server makes of a scan becomes a file or folder, which appears when it is whole."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from ricefish.client.connection import Connection
from ricefish.client.unpacking import unpack
from ricefish.client.upload_body import Report, reported


def fetch(
    connection: Connection, address: str, parameters: dict[str, str], *, into: Path, report: Report | None
) -> Path:
    """Puts an answer in the place of a file, or what its archive holds in that of a folder, NAME.zarr; gives its path.

    What was there before stays until then. `report` is called with the bytes that have arrived. Raises RicefishError
    with the server's reason, and for an archive that arrived damaged.
    """
    part = into.with_name(f".{into.name}.{uuid.uuid4().hex}.part")
    try:
        with connection.stream(address, params=parameters) as answer, part.open("wb") as file:
            for piece in reported(answer.iter_raw(), report):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if into.name.lower().endswith(".zarr"):
            unpack(part, into)
        else:
            part.replace(into)
    finally:
        part.unlink(missing_ok=True)
    return into
