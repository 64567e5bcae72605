"""Shared memory: regions of this machine's memory that a client has as well, so that tensors need not be sent.

Triton's extension of the protocol for system shared memory: POSIX regions, which Linux keeps as files in /dev/shm. They
are read and written as files: a client that cuts a region short gets an error, where memory that is mapped would end
this process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, TypeGuard

from serving.parsing.malformed import shown
from serving.parsing.quantities import LARGEST
from serving.parsing.texts import is_name
from serving.protocol.errors import InferenceRefused, RegionRefused

_FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX has them, not a place for files of our own
_REGION, _SIZE, _OFFSET = "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"


@dataclass(frozen=True, slots=True)
class TensorLocation:
    """Where a tensor lies: part of a region."""

    region: str
    offset: int
    size: int
    """Bytes."""

    @classmethod
    def of(cls, parameters: Mapping[str, Any], *, tensor: str) -> TensorLocation | None:
        """What the parameters of a tensor say; None where it is in no region. Raises InferenceRefused."""
        region = parameters.get(_REGION)
        if region is None:
            return None
        size, offset = parameters.get(_SIZE), parameters.get(_OFFSET, 0)
        if not isinstance(region, str) or not _is_size(size) or not _is_size(offset):
            raise InferenceRefused(
                f"{tensor}: {_REGION} is a name, and {_SIZE} and {_OFFSET} are numbers of bytes from 0 on"
            )
        return cls(region, offset, size)

    def as_json(self, size: int) -> dict[str, Any]:
        """The parameters of an output of so many bytes that was written there."""
        return {_REGION: self.region, _OFFSET: self.offset, _SIZE: size}


@dataclass(frozen=True, slots=True)
class _Region:
    key: str
    offset: int
    size: int
    file: FileIO

    def __del__(self) -> None:
        """Closes the file once the last request that uses it has let go of it."""
        self.file.close()

    @property
    def end(self) -> int:
        """In the file."""
        return self.offset + self.size


class Regions:
    """Those that are registered. Safe to use from any thread."""

    def __init__(self) -> None:
        self._regions: dict[str, _Region] = {}
        self._lock = threading.Lock()

    @property
    def offered(self) -> bool:
        """Whether this machine has such memory."""
        return _FOLDER.is_dir()

    def register(self, name: str, *, key: Any, offset: Any, size: Any) -> None:
        """Opens `size` bytes from `offset` on of what a client has created as `key`. Raises RegionRefused."""
        if not isinstance(key, str) or "/" in key.removeprefix("/") or key.strip("/.") == "" or not is_name(key):
            raise RegionRefused(f"shared memory region '{name}': key is {shown(key)}; it is a name such as /slices")
        if not _is_size(offset) or not _is_size(size) or not size:
            raise RegionRefused(
                f"shared memory region '{name}': offset is a number of bytes from 0 on, byte_size one from 1 on"
            )
        with self._lock:
            if name in self._regions:
                raise RegionRefused(f"shared memory region '{name}' already in manager")
            region = _Region(key, offset, size, _opened(key))
            if region.end > (there := _length(region.file)):
                raise RegionRefused(
                    f"shared memory region '{name}': offset and byte_size end at {region.end}, and '{key}' has {there} "
                    "bytes"
                )
            self._regions[name] = region

    def unregister(self, name: str | None = None) -> None:
        """Forgets one, or all; requests under way keep what they use. One that is not known is none any more."""
        with self._lock:
            for gone in [name] if name is not None else list(self._regions):
                self._regions.pop(gone, None)

    def status(self, name: str | None = None) -> list[dict[str, Any]]:
        """One, or all. Raises RegionRefused where there is none of that name."""
        with self._lock:
            if name is not None and name not in self._regions:
                raise RegionRefused(f"Unable to find system shared memory region: '{name}'")
            return [
                {"name": each, "key": region.key, "offset": region.offset, "byte_size": region.size}
                for each, region in self._regions.items()
                if name in (None, each)
            ]

    def read(self, place: TensorLocation) -> bytes:
        """What lies in a place. Raises InferenceRefused."""
        region = self._region_of(place)
        if region.offset + place.offset + place.size > _length(region.file):
            raise _cut_short(place)
        content = os.pread(region.file.fileno(), place.size, region.offset + place.offset)
        if len(content) < place.size:
            raise _cut_short(place)
        return content

    def write(self, place: TensorLocation, content: bytes, *, output: str) -> dict[str, Any]:
        """Puts an output there; gives what the answer says of it. Raises InferenceRefused where it does not fit."""
        if len(content) > place.size:
            raise InferenceRefused(
                f"shared memory size specified with the request for output '{output}' ({place.size} bytes) should be "
                f"at least {len(content)} bytes to hold the results"
            )
        region = self._region_of(place)
        if region.offset + place.offset + len(content) > _length(region.file):
            raise _cut_short(place)
        os.pwrite(region.file.fileno(), content, region.offset + place.offset)
        return place.as_json(len(content))

    def _region_of(self, place: TensorLocation) -> _Region:
        with self._lock:
            region = self._regions.get(place.region)
        if region is None:
            raise InferenceRefused(f"Unable to find shared memory region: '{place.region}'")
        if place.offset + place.size > region.size:
            raise InferenceRefused(f"Invalid offset + byte size for shared memory region: '{place.region}'")
        return region


def _is_size(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= LARGEST


def _opened(key: str) -> FileIO:
    try:
        return FileIO(
            _FOLDER / key.removeprefix("/"), "r+", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW)
        )
    except OSError as error:
        raise RegionRefused(f"Unable to open shared memory region: '{key}' ({error.strerror})") from None


def _length(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


def _cut_short(place: TensorLocation) -> InferenceRefused:
    return InferenceRefused(f"shared memory region '{place.region}' is shorter than when it was registered")
