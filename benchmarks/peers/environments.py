"""Environments: one for each peer, from its hashed lock file, outside the checkout and outside Ricefish's own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
DEFAULT_FOLDER = Path("~/.cache/ricefish-peers").expanduser()
_READY = ".ready"


class EnvironmentFailed(RuntimeError):
    """A peer's packages could not be installed; the message ends as pip's does."""


@dataclass(frozen=True)
class Environments:
    """A folder of virtual environments, each named after its peer and what its lock file holds."""

    folder: Path

    def python(self, name: str) -> Path:
        """The interpreter of a peer's environment, which is made if it is not there. Raises EnvironmentFailed."""
        lock = REQUIREMENTS / f"{name}.txt"
        place = self.folder / f"{name}-{_digest(lock)}"
        python = place / "bin" / "python"
        if not (place / _READY).exists():
            _run([sys.executable, "-m", "venv", "--clear", str(place)])
            _run([str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)])
            (place / _READY).touch()
        return python

    def version(self, name: str, package: str) -> str:
        """What is installed there of a package."""
        said = f"from importlib.metadata import version; print(version({package!r}))"
        return _run([str(self.python(name)), "-c", said]).strip()


def _digest(lock: Path) -> str:
    """Of what a lock file asks for, whatever it says about why."""
    lines = (line for line in lock.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#"))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFailed(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout
