"""What the server answers to Neuroglancer about meshes; the names of the fields are those of its precomputed format."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class MeshesResponse(BaseModel):
    """`info` of a folder of single-resolution meshes."""

    type: Literal["neuroglancer_legacy_mesh"] = Field(alias="@type")
    segment_properties: str = Field(description="The folder beside it that has the names.")


class MeshManifestResponse(BaseModel):
    """The parts that the mesh of a segment has."""

    fragments: list[str] = Field(description="Files beside this one; none where the organ was not found.")


class PropertyResponse(BaseModel):
    """A property that every segment has."""

    id: str
    type: Literal["label"]
    values: list[str] = Field(description="In the order of the ids.")


class InlineProperties(BaseModel):
    """Segments, and what is said of them."""

    ids: list[str] = Field(description="Class indices.")
    properties: list[PropertyResponse]


class SegmentPropertiesResponse(BaseModel):
    """`info` of a folder of segment properties."""

    type: Literal["neuroglancer_segment_properties"] = Field(alias="@type")
    inline: InlineProperties
