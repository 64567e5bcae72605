"""Containers without an engine: a process in namespaces of its own, on a root that is made of this machine's.

It takes root to make them. Each ends with the thread that started it, whatever becomes of that.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.network import Network
from tests.deploy.roots import Mount, root_made

_NEEDED = ("ip", "mount", "nsenter", "setpriv", "unshare", "wget")
_KILLED_SECONDS = 120
"""Until what was killed is gone; generous: the machine may be busy."""
_OWN = ("--mount", "--uts", "--ipc", "--pid", "--net")
_TRIED = """
mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt
ip link add bridge type bridge && ip link add here type veth peer name there
"""


class ContainerError(AssertionError):
    """A container did not do what it was started for; the message holds the end of its log."""


@dataclass(frozen=True)
class Spec:
    """What a container is started with, at every start the same."""

    name: str
    """Its host name."""
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    workdir: str
    user: str
    """`UID:GID`; `0:0` may do what root may."""
    account: str = ""
    """The line of /etc/passwd that the image adds."""
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[str, ...] = ()
    shm_size: str = "64m"
    read_only: bool = False
    drops_capabilities: bool = False
    no_new_privileges: bool = False

    def entering(self) -> list[str]:
        """The words before a command, inside of the root: folder, environment, user, and what that may do."""
        given = [f"{name}={value}" for name, value in self.environment.items()]
        user, _, group = self.user.partition(":")
        rights = [] if user == "0" else [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        rights += ["--bounding-set=-all", "--inh-caps=-all"] if self.drops_capabilities else []
        rights += ["--no-new-privs"] if self.no_new_privileges else []
        entered = ["env", "--ignore-environment", f"--chdir={self.workdir}", *given]
        return [*entered, "setpriv", "--pdeathsig=KILL", *rights, "--"]


@dataclass
class Container:
    """Start it, kill it, start it again: its volumes and its address stay."""

    spec: Spec
    network: Network
    address: str
    log_path: Path
    names: tuple[str, ...] = ()
    """What others call it, beside its host name."""
    _process: subprocess.Popen[bytes] | None = None
    _pid: int = 0
    """Of the container's first process, as this machine counts."""
    _folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self._folder = self.log_path.with_suffix("")
        self._folder.mkdir()

    def start(self) -> None:
        """Returns when it is on its way; `execute` a health check to know more."""
        self.network.unplug(self.address)
        unshare = ["setpriv", "--pdeathsig=KILL", "unshare", *_OWN, "--fork", "--kill-child"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*unshare, "--", "sh", "-euc", self._becoming()], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        assert self._process.stdin is not None
        with self._process.stdin as go:
            self._pid = _only_child(self._process)
            self.network.plug(self.address, self._pid)
            go.write(b"\n")
        self.network.join(self.spec.name, *self.names, address=self.address)

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, to all of its processes; nothing if it does not run."""
        self._end(signal.SIGKILL)

    def stop(self, *, grace_seconds: float) -> int:
        """SIGTERM to its first process, and SIGKILL where it is still there after the grace; gives the exit status."""
        return self._end(signal.SIGTERM, grace_seconds=grace_seconds)

    def wait(self, *, seconds: float) -> int:
        """The exit status, once it has ended."""
        assert self._process is not None
        status = self._process.wait(seconds)
        self.network.leave(self.address)
        self._process = None
        return status

    def execute(self, *command: str, given: str = "", seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a command beside the container's process, as its user, with `given` as its standard input."""
        return subprocess.run(
            ["nsenter", f"--target={self._pid}", *_OWN, "--root", "--", *self.spec.entering(), *command],
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def log(self) -> str:
        """What its processes have written, at all starts."""
        return self.log_path.read_text(errors="replace")

    def _end(self, number: signal.Signals, *, grace_seconds: float = _KILLED_SECONDS) -> int:
        if self._process is None:
            return 0
        if self.running():
            os.kill(self._pid, number)
        try:
            return self.wait(seconds=grace_seconds)
        except subprocess.TimeoutExpired:
            os.kill(self._pid, signal.SIGKILL)
            return self.wait(seconds=_KILLED_SECONDS)

    def _becoming(self) -> str:
        """The shell script by which the first process becomes that of the container, once it has a network."""
        spec = self.spec
        root, made = root_made(
            self._folder,
            mounts=spec.mounts,
            tmpfs=(f"/dev/shm:size={spec.shm_size},mode=1777", *spec.tmpfs),  # noqa: S108 - the container's
            files={
                "/etc/resolv.conf": f"nameserver {self.network.gateway}\noptions ndots:0\n",
                "/etc/passwd": Path("/etc/passwd").read_text(encoding="utf-8") + spec.account,
                "/etc/hosts": f"127.0.0.1 localhost\n{self.address} {spec.name}\n",
            },
            read_only=spec.read_only,
        )
        networked = [
            "read -r _",
            "ip link set lo up",
            f"ip address add {self.address}/24 dev eth0",
            "ip link set eth0 up",
            f"hostname {spec.name}",
        ]
        becoming = shlex.join(["chroot", root, *spec.entering(), *spec.argv])
        return "\n".join([*networked, *made, f"exec {becoming} < /dev/null"])


def impossible_here() -> str | None:
    """Why this machine can have no containers of this kind; None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "containers without an engine are namespaces and mounts, which take Linux and root"
    if missing := [program for program in _NEEDED if shutil.which(program) is None]:
        return f"{', '.join(missing)} cannot be found, which containers without an engine take"
    tried = ["unshare", *_OWN, "--fork", "sh", "-euc", _TRIED]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    return f"this machine gives no namespaces, overlays or bridges: {done.stderr}" if done.returncode else None


def _only_child(process: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.01)
    raise ContainerError(f"unshare ended with exit status {process.returncode}")
