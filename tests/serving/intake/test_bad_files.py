"""Every kind of bad file, over HTTP: a 4xx that names file and fault, nothing left behind, the server alive."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest
import tifffile

from tests.serving.running import RunningServer


def _nifti(array: np.ndarray) -> bytes:
    return bytes(nib.Nifti1Image(array, np.diag([0.5, 0.5, 0.5, 1.0])).to_bytes())


def _grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 999, (9, 8, 7)).astype(np.int16)


def _with_nan() -> bytes:
    values = _grey().astype(np.float32)
    values[4, 4, 6] = np.nan
    return _nifti(values)


def _tiff() -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, _grey().astype(np.uint16), photometric="minisblack")
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "no scan here")
    return buffer.getvalue()


BAD: dict[str, tuple[str, Callable[[], bytes], int, str]] = {
    "empty": ("empty.nii", lambda: b"", 400, "empty"),
    "unknown": ("letter.docx", lambda: b"Dear Sir or Madam, " * 50, 415, "unknown format"),
    "truncated": ("cut.nii", lambda: _nifti(_grey())[:-100], 422, "truncated"),
    "truncated gzip": ("cut.nii.gz", lambda: gzip.compress(_nifti(_grey()))[:-100], 422, "truncated"),
    "damaged gzip": ("bits.nii.gz", lambda: _flipped(gzip.compress(_nifti(_grey()))), 422, "damaged"),
    "header alone": ("head.nii", lambda: _nifti(_grey())[:360], 422, ""),
    "4-D": ("time.nii", lambda: _nifti(np.ones((4, 4, 4, 3), dtype=np.int16)), 422, "3"),
    "complex": ("phase.nii", lambda: _nifti(np.ones((4, 4, 4), dtype=np.complex64)), 422, "complex"),
    "NaN": ("nan.nii", _with_nan, 422, "NaN"),
    "no spacing": ("stack.tif", _tiff, 400, "spacing"),
    "zip of something else": ("papers.zip", _zip, 422, "DICOM"),
}


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_and_leaves_nothing(server: RunningServer, kind: str) -> None:
    """The answer is a problem that names the file as the sender does, and what was found."""
    name, make, status, found = BAD[kind]
    before = {folder.name for folder in (server.store / "scans").iterdir()}
    answer = server.post(make(), name)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert name in problem["detail"]
    assert found in problem["detail"]
    assert str(server.store) not in answer.text
    assert {folder.name for folder in (server.store / "scans").iterdir()} == before
    assert not any(server.incoming.iterdir())
    assert server.get("/health/ready").status_code == 200


def test_a_spacing_given_beside_the_file_helps(server: RunningServer) -> None:
    """The TIFF that was refused for want of a spacing is accepted with one."""
    answer = server.post(_tiff(), "stack.tif", spacing="0.03,0.02,0.01")
    assert answer.status_code == 202, answer.text
    assert answer.json()["spacing_mm"] == pytest.approx([0.03, 0.02, 0.01])
    assert server.until_ended(answer.json()["id"])["state"] == "succeeded"


@pytest.mark.parametrize("spacing", ["1,2", "a,b,c", "0,1,1", "1,1,-1", "1,1,nan", ""])
def test_a_spacing_that_is_none_is_refused(server: RunningServer, spacing: str) -> None:
    """400, the field, and how to write it."""
    answer = server.post(_nifti(_grey()), "fish.nii", spacing=spacing)
    assert answer.status_code == 400
    assert answer.json()["field"] == "spacing"
    assert "0.01,0.005,0.005" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "filename"),
        ({"filename": ".."}, "filename"),
        ({"filename": "a" * 5000}, "filename"),
        ({"filename": "a.nii", "priority": "now"}, "priority"),
        ({"filename": "a.nii", "spacng": "1,1,1"}, "spacng"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(server: RunningServer, query: dict[str, str], field: str) -> None:
    """Missing, unusable and unknown parameters are named."""
    answer = server.http.post(f"{server.url}/v1/scans", params=query, content=_nifti(_grey()))
    assert answer.status_code == 400
    assert answer.json()["field"] == field
