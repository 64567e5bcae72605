"""Preload: what a process imports from which servers and workers are forked. Nothing here starts a thread.

Beside the server and the command, it is what they import when they are first asked for it.
"""

from __future__ import annotations

import gc

import onnx  # noqa: F401
import onnxruntime  # noqa: F401
import psycopg  # noqa: F401
import zarr  # noqa: F401

import ricefish.cli.app  # noqa: F401
import scans.formats.nifti
import scans.formats.ome_zarr  # noqa: F401
import serving.app
import serving.process.server
import serving.process.worker  # noqa: F401

gc.freeze()  # a collection in a fork would copy all of it
