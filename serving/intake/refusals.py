"""Refusals: why a request does not become a scan, whatever its file holds."""

from __future__ import annotations


class RequestRefused(ValueError):
    """A request that cannot become a scan, whatever the file holds. `field` names the part at fault."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class KeyReused(ValueError):
    """An Idempotency-Key came back with another body or another spacing."""


class AcceptanceUnderWay(RuntimeError):
    """The same request is being answered at this moment."""
