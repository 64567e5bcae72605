"""A copy of this repository whose pipeline takes a few minutes, for containers to work in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
_FEWER = {"epochs": 1, "steps_per_epoch": 8, "labelled": 3, "unlabelled": 3, "validation": 3, "slices": 60}
_NARROWER = {"depth": 32, "height": 64, "width": 64, "crop": 32, "batch_size": 8}


def small_pipeline(repository: Path) -> Path:
    """Copies the working tree there, makes its pipeline small, and commits it in a git repository of its own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        source, target = REPOSITORY / name, repository / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        target.chmod(source.stat().st_mode & 0o777)
    _make_smallest(repository / "params.yaml")
    git = ["git", "-C", str(repository), "-c", "user.name=image-test", "-c", "user.email=image-test@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "Copy the working tree"]):
        subprocess.run([*git, *command], check=True)
    return repository


def _make_smallest(params: Path) -> None:
    """The demo's values with so few fish and steps that it takes a few minutes and learns nothing."""
    content = yaml.safe_load(params.read_text())

    def shrink(section: dict[str, Any]) -> None:
        for name, value in section.items():
            if isinstance(value, dict):
                shrink(value)
            elif name in _FEWER | _NARROWER:
                section[name] = min(value, (_FEWER | _NARROWER)[name])

    shrink(content)
    params.write_text(yaml.safe_dump({**content, "profile": "demo"}))
