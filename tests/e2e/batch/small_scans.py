"""Small scans that differ, what becomes of them, and the command that segments them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SHAPE = (8, 16, 16)


def grey(number: int) -> NDArray[np.int16]:
    """(Z, Y, X); others for each number."""
    values = np.random.default_rng(number).integers(0, 1000, SHAPE).astype(np.int16)
    values[0, 0, :2] = 0, 1000  # so that the window is known
    return values


def write_scan(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(grey(number).T, np.diag([0.01, 0.01, 0.01, 1])), path)
    return path


def segmentation(number: int) -> NDArray[np.uint8]:
    """What the tests' model makes of it: heart above 400, eye above 700."""
    values = grey(number)
    return ((values > 400).astype(np.uint8) + (values > 700)).astype(np.uint8)


def read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(nib.load(path).dataobj).T


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ricefish", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def run(*arguments: object, seconds: float = 200) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    process = start(*arguments)
    said, complained = process.communicate(timeout=seconds)
    return process.returncode, said, complained
