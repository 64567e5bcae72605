"""What /v2 answers, and infer is asked, field by field, as the Open Inference Protocol and Triton's extensions say."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Parameters = dict[str, str | int | float | bool]


class ErrorResponse(BaseModel):
    """How the protocol says that something is wrong."""

    error: str


class ServerMetadataResponse(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str] = Field(description="Those of the protocol's that it has.")


class TensorMetadataResponse(BaseModel):
    """An input or output of a model."""

    name: str
    datatype: str = Field(description="Such as FP32 or UINT8.")
    shape: list[int] = Field(description="-1 is any number.")


class ModelMetadataResponse(BaseModel):
    """Inputs and outputs of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadataResponse]
    outputs: list[TensorMetadataResponse]


class ModelStatisticsResponse(BaseModel):
    """Counts and nanoseconds since the server started."""

    model_stats: list[dict[str, Any]]


class IndexEntryResponse(BaseModel):
    """A model of the repository."""

    name: str
    version: str | None = None
    state: Literal["READY", "UNAVAILABLE"]
    reason: str | None = Field(default=None, description="Why it is not served.")


class IndexRequest(BaseModel):
    """Which models are listed."""

    ready: bool = Field(default=False, description="Only those that are served.")


class LoadParameters(BaseModel):
    """How a model is loaded."""

    config: str | None = Field(default=None, description="Replaces config.pbtxt: JSON, as a string.")


class LoadRequest(BaseModel):
    """Loads a model."""

    parameters: LoadParameters | None = None


class RegionRequest(BaseModel):
    """POSIX shared memory that tensors may lie in."""

    key: str = Field(description="Its name, such as /tensors.")
    offset: int = Field(default=0, ge=0, description="Where in it the region begins, in bytes.")
    byte_size: int = Field(ge=1)


class RegionResponse(RegionRequest):
    """A region that is registered."""

    name: str


class InputTensor(BaseModel):
    """An input: its values here, in binary after the JSON, or in shared memory."""

    name: str
    shape: list[int] = Field(max_length=16)
    datatype: str
    parameters: Parameters | None = None
    data: list[Any] | None = Field(default=None, description="Row by row, flat or nested.")


class WantedOutput(BaseModel):
    """An output that is asked for."""

    name: str
    parameters: Parameters | None = None


class InferRequest(BaseModel):
    """Tensors in."""

    id: str | None = None
    parameters: Parameters | None = None
    inputs: list[InputTensor]
    outputs: list[WantedOutput] | None = Field(default=None, description="All, where none is named.")


class OutputTensor(BaseModel):
    """An output: its values here, in binary after the JSON, or in shared memory."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[Any] | None = None


class InferResponse(BaseModel):
    """Tensors out."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]
