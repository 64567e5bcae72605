"""Reader process: reads files that strangers sent, one after another, where a memory limit holds and nobody is hurt.

Started by `reader_pool` as `python -m serving.intake.reader_process HANDLE MEMORY_BYTES`. It ends when the pool's end
of either pipe closes, as it does when the server ends in whichever way.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import resource
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, TypeVar

from scans.formats import FormatError, SpacingMissing
from serving.intake.correction_labels import LabelsRefused, VerifiedLabels, verify_labels
from serving.intake.limits import HeavyVolume, UploadTooLarge
from serving.intake.verification import Verified, verify

READY = b"ready"
GOES_ON = b"goes on"
"""Sent after each slab; what sends nothing for long is stuck."""

Answer = tuple[str, Any]
"""Kind of outcome, and what belongs to it; see `outcome`."""
Task = Literal["scan", "labels"]
"""What a file is read as."""
Found = TypeVar("Found", Verified, VerifiedLabels)
TASKS: Mapping[Task, Callable[..., Verified | VerifiedLabels]] = {"scan": verify, "labels": verify_labels}

_KEEPS = 4
"""A process that has kept a quarter of its memory after a file is not used for another."""
_DATACLASSES_OF = (
    "scans.geometry",
    "scans.intensity",
    "serving.intake.correction_labels",
    "serving.intake.verification",
)
_ARRAYS = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"}


def main(handle: int, memory_bytes: int) -> None:
    """Answers requests until there are no more."""
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    idle = _data_bytes()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (idle + memory_bytes, idle + memory_bytes))
    pipe = Connection(handle)
    pipe.send_bytes(READY)
    with contextlib.suppress(EOFError, OSError):
        while _data_bytes() < idle + memory_bytes // _KEEPS:
            asked = pickle.loads(pipe.recv_bytes())  # noqa: S301 - from the server that started this process
            pipe.send_bytes(pickle.dumps(_answer(asked, lambda: pipe.send_bytes(GOES_ON))))


def _end_with_the_server() -> None:
    sys.stdin.buffer.read(1)
    os._exit(1)


def _data_bytes() -> int:
    """What RLIMIT_DATA counts: private memory that can be written to."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), 0)


def _answer(asked: dict[str, Any], progress: Callable[[], None]) -> Answer:
    try:
        task: Task = asked.pop("task")
        return "verified", TASKS[task](**asked, progress=progress)
    except Exception as error:
        return _fault(error)


_REFUSALS: Mapping[str, type[FormatError]] = {"spacing": SpacingMissing, "labels": LabelsRefused}


def _fault(error: Exception) -> Answer:
    match error:
        case FormatError():
            kind = next((kind for kind, refused in _REFUSALS.items() if isinstance(error, refused)), "format")
            return kind, (str(error.path), error.found, error.accepted)
        case UploadTooLarge():
            return "too large", str(error)
        case HeavyVolume():
            return "heavy", error.voxels
        case MemoryError():
            return "memory", None
        case OSError():
            return "system", (error.errno, error.strerror, error.filename)
        case _:
            return "other", f"{type(error).__name__}: {error}"


def outcome(answer: bytes, path: Path, *, memory_bytes: int, found: type[Found]) -> Found:
    """What a reader found in a file, or what is wrong with it: raises what its task does.

    Nothing but the types that an answer is made of is built: what a file has done to its reader ends here.
    """
    kind, content = _Answers(io.BytesIO(answer)).load()
    if kind == "verified" and isinstance(content, found):
        return content
    if kind == "format" or kind in _REFUSALS:
        raise _REFUSALS.get(kind, FormatError)(Path(content[0]), *content[1:])
    if kind == "too large":
        raise UploadTooLarge(content)
    if kind == "heavy":
        raise HeavyVolume(content)
    if kind == "memory":
        raise FormatError(
            path,
            f"the file could not be read within {memory_bytes} bytes of memory",
            "slices, chunks and tiles that fit into them; more are a matter of RICEFISH_READER_MEMORY_BYTES",
        )
    if kind == "system":
        raise OSError(*content)
    raise RuntimeError(f"{path}: its reader failed: {content}")


class _Answers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name) if module in _DATACLASSES_OF else None
        if isinstance(found, type) and is_dataclass(found):
            return found
        if module.partition(".")[0] == "numpy" and name in _ARRAYS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"an answer with {module}.{name} in it")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
