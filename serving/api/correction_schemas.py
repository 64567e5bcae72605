"""What the server answers of versions of a segmentation, field by field."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from serving.api.schemas import ModelResponse, OrganResponse


class CorrectionParameters(BaseModel, extra="forbid"):
    """What is said of a correction beside the file itself."""

    filename: str = Field(description="The file's name, such as fish_7.seg.nrrd.", min_length=1)
    dataset: str | None = Field(
        default=None,
        description="Name of the data set in an HDF5 file, or of the array in a Zarr, that holds several; of a TIFF, "
        "frames or channels, if its slices were saved as such.",
        min_length=1,
    )
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-fA-F]{64}$", description="Of the file; it is refused if it arrives as another."
    )


class OrganChangeResponse(BaseModel):
    """What a correction did to one organ."""

    name: str
    added: int = Field(description="Voxels that are the organ in the correction alone.")
    removed: int = Field(description="Voxels that were the organ in the model's answer alone.")
    dice: float | None = Field(
        description="Of the model's answer with the correction as the truth; null where the organ is in neither."
    )


class VersionResponse(BaseModel):
    """A version of a scan's segmentation: the model's answer, or what somebody has made of it."""

    version: int = Field(description="0 is the model's answer, corrections count from 1; no number is given twice.")
    created: datetime = Field(description="When it was stored; of the model's answer, when that was complete.")
    author: str | None = Field(description="The owner of the key it was sent with; null without, and for the model.")
    filename: str | None = Field(description="Of the file that was sent; null for the model's answer.")
    sha256: str | None = Field(description="Of that file.")
    bytes: int | None = Field(description="Of that file.")
    labels_sha256: str | None = Field(
        description="SHA-256 of the class indices, a byte for each voxel, x fastest: the same for the same labels in "
        "another format. null for the model's answer."
    )
    not_labelled: int = Field(description="Voxels that hold 255: nobody has looked there.")
    notes: list[str] = Field(description="What to know of how the file was read.")
    changes: list[OrganChangeResponse] = Field(description="Against the model's answer; none for that itself.")
    links: dict[str, str] = Field(description="Where to fetch it: segmentation, organs.")


class VersionsResponse(BaseModel):
    """All versions of a scan's segmentation, the model's answer first."""

    scan: str
    filename: str = Field(description="Of the scan, as it was sent.")
    sha256: str = Field(description="SHA-256 of the scan's file.")
    model: ModelResponse
    organs: list[OrganResponse] = Field(description="The classes that corrections hold, beside 0 and 255.")
    versions: list[VersionResponse]
