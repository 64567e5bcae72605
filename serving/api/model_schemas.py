"""What the server answers of the models that it serves, field by field."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from serving.api.schemas import ModelResponse, OrganResponse


class ServedModelResponse(ModelResponse):
    """The model for new scans, with what is known of it."""

    organs: list[OrganResponse]
    provider: str = Field(description="Where it runs, as ONNX Runtime names it.")
    precision: str = Field(description="float32, or a variant that passed its check at export: float16, int8.")
    engine: str = Field(description="Library that computes it: onnxruntime or openvino.")
    spacing_mm: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = Field(
        description="Least and greatest voxel spacing seen in training, along z, y, x."
    )
    intensity_range: tuple[float, float] = Field(description="Least lower and greatest upper window end in training.")
    metrics: dict[str, float]
    git_commit: str
    mlflow_run: str


class RefusalResponse(BaseModel):
    """A version that was not put in place."""

    version: str
    reason: str = Field(description="hash, golden, contract, device, registry or store.")
    detail: str
    at: datetime
    tries: int
    retry: datetime | None = Field(description="When it is tried again; null: not before the alias or version changes.")


class FollowedResponse(BaseModel):
    """How it stands with an alias that is followed."""

    registry_up: bool = Field(description="Whether the registry answered when it was last asked.")
    registry_reached: datetime | None = Field(description="When it last answered; null: not since this process began.")
    trouble: str | None = Field(description="What is wrong with the registry or the alias, if anything.")
    refusal: RefusalResponse | None = Field(description="The version that the alias names, where that was refused.")


class ComparedCandidateResponse(BaseModel):
    """A way to compute a model, as it was compared with others."""

    precision: str
    engine: str
    slices_per_second: float | None = Field(description="Of the golden slice's shape; null where it was refused.")
    refused: str | None = Field(description="Why it is not used: not loaded, or another answer than at export.")


class PlaceResponse(ModelResponse):
    """A model that is served."""

    default: bool = Field(description="True for what a scan gets that asks for no model.")
    reference: str = Field(description="What the server was told to serve: a folder, an alias or a version.")
    since: datetime = Field(description="When this version was put in place.")
    from_cache: bool = Field(description="True where the process began with a copy, not with what the registry says.")
    previous: str | None = Field(description="The version before, as long as it can be put back at once.")
    precision: str
    provider: str = Field(description="Where it runs, as ONNX Runtime names it.")
    engine: str = Field(description="Library that computes it: onnxruntime or openvino.")
    threads: int = Field(description="Processor threads of one batch; 0 where a GPU computes.")
    lanes: int = Field(description="Batches computed at once.")
    compared: list[ComparedCandidateResponse] = Field(
        description="What precision and engine were chosen among, by measuring; empty where nothing was measured."
    )
    followed: FollowedResponse | None = Field(description="null for what never moves: a folder or a fixed version.")


class ModelsResponse(BaseModel):
    """All models that are served, the default first."""

    models: list[PlaceResponse]


class EventResponse(BaseModel):
    """What became of an event of the registry."""

    followed: bool = Field(description="True if the registry is asked at once because of it.")
