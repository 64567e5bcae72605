"""Preload: what a process imports from which readers, servers and workers are forked. Nothing here starts a thread."""

from __future__ import annotations

import harness.preload  # noqa: F401
