"""The pipeline that makes a model: its stages, `python -m training.stages.NAME` each, in the order of dvc.yaml."""

from __future__ import annotations

import os

# ONNX Runtime would report to its maker, and leave an identifier of the machine in ~/.cache, from its import on
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
