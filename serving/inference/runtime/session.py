"""Sessions: a model file loaded onto the device that was asked for, and onto no other in silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from serving.inference.runtime.graph import leading_to
from serving.inference.runtime.memory import is_out_of_memory

Device = Literal["auto", "cuda", "cpu"]
GpuGraphs = Literal["off", "cuda_graph", "tensorrt"]
"""How what a GPU does for a batch is put together beforehand, if it is."""

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
CPU = "CPUExecutionProvider"

_FLOAT, _UINT8 = "tensor(float)", "tensor(uint8)"
_GPU_FILES = Path("/dev")


@dataclass(frozen=True)
class Signature:
    """What goes into a kind of model and comes out, with ONNX Runtime's names of the types."""

    kind: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    may_give: Mapping[str, str] = field(default_factory=dict)
    """Outputs that it may have besides."""


SEGMENTATION = Signature(
    "segmentation", {"slices": _FLOAT, "window": _FLOAT}, {"segmentation": _UINT8, "confidence": _FLOAT}
)
QUALITY = Signature(
    "quality",
    {"slices": _FLOAT, "window": _FLOAT, "segmentation": _UINT8},
    {"good": _FLOAT},
    may_give={"dice": _FLOAT},
)


@dataclass(frozen=True)
class GpuOptions:
    """How a GPU is used."""

    graphs: GpuGraphs = "off"
    memory_bytes: int | None = None
    """That one session may take; None: all that there is."""


ANYHOW = GpuOptions()


class RuntimeRefused(ValueError):
    """A model that cannot be run as asked; the message names the file and what would be right."""


class DoesNotFit(RuntimeRefused):
    """A device that is not there, or has not the memory for the model."""


def cuda_devices(device: Device) -> list[int]:
    """Numbers of the GPUs to use; none where the CPU was asked for or nothing else is there."""
    if device == "cpu" or CUDA not in onnxruntime.get_available_providers():
        return []
    return list(range(len([file for file in _GPU_FILES.glob("nvidia[0-9]*") if file.name[6:].isdigit()])))


def open_session(
    path: Path,
    *,
    device: Device,
    threads: int,
    gpu: int | None = None,
    signature: Signature = SEGMENTATION,
    options: GpuOptions = ANYHOW,
) -> onnxruntime.InferenceSession:
    """A session of a model of the contract; see `open_any`. Raises RuntimeRefused where it is none."""
    session = open_any(path, device=device, threads=threads, gpu=gpu, options=options)
    _check_signature(path, session, signature)
    return session


def open_on_cpu(
    path: Path, *, device: Device, threads: int, often: str
) -> tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession]:
    """Sessions of a segmentation model, which may be one and the same: of what leads to the output `often` alone, and
    of all outputs, which gives back after each batch the memory that it computed in. Raises RuntimeRefused.
    """
    whole = open_any(path, device=device, threads=threads, keeps_memory=False)
    _check_signature(path, whole, SEGMENTATION)
    part = leading_to([often], path)
    if part is None:
        whole = open_any(path, device=device, threads=threads)
        return whole, whole
    return open_any(path, device=device, threads=threads, content=part), whole


def open_any(
    path: Path,
    *,
    device: Device,
    threads: int,
    gpu: int | None = None,
    content: bytes | None = None,
    keeps_memory: bool = True,
    options: GpuOptions = ANYHOW,
) -> onnxruntime.InferenceSession:
    """A session on that GPU, or on the CPU where `gpu` is None, of `content` where that is given in the file's stead.

    On the CPU, it keeps the memory that a batch was computed in for the next one, unless `keeps_memory` is false.
    Raises RuntimeRefused, of which DoesNotFit is one; see `Runtime.open`.
    """
    settings = _options(threads)
    settings.enable_cpu_mem_arena = keeps_memory
    try:
        if gpu is not None:
            onnxruntime.preload_dlls()
        providers = _providers(gpu, options)
        session = onnxruntime.InferenceSession(content or path, sess_options=settings, providers=providers)
    except Exception as error:  # ONNX Runtime's own exceptions share no base but this one
        if is_out_of_memory(error):
            raise DoesNotFit(f"{path} needs more memory than the device has left: {error}") from error
        raise RuntimeRefused(f"{path} is not a model that ONNX Runtime can load: {error}") from error
    _check_provider(path, session.get_providers()[0], device=device, graphs=options.graphs)
    return session


def _check_provider(path: Path, provider: str, *, device: Device, graphs: GpuGraphs) -> None:
    """Raises DoesNotFit where a session runs elsewhere than it was asked for."""
    if device == "cuda" and provider not in (CUDA, TENSORRT):
        raise DoesNotFit(
            f"{path}: device cuda was asked for, but ONNX Runtime offers {provider}; "
            f"a GPU, its driver and onnxruntime-gpu[cuda,cudnn] are needed, or RICEFISH_DEVICE=cpu"
        )
    if graphs == "tensorrt" and provider != TENSORRT:
        raise DoesNotFit(
            f"{path}: TensorRT was asked for, but ONNX Runtime offers {provider}; "
            f"a GPU and the libraries of TensorRT (libnvinfer) are needed, or RICEFISH_GPU_GRAPHS=off"
        )


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _providers(gpu: int | None, options: GpuOptions) -> list[Any]:
    if gpu is None:
        return [CPU]
    settings = {
        "device_id": str(gpu),
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",  # a float32 model has been checked in float32; what export has checked in fewer bits is faster
    }
    if options.memory_bytes is not None:
        settings["gpu_mem_limit"] = str(options.memory_bytes)
    if options.graphs == "cuda_graph":
        settings["enable_cuda_graph"] = "1"
    before: list[Any] = [(TENSORRT, {"device_id": str(gpu)})] if options.graphs == "tensorrt" else []
    return [*before, (CUDA, settings), CPU]


def _check_signature(path: Path, session: onnxruntime.InferenceSession, signature: Signature) -> None:
    for what, nodes, contract, besides in (
        ("inputs", session.get_inputs(), signature.inputs, {}),
        ("outputs", session.get_outputs(), signature.outputs, signature.may_give),
    ):
        found = {node.name: node.type for node in nodes}
        if found not in (contract, {**contract, **besides}):
            raise RuntimeRefused(f"{path} has the {what} {found}; a {signature.kind} model has {contract}")
