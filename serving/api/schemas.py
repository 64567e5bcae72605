"""What the server answers, field by field; the OpenAPI document is made of these."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from scans.model.drift import Code
from serving.api.query import Flag

Triple = tuple[int, int, int]
Point = tuple[float, float, float]
PriorityName = Literal["interactive", "normal", "backlog"]


class ScanParameters(BaseModel, extra="forbid"):
    """What is said of a scan beside the file itself."""

    filename: str | None = Field(default=None, description="The file's name, such as fish_7.nii.gz.", min_length=1)
    spacing: str | None = Field(default=None, description="z,y,x in mm, for files that do not state it.")
    priority: PriorityName = Field(default="normal", description="Which scans go first.")
    fresh: Flag = Field(default=False, description="Segment it even if the same file was segmented with this model.")
    model: str | None = Field(default=None, description="Name of a served model; the default one else.", min_length=1)
    version: str | None = Field(default=None, description="Its version, if it is served; its present one else.")
    dataset: str | None = Field(
        default=None,
        description="Name of the data set in an HDF5 file, or of the array in a Zarr, that holds several; of a TIFF, "
        "frames or channels, if its slices were saved as such.",
        min_length=1,
    )
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


class Links(BaseModel):
    """Where to go on."""

    self: str
    events: str
    segmentation: str
    segmentations: str
    organs: str
    quality: str


class WarningResponse(BaseModel):
    """One way in which a scan is unlike what its model has seen."""

    code: Code
    message: str
    found: str
    expected: str


class QualityResponse(BaseModel):
    """What the Quality Classifier says of a finished scan."""

    mean: float | None = Field(description="Probability of good, mean over slices with organs; null without any.")
    bad_share: float | None = Field(description="Share of slices with organs that are below the threshold.")
    threshold: float = Field(description="From this probability on a slice counts as good.")
    slices: int = Field(description="Slices with organs.")


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
    flagged: bool = Field(description="True where there are warnings.")
    warnings: list[WarningResponse] = Field(
        description="How the scan is unlike what the model has seen: grey values and spacing once it is accepted, "
        "its segmentation once it has succeeded."
    )
    notes: list[str] = Field(description="What to know of how the file was read, such as files that were passed over.")
    quality: QualityResponse | None = Field(
        description="Of a finished scan; null before, and where the model has no Quality Classifier."
    )
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
    quality: float | None = Field(
        default=None,
        description="The Dice that is expected of it; null where it was not found, and where the model's Quality "
        "Classifier says nothing of organs, or there is none.",
    )
    quality_low: float | None = Field(default=None, description="Its true Dice is not lower, at the rate beside this.")
    quality_high: float | None = Field(default=None, description="Nor is it higher.")
    good: float | None = Field(
        default=None,
        description="Mean probability that the slices in which it appears are good, weighted by its voxels there; null "
        "where it was not found, and where the model has no Quality Classifier.",
    )
    slices: int | None = Field(
        default=None, description="Slices in which it appears; null where the model has no Quality Classifier."
    )


class OrgansResponse(BaseModel):
    """The organs of a finished scan, in the order of their indices."""

    scan: str
    model: ModelResponse
    version: int = Field(description="Of the segmentation: 0 is the model's answer, from 1 on it is a correction.")
    quality_rate: float | None = Field(
        description="Share of organs whose true Dice lies between quality_low and quality_high, as it was on volumes "
        "that no model had learnt from; null where nothing is expected of organs."
    )
    organs: list[OrganRowResponse]


class SliceQualityResponse(BaseModel):
    """One slice of a finished scan."""

    slice: int = Field(description="Index along z, from 0.")
    good: float = Field(description="Probability that its segmentation is good, as the Quality Classifier sees it.")
    organ_voxels: int = Field(description="Voxels of all organs; where there are none, the classifier knows nothing.")


class SlicesQualityResponse(BaseModel):
    """What the Quality Classifier says of a finished scan, slice by slice."""

    scan: str
    model: ModelResponse
    quality: QualityResponse
    slices: list[SliceQualityResponse]


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
