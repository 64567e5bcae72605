"""OpenVINO itself: whether it is installed, and imported so that it reports to nobody."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import threading
from typing import Any

_REPORTS = "openvino_telemetry"
"""Would tell its maker of every import, and leave an identifier of the machine in the home folder."""
_IMPORTING = threading.Lock()


def openvino_version() -> str | None:
    """OpenVINO's; None where it is not installed, as on processors that it was not built for. Imports nothing."""
    if importlib.util.find_spec("openvino") is None:
        return None
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return None


def openvino() -> Any:
    """The package. Raises ImportError where it is not installed, or the machine lacks what it needs."""
    with _IMPORTING:
        if "openvino" in sys.modules:
            return importlib.import_module("openvino")
        before = {name: sys.modules[name] for name in list(sys.modules) if name == _REPORTS}
        sys.modules[_REPORTS] = None  # type: ignore[assignment]  # as if it were not installed
        try:
            return importlib.import_module("openvino")
        finally:
            del sys.modules[_REPORTS]
            sys.modules.update(before)
