"""A Python client of the server: `Client` posts scans, follows them and fetches what came of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ricefish.client.client import Client
    from ricefish.client.connection import RicefishError
    from ricefish.client.scan_status import ScanStatus

__all__ = ["Client", "RicefishError", "ScanStatus"]

_MODULES = {"Client": "client", "ScanStatus": "scan_status", "RicefishError": "connection"}


def __getattr__(name: str) -> object:
    # `ricefish --help` passes through here, and does without numpy and httpx
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
