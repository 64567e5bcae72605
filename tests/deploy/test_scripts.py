"""The shell scripts of deploy/ can be parsed, and pass shellcheck where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def scripts() -> list[Path]:
    """Files below deploy/ that begin with a shell's name."""
    files = (path for path in sorted((REPOSITORY / "deploy").rglob("*")) if path.is_file())
    return [path for path in files if path.read_bytes()[:20].startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))]


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_a_script_can_be_parsed(script: Path) -> None:
    """`bash -n` and, where it is installed, shellcheck find nothing."""
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
