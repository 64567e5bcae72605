"""`docker compose` without an engine: the services of compose.yaml in containers, started in their order."""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tests.deploy.compose_file import Service, Volume, services
from tests.deploy.containers import Container, ContainerError, Spec
from tests.deploy.images import Brought, brought
from tests.deploy.network import Network
from tests.deploy.roots import Mount

HEALTHY_SECONDS = 600
"""Generous: the machine may be busy."""


class Composition:
    """The project of one compose.yaml. Containers reach each other by their services' names, and we by `address`."""

    def __init__(
        self, project: Path, folder: Path, network: Network, *, variables: Mapping[str, str] | None = None
    ) -> None:
        """`project` is a copy of the repository with its secrets; logs and volumes lie in `folder`."""
        self.services = services(variables)
        self._brought = {name: brought(service, folder) for name, service in self.services.items()}
        self._project = project
        self._folder = folder
        self.network = network
        self._containers: dict[str, list[Container]] = defaultdict(list)
        self._completed: set[str] = set()

    def __getitem__(self, service: str) -> list[Container]:
        """The containers of a service, those that were killed as well."""
        return self._containers[service]

    def container(self, name: str) -> Container:
        """The one with that host name."""
        return next(one for some in self._containers.values() for one in some if one.spec.name == name)

    def url(self, service: str, port: int) -> str:
        """Where we reach the first container of a service."""
        return f"http://{self[service][0].address}:{port}"

    def has(self, service: str) -> bool:
        """False where this machine lacks its program."""
        return self._brought[service] is not None

    def up(self, service: str, *, scale: int = 1) -> None:
        """Starts so many containers of a service, and first what it depends on; returns when all are healthy."""
        self._dependencies(service)
        while len(self[service]) < scale:
            self[service].append(self._create(service, f"{service}-{len(self[service]) + 1}"))
        for one in self[service]:
            if not one.running():
                one.start()
        for one in self[service]:
            self.until_healthy(service, one)

    def stop(self, service: str) -> list[int]:
        """Tells its containers to stop, one after the other, and waits as compose.yaml says; gives how each ended."""
        grace = self.services[service].stop_grace_seconds
        return [one.stop(grace_seconds=grace) for one in self[service]]

    def empty(self, volume: str) -> None:
        """Leaves nothing in a named volume, as if it were new."""
        for path in (self._folder / "volumes" / volume).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def run(self, service: str, *command: str, seconds: float = HEALTHY_SECONDS) -> str:
        """Runs a command in a container of its own until it ends well; gives what it wrote."""
        self._dependencies(service)
        one = self._create(service, f"{service}-run-{len(self[f'{service}-run'])}", *command)
        self[f"{service}-run"].append(one)
        one.start()
        if status := one.wait(seconds=seconds):
            raise ContainerError(f"{service} {' '.join(command)}: exit status {status}: {one.log()[-5000:]}")
        return one.log()

    def until_healthy(self, service: str, one: Container) -> None:
        """Returns when its health check says so."""
        check = self._brings(service).healthcheck or self.services[service].healthcheck
        assert check, f"{service} has no health check"
        deadline = time.monotonic() + HEALTHY_SECONDS
        while (done := one.execute(*check)).returncode:
            if not one.running() or time.monotonic() > deadline:
                raise ContainerError(f"{one.spec.name}: {done.stdout}{done.stderr}\n{one.log()[-5000:]}")
            time.sleep(0.5)

    def close(self) -> None:
        """Kills what runs."""
        for one in [one for some in self._containers.values() for one in some]:
            one.kill()

    def _dependencies(self, service: str) -> None:
        for other, condition in self.services[service].depends_on.items():
            if condition == "service_healthy":
                self.up(other, scale=max(1, len(self[other])))
            elif other not in self._completed:
                assert condition == "service_completed_successfully", condition
                self.run(other)
                self._completed.add(other)

    def _brings(self, service: str) -> Brought:
        brings = self._brought[service]
        assert brings is not None, f"this machine has no {service}"
        return brings

    def _create(self, service: str, name: str, *command: str) -> Container:
        described = self.services[service]
        brings = self._brings(service)
        spec = Spec(
            name=name,
            argv=_argv(described, brings, command),
            environment={**brings.image.environment, **described.environment},
            workdir=brings.image.workdir,
            user=described.user or brings.image.user,
            account=brings.image.account,
            mounts=(*brings.mounts, *self._mounts(described, brings, name)),
            tmpfs=described.tmpfs,
            shm_size=described.shm_size.removesuffix("b"),
            read_only=described.read_only,
            drops_capabilities=described.drops_capabilities,
            no_new_privileges=described.no_new_privileges,
        )
        names = () if name.startswith(f"{service}-run") else (service,)
        log = self._folder / f"{name}.log"
        return Container(spec, self.network, self.network.new_address(), log, names)

    def _mounts(self, service: Service, brings: Brought, name: str) -> list[Mount]:
        taken = {volume.target for volume in service.volumes}
        own = [Volume(f"{name}-{Path(one).name}", one, False) for one in brings.image.volumes if one not in taken]
        user = service.user or brings.image.user
        secrets = self._project / "deploy/compose/secrets"
        return [
            *(self._mount(volume, user) for volume in (*service.volumes, *own)),
            *(Mount(secrets / secret, f"/run/secrets/{secret}") for secret in service.secrets),
        ]

    def _mount(self, volume: Volume, user: str) -> Mount:
        if not volume.named:
            return Mount(self._project / volume.source, volume.target, volume.read_only)
        folder = self._folder / "volumes" / volume.source
        if not folder.exists():
            folder.mkdir(parents=True)
            uid, gid = map(int, user.split(":"))
            os.chown(folder, uid, gid)
        return Mount(folder, volume.target, volume.read_only)


def _argv(service: Service, brings: Brought, command: tuple[str, ...]) -> tuple[str, ...]:
    if brings.argv is not None:
        return brings.argv
    if service.entrypoint is None:
        return (*brings.image.entrypoint, *(command or service.command or brings.image.command))
    return (*service.entrypoint, *(command or service.command or ()))
