"""Preload: what a process imports from which servers, workers and readers are forked. Nothing here starts a thread."""

from __future__ import annotations

import onnxruntime  # noqa: F401
import uvicorn  # noqa: F401

import attack.reading  # noqa: F401
import ricefish.cli.app  # noqa: F401
import serving.app
import serving.process.server
import serving.process.worker  # noqa: F401
