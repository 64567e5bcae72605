"""Sealed notes: JSON with a checksum behind it, in small files and in rows of the database, which looks at no bits."""

from __future__ import annotations

import json
from typing import Any

from isal import isal_zlib

from serving.storage.contract import DataDamaged

_SEAL = " #"
_DIGITS = 8


class NoteDamaged(DataDamaged):
    """A row of the database, or a small file, is not what was written there."""

    def __init__(self, of: str, why: str) -> None:
        """What was noted, as in "scan 12", and what is wrong with it."""
        super().__init__(f"what was noted of {of} is damaged: {why}; restore the database from its backup")


def sealed(content: Any) -> str:
    """JSON, and the CRC-32 of it."""
    text = json.dumps(content)
    return f"{text}{_SEAL}{_crc32(text)}"


def unsealed(text: str, *, of: str) -> Any:
    """What was sealed; what an earlier version wrote has no seal. Raises NoteDamaged, naming what it is `of`."""
    try:
        content, separator, seal = text.rpartition(_SEAL)
        if separator and len(seal) == _DIGITS:
            if _crc32(content) != seal:
                raise ValueError("the checksum is another")
            return json.loads(content)
        return json.loads(text)
    except (ValueError, TypeError, AttributeError) as error:  # the latter two of what is no text at all
        raise NoteDamaged(of, str(error)) from error


def _crc32(text: str) -> str:
    return f"{isal_zlib.crc32(text.encode('utf-8', 'surrogatepass')):0{_DIGITS}x}"
