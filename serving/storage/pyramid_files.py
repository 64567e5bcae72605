"""The files of a stored pyramid as Zarr reads them: parts of them, straight from the store; none may be missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

ReadPart = Callable[[str, int, int | None], bytes]
"""Name, start and stop of the bytes, as `Store.read_file` has them."""


class PyramidFiles(Store):
    """Read only. Zarr takes a file that is not there for background; of one that must be there the error is raised."""

    supports_writes = supports_deletes = supports_partial_writes = False
    supports_listing = True

    def __init__(self, names: Iterable[str], read: ReadPart) -> None:
        """`names`, relative to the pyramid, are all files of it; `read` raises what is wrong with one."""
        super().__init__(read_only=True)
        self._names = frozenset(names)
        self._read = read

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """A file or part of it; None for one that the pyramid does not have."""
        if key not in self._names:
            return None
        content = await asyncio.to_thread(self._read, key, *_limits(byte_range))
        return prototype.buffer.from_bytes(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Several at once."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether the pyramid has a file of that name."""
        return key in self._names

    async def set(self, key: str, value: Buffer) -> None:
        """Raises ValueError, as `delete` does."""
        raise ValueError(f"{key} cannot be written: what is stored does not change")

    async def delete(self, key: str) -> None:
        """Raises ValueError."""
        raise ValueError(f"{key} cannot be removed: what is stored does not change")

    async def list(self) -> AsyncIterator[str]:
        """All names."""
        for name in sorted(self._names):
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Names that begin so."""
        for name in sorted(self._names):
            if name.startswith(prefix):
                yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """What stands next below a folder."""
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        for part in sorted({name[len(below) :].partition("/")[0] for name in self._names if name.startswith(below)}):
            yield part


def _limits(part: ByteRequest | None) -> tuple[int, int | None]:
    match part:
        case RangeByteRequest():
            return part.start, part.end
        case OffsetByteRequest():
            return part.offset, None
        case SuffixByteRequest():
            return -part.suffix, None
    return 0, None
