"""Container engines: what `make image-test` needs of docker, podman and buildah, which runs without a daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

STOP_SECONDS = 60


class EngineError(RuntimeError):
    """A command of the engine failed; the message holds the command and the end of what it printed."""


@dataclass(frozen=True)
class Job:
    """What a container is started with; the command comes behind the image's entry point."""

    image: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[Path, str] = field(default_factory=dict)
    """Folders of this machine by where they are in the container; the only ones that can be written to."""
    port: int | None = None
    """On which it is told to listen, at the engine's `host`; it answers at the same one of the loopback."""


class Container(Protocol):
    """A running container."""

    def execute(self, *command: str) -> str:
        """Runs a command beside the container's process; gives what it printed. Raises EngineError."""
        ...

    def ended(self) -> bool:
        """True when its process has ended, asked or not."""
        ...

    def log(self) -> str:
        """What the process wrote to stdout and stderr, also after it was stopped."""
        ...

    def stop(self) -> int:
        """Sends SIGTERM to the container's process; gives its exit status, and removes the container.

        Raises EngineError if anything outside the volumes was written to.
        """
        ...


class Engine(Protocol):
    """A container engine."""

    @property
    def host(self) -> str:
        """What a server in a container has to listen at."""
        ...

    def build(self, target: str, tag: str, *, arguments: Mapping[str, str]) -> None:
        """Builds a target of the Dockerfile in the working directory."""
        ...

    def run(self, job: Job) -> str:
        """Runs a container to its end; gives what it printed to stdout. Raises EngineError."""
        ...

    def start(self, job: Job, log: Path) -> Container:
        """Starts a container; its output goes to `log`."""
        ...


def engine(name: str | None = None) -> Engine:
    """The engine of that name, else the first that works here. Raises EngineError where there is none."""
    for candidate in (name,) if name else ("docker", "podman", "buildah"):
        if candidate and shutil.which(candidate):
            probe = ["buildah", "images"] if candidate == "buildah" else [candidate, "info"]
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                return Buildah() if candidate == "buildah" else Docker(candidate)
    raise EngineError(f"{name or 'docker, podman or buildah'} is needed and does not work here")


def call(*command: str) -> str:
    """What a command printed to stdout. Raises EngineError."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise EngineError(f"{' '.join(command)} ended with exit status {done.returncode}:\n{said}")
    return done.stdout


@dataclass(frozen=True)
class Docker:
    """docker or podman."""

    program: str
    host: str = "0.0.0.0"  # noqa: S104 - the container's

    def build(self, target: str, tag: str, *, arguments: Mapping[str, str]) -> None:
        given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        subprocess.run([self.program, "build", "--target", target, "--tag", tag, *given, "."], check=True)

    def run(self, job: Job) -> str:
        return call(self.program, "run", "--rm", *self._options(job), job.image, *job.command)

    def start(self, job: Job, log: Path) -> Container:
        name = call(self.program, "run", "--detach", *self._options(job), job.image, *job.command).strip()
        return _DockerContainer(self.program, name, log)

    def _options(self, job: Job) -> list[str]:
        options = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        for folder, place in job.volumes.items():
            options += ["--volume", f"{folder}:{place}"]
        for name, value in job.environment.items():
            options += ["--env", f"{name}={value}"]
        return [*options, *(["--publish", f"127.0.0.1:{job.port}:{job.port}"] if job.port else [])]


@dataclass(frozen=True)
class _DockerContainer:
    program: str
    name: str
    output: Path

    def ended(self) -> bool:
        return call(self.program, "inspect", "--format", "{{.State.Running}}", self.name).strip() == "false"

    def log(self) -> str:
        if not self.output.exists():
            done = subprocess.run([self.program, "logs", self.name], capture_output=True, text=True, check=True)
            return done.stdout + done.stderr
        return self.output.read_text()

    def execute(self, *command: str) -> str:
        return call(self.program, "exec", self.name, *command)

    def stop(self) -> int:
        call(self.program, "stop", "--time", str(STOP_SECONDS), self.name)
        status = int(call(self.program, "inspect", "--format", "{{.State.ExitCode}}", self.name))
        self.output.write_text(self.log())
        call(self.program, "rm", self.name)
        return status


@dataclass(frozen=True)
class Buildah:
    """buildah: `run` in a chroot with the image's user, on this machine's network.

    It has no read-only root file system, so files that changed outside the volumes are looked for instead.
    """

    host: str = "127.0.0.1"

    def build(self, target: str, tag: str, *, arguments: Mapping[str, str]) -> None:
        given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        options = ["--layers", "--format", "docker", "--network", "host", "--isolation", "chroot"]  # keeps HEALTHCHECK
        subprocess.run(["buildah", "build", *options, "--target", target, "-t", tag, *given, "."], check=True)

    def run(self, job: Job) -> str:
        name = call("buildah", "from", job.image).strip()
        try:
            return call(*self._command(name, job))
        finally:
            call("buildah", "rm", name)

    def start(self, job: Job, log: Path) -> Container:
        name = call("buildah", "from", job.image).strip()
        root = Path(call("buildah", "mount", name).strip())
        with log.open("w") as out:
            process = subprocess.Popen(self._command(name, job), stdout=out, stderr=subprocess.STDOUT)
        return _BuildahContainer(name, root, process, log_path=log, volumes=tuple(job.volumes.values()))

    def _command(self, name: str, job: Job) -> list[str]:
        entry = json.loads(call("buildah", "inspect", name))["OCIv1"]["config"].get("Entrypoint", [])
        options = ["--isolation", "chroot", "--network", "host"]
        for folder, place in job.volumes.items():
            options += ["--volume", f"{folder}:{place}"]
        for variable, value in job.environment.items():
            options += ["--env", f"{variable}={value}"]
        return ["buildah", "run", *options, name, "--", *entry, *job.command]


@dataclass(frozen=True)
class _BuildahContainer:
    name: str
    root: Path
    process: subprocess.Popen[bytes]
    log_path: Path
    volumes: tuple[str, ...]
    started_seconds: float = field(default_factory=time.time)

    def ended(self) -> bool:
        return self.process.poll() is not None

    def log(self) -> str:
        return self.log_path.read_text()

    def execute(self, *command: str) -> str:
        environment = _environment(_contained(self.process.pid))
        given = [part for variable, value in environment.items() for part in ("--env", f"{variable}={value}")]
        isolation = ["--isolation", "chroot", "--network", "host"]
        return call("buildah", "run", *isolation, *given, self.name, "--", *command)

    def stop(self) -> int:
        if self.process.poll() is None:
            os.kill(_contained(self.process.pid), signal.SIGTERM)
        status = self.process.wait(STOP_SECONDS)
        written = self._written()
        call("buildah", "umount", self.name)
        call("buildah", "rm", self.name)
        if written:
            raise EngineError(f"the container wrote outside its volumes: {', '.join(written[:10])}")
        return status

    def _written(self) -> list[str]:
        found = []
        for folder, folders, files in os.walk(self.root):
            inside = "/" + os.path.relpath(folder, self.root)
            folders[:] = [f for f in folders if os.path.normpath(f"{inside}/{f}") not in self.volumes]
            for file in files:
                path = Path(folder) / file
                if path.lstat().st_mtime > self.started_seconds:
                    found.append(str(path.relative_to(self.root)))
        return found


def _contained(pid: int) -> int:
    """The container's own process, below those of buildah, whatever it has started itself."""
    while "buildah" in Path(f"/proc/{pid}/comm").read_text():  # or memfd:buildah-chroot-exec
        threads = Path(f"/proc/{pid}/task").iterdir()
        below = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
        if not below:
            return pid
        pid = below[0]
    return pid


def _environment(pid: int) -> dict[str, str]:
    """RICEFISH_ variables of a process."""
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in lines if line.startswith("RICEFISH_"))
