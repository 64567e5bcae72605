"""`make image-test`: builds the images, and has them do what they are for. Works with docker, podman and buildah.

The serving image, as its own user and with nothing to write to but its volumes, makes a key, takes a posted scan and
returns its mask, which must be ONNX Runtime's, voxel for voxel; then it is told to stop and must end with status 0. The
training image runs `dvc repro` in a copy of this repository, on the demo profile made as small as it can be. The
tracking image serves MLflow, which asks for a password, and has the drivers of PostgreSQL and S3.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from harness.offline import run_offline
from ricefish.client import Client
from scans.intensity import Window
from tests.images.engines import Container, Engine, EngineError, Job, engine
from tests.images.small_pipeline import small_pipeline
from tests.serving.models import write_model

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = "/var/lib/ricefish"
SCAN_SHAPE = (64, 48, 40)
START_SECONDS = 180


class CheckFailed(AssertionError):
    """An image does not do what it is for."""


def main(arguments: Sequence[str]) -> int:
    """Builds and checks; the exit status is 1 where something failed, and the last line says what."""
    parser = argparse.ArgumentParser(prog="make image-test", description=__doc__)
    parser.add_argument("--engine", choices=["docker", "podman", "buildah"], help="default: the first that works")
    parser.add_argument("--only", choices=["serving", "training", "tracking"], help="default: all")
    parser.add_argument("--no-build", action="store_true", help="check the images that are there")
    parser.add_argument("--lock", default="serving.txt", help="serving-cpu.txt: without CUDA")
    given = parser.parse_args(arguments)
    os.chdir(REPOSITORY)
    try:
        used = engine(given.engine)
        revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
        for target in (given.only,) if given.only else tuple(_CHECKS):
            if not given.no_build:
                lock = {"LOCK": given.lock} if target == "serving" else {}
                used.build(target, f"ricefish-{target}", arguments={**lock, "REVISION": revision.strip()})
            with _folder() as folder:
                _CHECKS[target](used, f"ricefish-{target}", Path(folder))
    except (CheckFailed, EngineError, subprocess.CalledProcessError) as error:
        print(f"image-test: {error}", file=sys.stderr)
        return 1
    return 0


def check_serving(used: Engine, image: str, folder: Path) -> None:
    """A scan goes in and its mask comes out. Raises CheckFailed or EngineError."""
    model = write_model(folder / "model")
    volumes = {folder / name: f"{HOME}/{name}" for name in ("store", "scratch")}
    for place in volumes:
        place.mkdir()
        place.chmod(0o777)
    volumes[model] = "/model"
    port = _free_port()
    settings = {
        "RICEFISH_MODEL": "/model",
        "RICEFISH_THREADS": "1",
        "RICEFISH_BATCH_SIZE": "4",
        "RICEFISH_HOST": used.host,
        "RICEFISH_PORT": str(port),
    }
    key = used.run(Job(image, ["keys", "add", "--owner", "image-test", "--scope", "segment"], volumes=volumes)).strip()
    server = used.start(Job(image, ["serve"], settings, volumes, port), folder / "server.log")
    try:
        _until_ready(f"http://127.0.0.1:{port}/health/ready", server)
        _without(server.execute("python", "-c", _LOOK_AROUND).split())
        server.execute("python", "-m", "serving.process.healthcheck", "ready")
        segmented = _segment(f"http://127.0.0.1:{port}", key, folder)
    finally:
        status = server.stop()
    expected = run_offline(model, _scan(), _window())
    _require(np.array_equal(segmented, expected), f"{int((segmented != expected).sum())} voxels are wrong")
    _require(status == 0, f"told to stop, the server ended with exit status {status}:\n{server.log()[-2000:]}")
    print(f"image-test: {image} segmented a scan of {expected.size} voxels, and stopped when told to")


_LOOK_AROUND = """
import importlib.util, os, shutil
print(os.getuid(), *(m for m in ("torch", "dvc", "pytest") if importlib.util.find_spec(m)),
      *(p for p in ("cc", "gcc", "g++", "make") if shutil.which(p)))
"""


def _without(found: list[str]) -> None:
    user, *unwanted = found
    _require(user == "10001", f"the image runs as user {user}, not as 10001")
    _require(not unwanted, f"a server needs no {', '.join(unwanted)}")


def _scan() -> NDArray[np.float32]:
    """(Z, Y, X); its ends are those of the window, so that both sides normalise alike."""
    ramp = np.linspace(0, 100, int(np.prod(SCAN_SHAPE)), dtype=np.float32).reshape(SCAN_SHAPE)
    return np.ascontiguousarray(ramp[:, ::-1, :])


def _window() -> Window:
    return Window(float(_scan().min()), float(_scan().max()))


def _segment(url: str, key: str, folder: Path) -> NDArray[np.uint8]:
    """Posts the scan and gives its mask, (Z, Y, X) uint8."""
    scan, mask = folder / "fish.nii.gz", folder / "organs.nii.gz"
    nib.save(nib.Nifti1Image(_scan().T, np.diag([0.01, 0.01, 0.01, 1.0])), scan)
    with Client(url, key=key) as client:
        accepted = client.submit(scan)
        for status in client.wait(accepted.id):
            print(f"image-test: {status.slices_done} of {status.slices_total} slices")
        client.download(accepted.id, mask)
    return np.asarray(nib.load(mask).dataobj).astype(np.uint8).T


def _until_ready(url: str, server: Container) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not server.ended():
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise CheckFailed(f"the server ended, or is not ready after {START_SECONDS} s:\n{server.log()[-3000:]}")


def check_training(used: Engine, image: str, folder: Path) -> None:
    """`dvc repro` makes and registers a Student. Raises CheckFailed or EngineError."""
    repository = small_pipeline(folder / "repository")
    for path in (repository, *repository.rglob("*")):
        path.chmod(0o777)
    job = Job(image, _REPRO, {"OMP_NUM_THREADS": "1"}, {repository: "/repository"})
    print(used.run(job)[-2000:])
    for name in ("models/student/model.onnx", "models/student/manifest.json", "metrics/register.json"):
        _require((repository / name).is_file(), f"dvc repro left no {name}")
    print(f"image-test: {image} trained, exported and registered a Student")


_REPRO = ["sh", "-c", "torchrun --help > /dev/null && dvc repro"]


def check_tracking(used: Engine, image: str, folder: Path) -> None:
    """MLflow as compose.yaml has it, with SQLite in PostgreSQL's place. Raises CheckFailed or EngineError."""
    volumes = {folder / name: place for name, place in (("data", "/data"), ("tmp", "/tmp"))}  # noqa: S108 - the image's
    for place in volumes:
        place.mkdir()
        place.chmod(0o777)
    users = (REPOSITORY / "deploy/compose/basic_auth.ini").read_text(encoding="utf-8")
    users = re.sub("(?m)^database_uri = .*$", "database_uri = sqlite:////data/users.db", users)
    (folder / "data" / "basic_auth.ini").write_text(users, encoding="utf-8")
    password, port = "a long enough password", _free_port()
    settings = {
        "MLFLOW_AUTH_CONFIG_PATH": "/data/basic_auth.ini",
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "nobody knows it",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    store = ["--backend-store-uri=sqlite:////data/mlflow.db", "--artifacts-destination=/data/artifacts"]
    command = ["server", f"--host={used.host}", f"--port={port}", "--workers=1", "--app-name=basic-auth", *store]
    server = used.start(Job(image, command, settings, volumes, port), folder / "mlflow.log")
    try:
        url = f"http://127.0.0.1:{port}"
        _until_ready(f"{url}/health", server)
        server.execute("python", "-c", "import boto3, psycopg")
        answers = [
            httpx.get(
                f"{url}/api/2.0/mlflow/experiments/get-by-name",
                params={"experiment_name": "Default"},
                auth=("admin", given),
                timeout=60,
                trust_env=False,
            ).status_code
            for given in (password, "another")
        ]
    finally:
        server.stop()
    _require(answers == [200, 401], f"the right password and a wrong one were answered with {answers}")
    print(f"image-test: {image} asks for its password")


_CHECKS: dict[str, Callable[[Engine, str, Path], None]] = {
    "serving": check_serving,
    "training": check_training,
    "tracking": check_tracking,
}


def _folder() -> tempfile.TemporaryDirectory[str]:
    made = tempfile.TemporaryDirectory(prefix="ricefish-images-", ignore_cleanup_errors=True)
    Path(made.name).chmod(0o755)  # the container's user passes through
    return made


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CheckFailed(otherwise)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
