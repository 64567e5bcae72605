"""A container's root: this machine's below an overlay that nobody keeps, with what the container has mounted over it.

All of it are shell commands for a process that has its own mounts already: nothing of it can be seen from outside, and
all of it is gone when that process is.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_AS_DOCKER_MOUNTS = "noexec,nosuid,nodev"
_TMP = "/tmp"  # noqa: S108 - the container's


@dataclass(frozen=True)
class Mount:
    """A file or folder of this machine, in a container."""

    source: Path
    target: str
    read_only: bool = True


def root_made(
    folder: Path, *, mounts: Sequence[Mount], tmpfs: Sequence[str], files: dict[str, str], read_only: bool
) -> tuple[str, list[str]]:
    """Where the root will be, and the commands that make it there; `folder` is an empty one that they may use.

    What lies in this machine's /tmp is not the container's. `tmpfs` are folders, with options after a colon.
    """
    root = f"{folder}/root"
    overlay = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
    commands = [
        ["mount", "-t", "tmpfs", "tmpfs", str(folder)],
        ["mkdir", root, f"{folder}/upper", f"{folder}/work"],
        ["mount", "-t", "overlay", "-o", overlay, "overlay", root],
        ["mount", "-t", "proc", "proc", f"{root}/proc"],
        ["mount", "--rbind", "/sys", f"{root}/sys"],
        ["mount", "--rbind", "/dev", f"{root}/dev"],
    ]
    for place in (_TMP, *tmpfs):
        commands += _tmpfs(root, place)
    for mount in (*_interpreter(), *mounts):
        commands += _bound(root, mount)
    for above in _above(sys.prefix, sys.base_prefix):
        commands.append(["chmod", "o+x", f"{root}{above}"])
    lines = [shlex.join(command) for command in commands]
    for path, text in files.items():
        lines += [f"rm -f {root}{path}", f"printf %s {shlex.quote(text)} > {root}{path}"]
    if read_only:
        lines += [f"mount -o remount,bind,ro {root}"]
        if _TMP not in tmpfs:
            lines += [f"mount -o remount,ro {root}{_TMP}"]
    return root, lines


def _tmpfs(root: str, place: str) -> list[list[str]]:
    folder, _, options = place.partition(":")
    told = f"{_AS_DOCKER_MOUNTS},{options or 'mode=1777'}"
    return [["mkdir", "-p", f"{root}{folder}"], ["mount", "-t", "tmpfs", "-o", told, "tmpfs", f"{root}{folder}"]]


def _bound(root: str, mount: Mount) -> list[list[str]]:
    target = f"{root}{mount.target}"
    if mount.source.is_dir():
        made = [["mkdir", "-p", target]]
    else:
        made = [["mkdir", "-p", str(Path(target).parent)], ["touch", target]]
    bound = [*made, ["mount", "--bind", str(mount.source), target]]
    return [*bound, ["mount", "-o", "remount,bind,ro", target]] if mount.read_only else bound


def _interpreter() -> list[Mount]:
    """This environment: it may lie below a folder that the container has to itself."""
    return [Mount(Path(prefix), prefix) for prefix in dict.fromkeys((sys.base_prefix, sys.prefix))]


def _above(*paths: str) -> list[str]:
    """The folders that another user passes through on the way there."""
    return sorted({str(parent) for path in paths for parent in Path(path).parents} - {"/"})
