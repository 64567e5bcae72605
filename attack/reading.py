"""Reading: mutated files, one after another, in a process whose memory is limited.

The process is forked from one that has imported the readers, and is replaced when it dies. Everything here is imported
by that process, so that a case costs what its file costs.
"""

from __future__ import annotations

import random
import resource
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import h5py  # noqa: F401  before the fork
import nibabel  # noqa: F401
import pydicom  # noqa: F401
import tifffile  # noqa: F401
import zarr  # noqa: F401

from attack.mutations import mutate
from scans.formats import (  # noqa: F401
    FormatError,
    SpacingMissing,
    containers,
    dicom,
    hdf5,
    metaimage,
    nifti,
    nrrd,
    ome_zarr,
    open_volume,
    tiff,
    verify,
)
from scans.geometry import Spacing

MOST_BYTES = 1 << 30
"""That a reader may take beyond what the process had, for a file of a few thousand bytes."""
MOST_SECONDS = 1.0
"""Of processor time for one file."""
_SPACING = Spacing(0.2, 0.1, 0.1)
_PAGE = resource.getpagesize()


@dataclass(frozen=True)
class Outcome:
    """What became of one case."""

    number: int
    what: str
    """"read", "refused", or what went wrong."""
    fine: bool


@dataclass(frozen=True)
class Job:
    """Cases of one reader."""

    reader: str
    files: Sequence[Path]
    seed: int
    numbers: range


def content_of(files: Sequence[Path], reader: str, seed: int, number: int) -> bytes:
    """The bytes of a case; the same for the same arguments."""
    dice = random.Random(f"{seed} {reader} {number}")  # noqa: S311 - not for secrets
    return mutate(dice.choice(files).read_bytes(), dice.choice(files).read_bytes(), dice)


def work(jobs: Connection, folder: Path) -> None:
    """Reads the cases of each job that comes, and sends an Outcome after each; until the other end closes."""
    limited = False
    path = folder / "case"
    while True:
        try:
            job: Job = jobs.recv()
        except EOFError:
            return
        for number in job.numbers:
            path.write_bytes(content_of(job.files, job.reader, job.seed, number))
            if not limited:
                _limit()
                limited = True
            jobs.send(Outcome(number, *read(path)))


def read(path: Path) -> tuple[str, bool]:
    """What becomes of one file, and whether that is as it should be."""
    before = _reset_peak()
    began = time.process_time()
    what, fine = _read(path)
    seconds, taken = time.process_time() - began, _peak() - before
    if seconds > MOST_SECONDS:
        return f"{what}, after {seconds:.1f} s", False
    if taken > MOST_BYTES:
        return f"{what}, with {taken / 1e9:.1f} GB", False
    return what, fine


def _read(path: Path) -> tuple[str, bool]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for spacing in _spacings():
                try:
                    with open_volume(path, spacing=spacing) as volume:
                        verify(volume)
                    return "read", True
                except SpacingMissing:
                    continue
        return "refused", True
    except FormatError:
        return "refused", True
    except BaseException as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", False


def _spacings() -> Iterator[Spacing | None]:
    yield None
    yield _SPACING


def _limit() -> None:
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * _PAGE
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MOST_BYTES, used + 2 * MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
