"""Checksums of stored files, against damage and not against forgery."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path


def checksum(content: bytes) -> str:
    """16 hexadecimal digits: BLAKE2b of 64 bits."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def checksum_of(pieces: Iterable[bytes]) -> str:
    """The same, of content that comes piece by piece."""
    digest = hashlib.blake2b(digest_size=8)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def file_checksums(folder: Path, names: Iterable[str]) -> Mapping[str, str]:
    """Of files below a folder, by name."""
    return {name: checksum((folder / name).read_bytes()) for name in names}
