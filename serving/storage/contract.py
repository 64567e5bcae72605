"""What every kind of store can do. A scan comes whole when it is accepted, and grows by published shards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

RESULT_DIR = "segmentation.ome.zarr"
IMAGE_DIR = "image.ome.zarr"
CORRECTIONS_DIR = "corrections"
"""Beside the result, what people have made of it."""


def correction_dir(correction_id: str) -> str:
    """Where a correction lies, relative to its scan."""
    return f"{CORRECTIONS_DIR}/{correction_id}.ome.zarr"


class StoreError(OSError):
    """A store that cannot be used; the message names it."""


class Fenced(Exception):
    """A newer attempt at the scan has begun, or the scan is gone: this one can write no more."""


class DataDamaged(Exception):
    """What is in the store is not what was written there, or is gone. Nothing of it may be handed out."""


@dataclass(frozen=True)
class Stamp:
    """Which file it is that lies in the store under a name: another one, or one that was written over, has another."""

    size: int
    """Bytes."""
    mark: str
    """Number and time of change of a file on a disk, ETag of an object in a bucket."""


class Attempt(Protocol):
    """One attempt at a scan. Shards are written elsewhere first, and shown to others complete or not at all."""

    def publish(self, folder: Path, names: Iterable[str]) -> None:
        """Moves files below a local folder into the result, under the same names; they are durable on return.

        Raises Fenced, and then changes nothing any more.
        """
        ...


class RemoteCopies(Protocol):
    """Where other processes find a folder's model copies, and the notes of what references mean."""

    def fetch_model(self, key: str) -> None:
        """Brings a copy into the folder that another process put there; nothing if there is none."""
        ...

    def keep_model(self, key: str) -> None:
        """Puts a copy that is in the folder there."""
        ...

    def discard_model(self, key: str) -> None:
        """Removes a copy that is there, and no longer in the folder; nothing if there is none."""
        ...

    def fetch_references(self) -> None:
        """Brings all notes into the folder."""
        ...

    def keep_reference(self, name: str) -> None:
        """Puts a note that is in the folder there."""
        ...


class NoRemoteCopies:
    """For a folder that is all there is."""

    def fetch_model(self, key: str) -> None:
        """Nothing."""

    def keep_model(self, key: str) -> None:
        """Nothing."""

    def discard_model(self, key: str) -> None:
        """Nothing."""

    def fetch_references(self) -> None:
        """Nothing."""

    def keep_reference(self, name: str) -> None:
        """Nothing."""


class Store(RemoteCopies, Protocol):
    """Where scans and segmentations are kept, and model copies, which a local folder holds: `models_dir`."""

    name: str
    """For people: the folder or address."""

    def open(self, *, alone: bool) -> AbstractContextManager[None]:
        """Makes the store ready; `alone` claims it for this process. Raises StoreError if it cannot be used."""
        ...

    def check(self) -> None:
        """Raises OSError, or what the store's library raises, if the store does not answer at this moment."""
        ...

    def rehearse(self) -> dict[str, float]:
        """Does with an empty file of its own what is done with scans; gives the seconds by step, raises as `check`."""
        ...

    def accept(self, incoming: Path, scan_id: str) -> None:
        """Takes over a complete scan's folder, durably; `incoming` is gone or empty afterwards."""
        ...

    def scan_ids(self) -> list[str]:
        """Ids of all scans of which there is anything."""
        ...

    def remove(self, scan_id: str) -> None:
        """Removes all of a scan; nothing if there is nothing of it. Attempts under way are fenced off."""
        ...

    def sweep(self) -> None:
        """Finishes removals that were cut off, whoever had begun them."""
        ...

    def read_file(self, scan_id: str, name: str, *, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes [start, stop) of a file of a scan, by name relative to it; a negative start counts from its end.

        Raises FileNotFoundError, and OSError.
        """
        ...

    def begin(self, scan_id: str, epoch: int) -> AbstractContextManager[Attempt]:
        """Begins an attempt and fences all of a lower epoch off. Raises Fenced if there is one of a higher epoch."""
        ...

    def read_result(self, scan_id: str, names: Collection[str], *, place: str = RESULT_DIR) -> dict[str, bytes]:
        """Files of the result, by name relative to it; those that are not there are left out. Raises OSError.

        `place` is that of another result of the same scan: a correction.
        """
        ...

    def add_correction(self, incoming: Path, scan_id: str, correction_id: str) -> None:
        """Takes over a complete folder as a correction of a scan, durably; `incoming` is gone or empty afterwards.

        Raises FileNotFoundError where the scan is gone.
        """
        ...

    def remove_correction(self, scan_id: str, correction_id: str) -> None:
        """Removes a correction, or what there is of one; nothing if there is nothing of it."""
        ...

    def stamp(self, scan_id: str, name: str) -> Stamp | None:
        """Of a file of a scan, by its name relative to the scan; None where there is none. Raises OSError."""
        ...

    def read_part(self, scan_id: str, name: str, start: int, stop: int) -> tuple[bytes, Stamp] | None:
        """Bytes [start, stop) of a file of a scan, and of which file they are; None where there is none.

        Fewer where it ends before, and no more is read than that. Raises OSError.
        """
        ...

    @property
    def models_dir(self) -> Path:
        """A local folder of model copies, by key."""
        ...


def each_file(folder: Path) -> Iterator[Path]:
    """All files below a folder, in a fixed order."""
    yield from sorted(file for file in folder.rglob("*") if file.is_file())
