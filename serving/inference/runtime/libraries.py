"""Libraries: what the installed ONNX Runtime offers, and what it lacks to use a GPU."""

from __future__ import annotations

import ctypes
from pathlib import Path

import onnxruntime

from serving.inference.runtime.session import CUDA

_CUDA_LIBRARIES = ("libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so")


def version() -> str:
    """ONNX Runtime's."""
    return str(onnxruntime.__version__)


def providers() -> list[str]:
    """Execution providers that ONNX Runtime was built with."""
    return list(onnxruntime.get_available_providers())


def missing_library() -> str | None:
    """What the dynamic linker misses for the CUDA provider, such as libcudnn.so.9 or the driver's libcuda.so.1.

    None where nothing is missing, or where there is no such provider.
    """
    if CUDA not in providers():
        return None
    onnxruntime.preload_dlls()
    try:
        for name in _CUDA_LIBRARIES:
            ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / name), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return None
