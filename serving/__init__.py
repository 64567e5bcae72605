"""The server: scans come in over HTTP, an ONNX model labels every voxel, masks and organ statistics go out."""

from __future__ import annotations

import os

# ONNX Runtime would report to its maker, and leave an identifier of the machine in ~/.cache, from its import on
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
