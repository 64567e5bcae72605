"""Scans that a server has segmented, their corrections, and what a raw data set holds of them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ricefish.client.client import Client
from ricefish.dataset.addition import Wishes, add_scans

SHAPE = (7, 12, 9)
AFFINE = np.diag([0.5, 0.5, 2.0, 1.0])


def grey(seed: int) -> NDArray[np.int16]:
    """z, y, x"""
    return np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(np.int16)


def drawn(seed: int) -> NDArray[np.uint8]:
    """z, y, x"""
    return np.random.default_rng(seed).integers(0, 3, SHAPE).astype(np.uint8)


def saved(path: Path, voxels: NDArray[np.generic]) -> Path:
    nib.save(nib.Nifti1Image(voxels.T, AFFINE), path)
    return path


def posted(client: Client, folder: Path, name: str, seed: int) -> str:
    """A scan that is finished."""
    scan = client.submit(saved(folder / f"{name}.nii.gz", grey(seed)), fresh=True)
    assert [status.state for status in client.wait(scan.id, poll_seconds=0.05)][-1] == "succeeded"
    return scan.id


def corrected(client: Client, folder: Path, name: str, seed: int) -> str:
    """A scan that is finished, and corrected."""
    scan_id = posted(client, folder, name, seed)
    client.correct(scan_id, saved(folder / "mine.nii.gz", drawn(seed)))
    return scan_id


def add(client: Client, folder: Path, *scan_ids: str, **wishes: object) -> list[str]:
    """What was told."""
    told: list[str] = []
    add_scans(client, folder, scan_ids, Wishes(**wishes), tell=told.append)  # type: ignore[arg-type]
    return told


def voxels(path: Path) -> NDArray[np.generic]:
    return np.asarray(nib.load(path).dataobj).T


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
