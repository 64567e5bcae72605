"""Scans that are finished, and corrections of what the model answered."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from tests.serving.running import RunningServer

Labels = NDArray[np.uint8]
"""uint8 (Z, Y, X)"""


def segmented(server: RunningServer, scan_file: Path, **query: str) -> str:
    """The id of a scan that has succeeded."""
    scan_id: str = server.post(scan_file, scan_file.name, **query).raise_for_status().json()["id"]
    assert server.until_ended(scan_id)["state"] == "succeeded"
    return scan_id


def fetched(server: RunningServer, scan_id: str, query: str = "") -> nib.Nifti1Image:
    """A version of the segmentation, in memory."""
    content = server.get(f"/v1/scans/{scan_id}/segmentation?format=nii.gz{query}").raise_for_status().content
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def voxels(image: nib.Nifti1Image) -> Labels:
    return np.asarray(image.dataobj).T


def as_nifti(labels: NDArray[Any], affine: NDArray[np.floating]) -> bytes:
    """Packed, as nibabel does it."""
    return gzip.compress(nib.Nifti1Image(labels.T, affine).to_bytes(), mtime=0)


def put(server: RunningServer, scan_id: str, content: bytes, filename: str, **query: str) -> httpx.Response:
    url = f"{server.url}/v1/scans/{scan_id}/segmentation"
    return server.http.put(url, params={"filename": filename, **query}, content=content)


def packed(folder: Path) -> bytes:
    """A folder as a zip, as the client sends it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(folder.parent).as_posix())
    return buffer.getvalue()
