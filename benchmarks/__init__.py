"""Measurements: every figure in the README can be made again from here."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports to its maker unless it is told not to
