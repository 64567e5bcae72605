"""/v2, but for infer: what the Open Inference Protocol says of the server and of its models, and the repository."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import version as version_of
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from serving.api.bodies import short_object
from serving.api.dependencies import CallerResources, resources_of
from serving.api.document import BODY, json_body, reference, refusals
from serving.api.protocol_schemas import (
    ErrorResponse,
    IndexEntryResponse,
    IndexRequest,
    LoadRequest,
    ModelMetadataResponse,
    ModelStatisticsResponse,
    RegionRequest,
    RegionResponse,
    ServerMetadataResponse,
)
from serving.observability.readiness import Check
from serving.protocol import description
from serving.protocol.errors import InferenceRefused, LoadRefused, NotOffered, RegionRefused, UnknownModel

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

_UNHEALTHY: dict[int | str, dict[str, Any]] = {
    503: {"description": "What is not well.", "content": {"application/json": {"schema": reference(ErrorResponse)}}}
}


@router.get("", summary="Name, version and extensions", response_model=ServerMetadataResponse)
async def server_metadata(resources: CallerResources) -> dict[str, Any]:
    """Name, version and extensions."""
    extensions = [*description.EXTENSIONS, *([description.SHARED_MEMORY] if resources.regions.offered else [])]
    return {"name": description.SERVER_NAME, "version": version_of("ricefish"), "extensions": extensions}


@router.get("/health/live", summary="Is the server alive?", response_class=Response, responses=_UNHEALTHY)
async def server_live(request: Request) -> Response:
    """200 while the process can work; 503: only a new start helps."""
    resources = request.app.state.resources
    return _health([] if resources is None else resources.readiness.alive())


@router.get("/health/ready", summary="Is the server ready?", response_class=Response, responses=_UNHEALTHY)
async def server_ready(request: Request) -> Response:
    """200 when everything that the server needs is there; 503 says what is not."""
    return _health(await resources_of(request).readiness.checks())


def _health(checks: Sequence[Check]) -> Response:
    wrong = [f"{check.name}: {check.reason}" for check in checks if not check.ok]
    return JSONResponse({"error": "; ".join(wrong)}, 503) if wrong else Response()


@router.get("/models/stats", summary="Statistics of all models", response_model=ModelStatisticsResponse)
async def all_statistics(resources: CallerResources) -> dict[str, Any]:
    """Of every model that is served."""
    return {"model_stats": [offered.statistics.as_json() for offered in resources.catalogue.offered()]}


@router.get("/models/{name}", summary="Inputs and outputs of a model", response_model=ModelMetadataResponse)
@router.get(
    "/models/{name}/versions/{version}",
    summary="Inputs and outputs of a version",
    response_model=ModelMetadataResponse,
    operation_id="model_version_metadata",
)
async def model_metadata(resources: CallerResources, name: str, version: str | None = None) -> dict[str, Any]:
    """Inputs and outputs of a model; -1 is any number."""
    offered = resources.catalogue.find(name, version)
    return description.metadata(offered, versions=resources.catalogue.versions(name))


@router.get("/models/{name}/ready", summary="Is a model ready?", response_class=Response)
@router.get(
    "/models/{name}/versions/{version}/ready",
    summary="Is a version ready?",
    response_class=Response,
    operation_id="model_version_ready",
)
async def model_ready(resources: CallerResources, name: str, version: str | None = None) -> Response:
    """200 where it can be asked; 404 where it is not there, or is unloaded."""
    resources.catalogue.find(name, version)
    return Response()


@router.get("/models/{name}/config", summary="Configuration of a model")
@router.get(
    "/models/{name}/versions/{version}/config",
    summary="Configuration of a version",
    operation_id="model_version_config",
)
async def model_config(resources: CallerResources, name: str, version: str | None = None) -> dict[str, Any]:
    """Triton's ModelConfig."""
    return description.configuration(resources.catalogue.find(name, version))


@router.get("/models/{name}/stats", summary="Statistics of a model", response_model=ModelStatisticsResponse)
@router.get(
    "/models/{name}/versions/{version}/stats",
    summary="Statistics of a version",
    response_model=ModelStatisticsResponse,
    operation_id="model_version_statistics",
)
async def model_statistics(resources: CallerResources, name: str, version: str | None = None) -> dict[str, Any]:
    """Counts and nanoseconds since the server started: of a version, or of all that are served."""
    catalogue = resources.catalogue
    versions = [catalogue.find(name, version).version] if version else catalogue.versions(name)
    if not versions:
        raise UnknownModel(name)
    return {"model_stats": [catalogue.find(name, one).statistics.as_json() for one in versions]}


@router.post(
    "/repository/index",
    summary="List the models",
    response_model=list[IndexEntryResponse],
    response_model_exclude_unset=True,
    responses=refusals(*BODY),
    openapi_extra=json_body(IndexRequest),
)
async def repository_index(request: Request, resources: CallerResources) -> list[Any]:
    """Every model, and those that lie in the repository and are not served, unless `ready` is true."""
    stated = await short_object(request, resources, name="the body", refused=InferenceRefused)
    listed = await asyncio.to_thread(resources.catalogue.index, ready=bool(stated.get("ready", False)))
    return [
        {key: resources.caller.shown(value) if key == "reason" else value for key, value in one.items()}
        for one in listed
    ]


@router.post(
    "/repository/models/{name}/load",
    summary="Load a model",
    response_class=Response,
    responses=refusals(*BODY),
    openapi_extra=json_body(LoadRequest),
)
async def load_model(request: Request, resources: CallerResources, name: str) -> Response:
    """Loads a plain model from the repository, or loads it anew; `parameters.config` replaces its config.pbtxt."""
    stated = await short_object(request, resources, name=f"failed to load '{name}', the body", refused=LoadRefused)
    parameters = stated.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise LoadRefused(f"failed to load '{name}', the body is no JSON object with parameters")
    if files := [key for key in parameters if key.startswith("file:")]:
        raise LoadRefused(f"failed to load '{name}', files are not taken from the request: {', '.join(files)}")
    config = parameters.get("config")
    if config is not None and not isinstance(config, str):
        raise LoadRefused(f"failed to load '{name}', the parameter config is no string of JSON")
    await asyncio.to_thread(resources.catalogue.load, name, config=config)
    return Response()


@router.post("/repository/models/{name}/unload", summary="Unload a model", response_class=Response)
async def unload_model(resources: CallerResources, name: str) -> Response:
    """Serves a plain model no longer; requests under way are answered."""
    await asyncio.to_thread(resources.catalogue.unload, name)
    return Response()


@router.post(
    "/systemsharedmemory/region/{name}/register",
    summary="Register shared memory",
    response_class=Response,
    responses=refusals(*BODY),
    openapi_extra=json_body(RegionRequest, required=True),
)
async def register_region(request: Request, resources: CallerResources, name: str) -> Response:
    """Names POSIX shared memory, in which tensors may lie from now on: `key`, `offset` and `byte_size`."""
    about = f"shared memory region '{name}': the body"
    stated = await short_object(request, resources, name=about, refused=RegionRefused)
    resources.regions.register(
        name, key=stated.get("key"), offset=stated.get("offset", 0), size=stated.get("byte_size")
    )
    return Response()


@router.post(
    "/systemsharedmemory/unregister",
    summary="Forget all shared memory",
    response_class=Response,
    operation_id="unregister_regions",
)
@router.post("/systemsharedmemory/region/{name}/unregister", summary="Forget shared memory", response_class=Response)
async def unregister_region(resources: CallerResources, name: str | None = None) -> Response:
    """Forgets a region, or all."""
    resources.regions.unregister(name)
    return Response()


@router.get(
    "/systemsharedmemory/status",
    summary="All shared memory",
    response_model=list[RegionResponse],
    operation_id="get_regions",
)
@router.get(
    "/systemsharedmemory/region/{name}/status",
    summary="One piece of shared memory",
    response_model=list[RegionResponse],
)
async def get_region(resources: CallerResources, name: str | None = None) -> list[Any]:
    """The regions that are registered."""
    return resources.regions.status(name)


@router.post(
    "/cudasharedmemory/unregister",
    summary="Forget all memory of GPUs",
    response_class=Response,
    operation_id="unregister_cuda_regions",
)
@router.post("/cudasharedmemory/region/{name}/unregister", summary="Forget memory of a GPU", response_class=Response)
async def unregister_cuda_region(name: str | None = None) -> Response:
    """There are none, as clients make sure that do not use them."""
    return Response()


@router.get("/cudasharedmemory/status", summary="All memory of GPUs", operation_id="get_cuda_regions")
@router.get("/cudasharedmemory/region/{name}/status", summary="One piece of memory of a GPU")
async def get_cuda_region(name: str | None = None) -> list[Any]:
    """None."""
    return []


async def not_offered(request: Request) -> Response:
    """Extensions of the protocol that are not in the server's list of them."""
    raise NotOffered(f"{request.url.path}: this extension is not offered; GET /v2 lists those that are")


for _path in (
    "/cudasharedmemory/region/{name}/register",
    "/trace/setting",
    "/models/{name}/trace/setting",
    "/logging",
):
    router.add_api_route(_path, not_offered, methods=["GET", "POST"], include_in_schema=False)
