"""What the server answers, field by field; the OpenAPI document is made of these."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field, model_validator

Triple = tuple[int, int, int]
Point = tuple[float, float, float]
PriorityName = Literal["interactive", "normal", "backlog"]


class ScanParameters(BaseModel, extra="forbid"):
    """What is said of a scan beside the file itself."""

    filename: str | None = Field(default=None, description="The file's name, such as fish_7.nii.gz.", min_length=1)
    spacing: str | None = Field(default=None, description="z,y,x in mm, for files that do not state it.")
    priority: PriorityName = Field(default="normal", description="Which scans go first.")
    fresh: bool = Field(default=False, description="Segment it even if the same file was segmented with this model.")
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-fA-F]{64}$", description="Of the file; it is refused if it arrives as another."
    )


class SourceRequest(BaseModel, extra="forbid"):
    """Where a scan is that does not come with the request."""

    uri: str | None = Field(default=None, description="file:///FOLDER/FILE or s3://BUCKET/KEY, where it is allowed.")
    upload: str | None = Field(default=None, description="The id of a finished resumable upload.")

    @model_validator(mode="after")
    def _one(self) -> SourceRequest:
        if (self.uri is None) == (self.upload is None):
            raise ValueError("give either uri or upload")
        return self


class ScanRequest(ScanParameters):
    """The JSON form of a post: a source, and what the query would say."""

    source: SourceRequest


class ModelResponse(BaseModel):
    """The model that a scan is, or would be, segmented with."""

    name: str
    version: str | None = Field(description="Version in the registry; null for a model from a folder.")
    sha256: str = Field(description="SHA-256 of model.onnx.")


class OrganResponse(BaseModel):
    """One class of a model."""

    index: int = Field(description="Class index in the segmentation; 0 is background.")
    name: str
    colour: Triple = Field(description="Red, green, blue, 0 to 255.")


class ServedModelResponse(ModelResponse):
    """The model for new scans, with what is known of it."""

    organs: list[OrganResponse]
    provider: str = Field(description="Where it runs, as ONNX Runtime names it.")
    precision: str = Field(description="float32, or a variant that passed its check at export: float16, int8.")
    spacing_mm: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = Field(
        description="Least and greatest voxel spacing seen in training, along z, y, x."
    )
    intensity_range: tuple[float, float] = Field(description="Least lower and greatest upper window end in training.")
    metrics: dict[str, float]
    git_commit: str
    mlflow_run: str


class Links(BaseModel):
    """Where to go on."""

    self: str
    events: str
    segmentation: str
    organs: str


class ScanResponse(BaseModel):
    """A scan and how far it is."""

    id: str
    filename: str
    sha256: str = Field(description="SHA-256 of the file.")
    created: datetime
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    priority: PriorityName
    error: str | None = Field(description="Why the scan failed, or why it is to be tried again.")
    failures: int = Field(description="Errors since the last finished slab.")
    slices_done: int
    slices_total: int
    slices_per_second: float | None = Field(description="Of the latest slabs; null until two are finished.")
    eta_seconds: float | None = Field(description="Until the last slab at that rate; null while not running.")
    finished: datetime | None
    seconds: dict[str, float] = Field(description="By activity, in threads side by side: read, infer, write, waits.")
    worker: str | None = Field(description="The process that works, or worked, on it.")
    shape: Triple = Field(description="Voxels along z, y, x.")
    dtype: str = Field(description="Type of the grey values.")
    spacing_mm: Point = Field(description="Distance between voxel centres along z, y, x.")
    model: ModelResponse
    links: Links


class ScansResponse(BaseModel):
    """Scans, the newest first."""

    scans: list[ScanResponse]


class BoxResponse(BaseModel):
    """Half-open box of voxel indices, z, y, x."""

    start: Triple
    stop: Triple


class OrganRowResponse(BaseModel):
    """One organ of a finished scan."""

    index: int
    name: str
    voxels: int
    volume_mm3: float
    centroid_voxels: Point | None = Field(description="z, y, x; null where the organ was not found.")
    centroid_mm: Point | None = Field(description="x, y, z in the world of the scan (RAS+).")
    box: BoxResponse | None
    touches_border: bool = Field(description="True where part of the organ may be cut off.")


class OrgansResponse(BaseModel):
    """The organs of a finished scan, in the order of their indices."""

    scan: str
    model: ModelResponse
    organs: list[OrganRowResponse]


class ComparedModelResponse(BaseModel):
    """One of two models that segmented the same scans."""

    name: str
    version: str | None = Field(description="Version in the registry; null for a model from a folder.")


class WorstScanResponse(BaseModel):
    """Where two models agree least about an organ."""

    scan: str | None = Field(description="Its id; null where it has been removed or is another owner's.")
    dice: float


class OrganAgreementResponse(BaseModel):
    """How alike two models segment an organ that both know."""

    name: str
    dice: float | None = Field(description="Mean over the scans that either found it in; null where there is none.")
    scans: int = Field(description="That the mean is over.")
    left_out: int = Field(description="Scans in which neither found it.")
    worst: WorstScanResponse | None


class ComparisonResponse(BaseModel):
    """A shadow beside the model whose answers were given out."""

    champion: ComparedModelResponse
    shadow: ComparedModelResponse
    scans: int
    latest: datetime = Field(description="When the latest scan was compared.")
    mean_dice: float | None = Field(description="Mean over the organs that have one.")
    organs: list[OrganAgreementResponse]


class ShadowResponse(BaseModel):
    """What the shadow is, and what came of it, the pair that was compared latest first."""

    reference: str | None = Field(description="RICEFISH_SHADOW of this server; null where there is none.")
    share: float = Field(description="Of the scans that succeed, which are compared.")
    waiting: int = Field(description="Scans that wait to be compared, or are being compared.")
    given_up: int = Field(description="Scans that could not be compared; the log says why.")
    note: str | None = Field(description="Why there may be nothing to compare.")
    comparisons: list[ComparisonResponse]


class CheckResponse(BaseModel):
    """One thing that a server needs."""

    name: str
    ok: bool
    seconds: float
    """That looking took."""
    reason: str | None = None
    """What is wrong."""


class HealthResponse(BaseModel):
    """What a probe reads."""

    status: Literal["live", "ready", "not live", "not ready"]
    checks: list[CheckResponse] = []
    """What was looked at."""


class ProblemResponse(BaseModel):
    """RFC 9457: what is wrong, and what would be right."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    file: str | None = None
    field: str | None = None
    found: str | None = None
    accepted: str | None = None
