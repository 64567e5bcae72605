"""A copy of this repository whose pipeline takes a few minutes, for containers to work in."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.clone import make_smallest

REPOSITORY = Path(__file__).resolve().parents[2]


def small_pipeline(repository: Path) -> Path:
    """Copies the working tree there, makes its pipeline small, and commits it in a git repository of its own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        source, target = REPOSITORY / name, repository / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        target.chmod(source.stat().st_mode & 0o777)
    make_smallest(repository / "params.yaml")
    git = ["git", "-C", str(repository), "-c", "user.name=image-test", "-c", "user.email=image-test@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "Copy the working tree"]):
        subprocess.run([*git, *command], check=True)
    return repository
