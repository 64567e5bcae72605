"""Sampling: which scans a shadow runs on, decided by their id alone, so that every process decides alike."""

from __future__ import annotations

import hashlib

_RANGE = 1 << 64


def is_sampled(scan_id: str, share: float) -> bool:
    """True for a share (0..1) of all ids; an id that is taken at a share is taken at every greater one."""
    position = int.from_bytes(hashlib.sha256(f"shadow {scan_id}".encode()).digest()[:8], "big")
    return position < share * _RANGE
