"""Descriptions: a model's metadata and its configuration in the JSON that clients of Triton read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.protocol.datatypes import config_name
from serving.protocol.offered_model import Offered, TensorSpec

SERVER_NAME = "triton"
"""Its example clients ask whether it is."""
EXTENSIONS = ("model_repository", "model_configuration", "binary_tensor_data", "parameters", "statistics")
"""Those of the protocol's that this server has everywhere."""
SHARED_MEMORY = "system_shared_memory"
"""And where the system has POSIX shared memory."""
PLATFORM = "onnxruntime_onnx"


def metadata(offered: Offered, *, versions: Sequence[str]) -> dict[str, Any]:
    """What `GET /v2/models/M` answers."""
    return {
        "name": offered.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [_described(spec) for spec in offered.inputs],
        "outputs": [_described(spec) for spec in offered.outputs],
    }


def configuration(offered: Offered) -> dict[str, Any]:
    """What `GET /v2/models/M/config` answers: Triton's ModelConfig."""
    batched = offered.max_batch_size > 0
    kind = "KIND_GPU" if offered.on_gpu else "KIND_CPU"
    return {
        "name": offered.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "runtime": "",
        "version_policy": {"all": {}},
        "max_batch_size": offered.max_batch_size,
        "input": [
            {**_configured(spec, batched=batched), "allow_ragged_batch": False, "optional": spec.optional}
            for spec in offered.inputs
        ],
        "output": [{**_configured(spec, batched=batched), "label_filename": ""} for spec in offered.outputs],
        "batch_input": [],
        "batch_output": [],
        "instance_group": [{"name": offered.name, "kind": kind, "count": 1, "gpus": [0] if offered.on_gpu else []}],
        **({"dynamic_batching": {"max_queue_delay_microseconds": 0}} if offered.merges else {}),
        "default_model_filename": "model.onnx",
        "parameters": {},
    }


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _configured(spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    dims = spec.shape[1:] if batched else spec.shape
    return {"name": spec.name, "data_type": config_name(spec.datatype), "dims": list(dims), "is_shape_tensor": False}
