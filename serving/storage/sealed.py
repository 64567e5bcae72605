"""Sealed columns: JSON in the database with a checksum behind it. Neither database notices a flipped bit in a row."""

from __future__ import annotations

import json
from typing import Any

from isal import isal_zlib

from serving.storage.contract import DataDamaged

_SEAL = " #"
_DIGITS = 8


class RowDamaged(DataDamaged):
    """A row of the database is not what was written there."""


def sealed(content: Any) -> str:
    """JSON, and the CRC-32 of it."""
    text = json.dumps(content)
    return f"{text}{_SEAL}{_crc32(text)}"


def unsealed(text: str, *, of: str) -> Any:
    """What was sealed; what an earlier version wrote has no seal. Raises RowDamaged, naming what it is `of`."""
    content, separator, seal = text.rpartition(_SEAL)
    try:
        if separator and len(seal) == _DIGITS:
            if _crc32(content) != seal:
                raise ValueError("the checksum is another")
            return json.loads(content)
        return json.loads(text)
    except ValueError as error:
        raise RowDamaged(f"the database's row of {of} is damaged: {error}; restore the database") from error


def _crc32(text: str) -> str:
    return f"{isal_zlib.crc32(text.encode('utf-8', 'surrogatepass')):0{_DIGITS}x}"
