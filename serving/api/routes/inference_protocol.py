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
from serving.observability.readiness import Check
from serving.protocol import description
from serving.protocol.errors import InferenceRefused, LoadRefused, NotOffered, RegionRefused, UnknownModel

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


@router.get("")
async def server_metadata(resources: CallerResources) -> dict[str, Any]:
    """Name, version and extensions."""
    extensions = [*description.EXTENSIONS, *([description.SHARED_MEMORY] if resources.regions.offered else [])]
    return {"name": description.SERVER_NAME, "version": version_of("ricefish"), "extensions": extensions}


@router.get("/health/live")
async def live(request: Request) -> Response:
    """200 while the process can work; 503: only a new start helps."""
    resources = request.app.state.resources
    return _health([] if resources is None else resources.readiness.alive())


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """200 when everything that the server needs is there; 503 says what is not."""
    return _health(await resources_of(request).readiness.checks())


def _health(checks: Sequence[Check]) -> Response:
    wrong = [f"{check.name}: {check.reason}" for check in checks if not check.ok]
    return JSONResponse({"error": "; ".join(wrong)}, 503) if wrong else Response()


@router.get("/models/stats")
async def all_statistics(resources: CallerResources) -> dict[str, Any]:
    """Of every model that is served."""
    return {"model_stats": [offered.statistics.as_json() for offered in resources.catalogue.offered()]}


@router.get("/models/{name}")
@router.get("/models/{name}/versions/{version}")
async def model_metadata(resources: CallerResources, name: str, version: str | None = None) -> dict[str, Any]:
    """Inputs and outputs of a model; -1 is any number."""
    offered = resources.catalogue.find(name, version)
    return description.metadata(offered, versions=resources.catalogue.versions(name))


@router.get("/models/{name}/ready")
@router.get("/models/{name}/versions/{version}/ready")
async def model_ready(resources: CallerResources, name: str, version: str | None = None) -> Response:
    """200 where it can be asked; 404 where it is not there, or is unloaded."""
    resources.catalogue.find(name, version)
    return Response()


@router.get("/models/{name}/config")
@router.get("/models/{name}/versions/{version}/config")
async def model_config(resources: CallerResources, name: str, version: str | None = None) -> dict[str, Any]:
    """Triton's ModelConfig."""
    return description.configuration(resources.catalogue.find(name, version))


@router.get("/models/{name}/stats")
@router.get("/models/{name}/versions/{version}/stats")
async def statistics(resources: CallerResources, name: str, version: str | None = None) -> dict[str, Any]:
    """Counts and nanoseconds since the server started: of a version, or of all that are served."""
    catalogue = resources.catalogue
    versions = [catalogue.find(name, version).version] if version else catalogue.versions(name)
    if not versions:
        raise UnknownModel(name)
    return {"model_stats": [catalogue.find(name, one).statistics.as_json() for one in versions]}


@router.post("/repository/index")
async def repository_index(request: Request, resources: CallerResources) -> list[Any]:
    """Every model, and those that lie in the repository and are not served, unless `ready` is true."""
    stated = await short_object(request, resources, name="the body", refused=InferenceRefused)
    return await asyncio.to_thread(resources.catalogue.index, ready=bool(stated.get("ready", False)))


@router.post("/repository/models/{name}/load")
async def load(request: Request, resources: CallerResources, name: str) -> Response:
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


@router.post("/repository/models/{name}/unload")
async def unload(resources: CallerResources, name: str) -> Response:
    """Serves a plain model no longer; requests under way are answered."""
    await asyncio.to_thread(resources.catalogue.unload, name)
    return Response()


@router.post("/systemsharedmemory/region/{name}/register")
async def register_region(request: Request, resources: CallerResources, name: str) -> Response:
    """Names POSIX shared memory, in which tensors may lie from now on: `key`, `offset` and `byte_size`."""
    about = f"shared memory region '{name}': the body"
    stated = await short_object(request, resources, name=about, refused=RegionRefused)
    resources.regions.register(
        name, key=stated.get("key"), offset=stated.get("offset", 0), size=stated.get("byte_size")
    )
    return Response()


@router.post("/systemsharedmemory/unregister")
@router.post("/systemsharedmemory/region/{name}/unregister")
async def unregister_region(resources: CallerResources, name: str | None = None) -> Response:
    """Forgets a region, or all."""
    resources.regions.unregister(name)
    return Response()


@router.get("/systemsharedmemory/status")
@router.get("/systemsharedmemory/region/{name}/status")
async def regions(resources: CallerResources, name: str | None = None) -> list[Any]:
    """The regions that are registered."""
    return resources.regions.status(name)


@router.post("/cudasharedmemory/unregister")
@router.post("/cudasharedmemory/region/{name}/unregister")
async def unregister_cuda_region(name: str | None = None) -> Response:
    """There are none, as clients make sure that do not use them."""
    return Response()


@router.get("/cudasharedmemory/status")
@router.get("/cudasharedmemory/region/{name}/status")
async def cuda_regions(name: str | None = None) -> list[Any]:
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
