"""Addresses: of databases, registries and stores, as they may be shown to whoever reads a log or an error."""

from __future__ import annotations

import re

_BEFORE_HOST = re.compile(r"(://[^\s/:@]*):[^\s/]*@")
_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&\s\"'<>)]*", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """The text with `***` for each password in an address, be it before the host or among the parameters."""
    return _PARAMETER.sub(r"\1***", _BEFORE_HOST.sub(r"\1:***@", text)) if "://" in text else text
