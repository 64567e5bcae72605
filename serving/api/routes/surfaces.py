"""/v1/scans/ID/surfaces/...: the surfaces of a scan's organs, for programs that show, print or measure bodies."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from fastapi.concurrency import run_in_threadpool

from scans.formats import stem
from serving.api.dependencies import CallerResources, Resources, database_answers
from serving.api.document import BINARY, refusals
from serving.api.finished import disposition, finished
from serving.api.responses import ScanId
from serving.api.surface_schemas import (
    InlineProperties,
    MeshesResponse,
    MeshManifestResponse,
    PropertyResponse,
    SegmentPropertiesResponse,
)
from serving.api.versions import Version, segmented
from serving.segmentation.organ_surfaces import SurfaceFormat

_GLB, _STL, _MESH = "model/gltf-binary", "model/stl", "application/octet-stream"
_MEDIA_TYPES: Mapping[SurfaceFormat, str] = {"glb": _GLB, "stl": _STL, "neuroglancer": _MESH}
_PRECOMPUTED = "/{scan_id}/surfaces/precomputed"
_PROPERTIES = "segment_properties"

OrganName = Annotated[str, Path(description="The organ's name, or its class index.")]
ClassIndex = Annotated[int, Path(ge=1, le=254, description="The organ's class index, which is its segment's id.")]

router = APIRouter(
    prefix="/v1/scans", tags=["results"], responses=refusals(409), dependencies=[Depends(database_answers)]
)


def _binary(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": BINARY}}}}


@router.get("/{scan_id}/surfaces.glb", summary="All organs as bodies", response_class=Response, responses=_binary(_GLB))
async def get_surfaces(resources: CallerResources, scan_id: ScanId, version: Version = None) -> Response:
    """The surfaces of all organs that were found, as binary glTF: in metres, each by its name and in its colour."""
    found = await run_in_threadpool(segmented, resources, scan_id, version)
    make = partial(resources.results.surfaces, found.scan, found.job, correction=found.correction)
    content = await resources.slow_answers.whole(make)
    return _file(content, _GLB, f"{stem(FilePath(found.scan.upload.filename))}_organs.glb")


@router.get(
    "/{scan_id}/surfaces/{organ}.glb",
    summary="An organ as a body, GLB",
    response_class=Response,
    responses=_binary(_GLB),
)
async def get_surface_glb(
    resources: CallerResources, scan_id: ScanId, organ: OrganName, version: Version = None
) -> Response:
    """The closed surface of an organ as binary glTF, in metres; it holds what the organ's voxels hold."""
    return await _surface(resources, scan_id, organ, "glb", version)


@router.get(
    "/{scan_id}/surfaces/{organ}.stl",
    summary="An organ as a body, STL",
    response_class=Response,
    responses=_binary(_STL),
)
async def get_surface_stl(
    resources: CallerResources, scan_id: ScanId, organ: OrganName, version: Version = None
) -> Response:
    """The closed surface of an organ as binary STL, in mm, LPS+, as its header says."""
    return await _surface(resources, scan_id, organ, "stl", version)


@router.get(f"{_PRECOMPUTED}/info", summary="Meshes for Neuroglancer", response_model=MeshesResponse)
def get_meshes_info(resources: CallerResources, scan_id: ScanId) -> MeshesResponse:
    """That there are meshes, for Neuroglancer, whose source is `precomputed://` and the address of this folder."""
    finished(resources, scan_id)
    return MeshesResponse.model_validate({"@type": "neuroglancer_legacy_mesh", "segment_properties": _PROPERTIES})


@router.get(
    f"{_PRECOMPUTED}/{_PROPERTIES}/info",
    summary="Names of organs for Neuroglancer",
    response_model=SegmentPropertiesResponse,
)
def get_segment_properties(resources: CallerResources, scan_id: ScanId) -> SegmentPropertiesResponse:
    """The name of each segment."""
    scan, _ = finished(resources, scan_id)
    label = PropertyResponse(id="label", type="label", values=list(scan.organs.names))
    ids = [str(organ.index) for organ in scan.organs.organs]
    inline = InlineProperties(ids=ids, properties=[label])
    return SegmentPropertiesResponse.model_validate({"@type": "neuroglancer_segment_properties", "inline": inline})


@router.get(
    f"{_PRECOMPUTED}/{{segment}}:0", summary="Parts of a mesh for Neuroglancer", response_model=MeshManifestResponse
)
def get_mesh_manifest(resources: CallerResources, scan_id: ScanId, segment: ClassIndex) -> MeshManifestResponse:
    """The one part that a mesh of the latest version has; none where the organ was not found."""
    found = segmented(resources, scan_id, None)
    fragments = resources.results.fragments(found.scan, found.job, segment, correction=found.correction)
    return MeshManifestResponse(fragments=fragments)


@router.get(
    f"{_PRECOMPUTED}/{{segment}}.mesh",
    summary="A mesh for Neuroglancer",
    response_class=Response,
    responses=_binary(_MESH),
)
async def get_mesh(resources: CallerResources, scan_id: ScanId, segment: ClassIndex) -> Response:
    """Vertices in nm, and triangles, that lie where Neuroglancer shows the OME-Zarr."""
    return await _surface(resources, scan_id, str(segment), "neuroglancer", None)


async def _surface(
    resources: Resources, scan_id: str, organ: str, kind: SurfaceFormat, version: int | None
) -> Response:
    found = await run_in_threadpool(segmented, resources, scan_id, version)
    make = partial(resources.results.surface, found.scan, found.job, organ, kind, correction=found.correction)
    content = await resources.slow_answers.whole(make)
    suffix = "mesh" if kind == "neuroglancer" else kind
    return _file(content, _MEDIA_TYPES[kind], f"{stem(FilePath(found.scan.upload.filename))}_{organ}.{suffix}")


def _file(content: bytes, media_type: str, name: str) -> Response:
    return Response(content, media_type=media_type, headers={"Content-Disposition": disposition(name)})
