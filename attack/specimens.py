"""Specimens: small scans that attacks post, and all that can be asked about a scan afterwards."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import numpy as np
import tifffile

from scans.formats import create_volume
from scans.geometry import Frame, Spacing

Answers = Mapping[str, bytes | str]
"""What was asked -> the answer, the scan's id left out; or how it was refused: REFUSED or BROKEN and why."""
REFUSED, BROKEN = "refused", "broken"

_QUESTIONS = (
    "",
    "organs",
    "organs?format=csv",
    "segmentation?format=nii.gz",
    "segmentation?format=nrrd",
    "segmentation?format=tif",
    "segmentation?format=ome-zarr",
    "slices/z/1.png",
    "slices/y/3.png",
)
_LASTING = ("filename", "sha256", "state", "slices_total", "shape", "dtype", "spacing_mm", "model")
"""Of a scan's description: what is the same each time it is segmented."""
_PLACES = ("StripOffsets", "StripByteCounts")
"""Tags that say where voxels lie, packed."""
_TUS = {"Tus-Resumable": "1.0.0"}
_ENDS_SECONDS = 20.0


def write_scan(path: Path, *, seed: int, slices: int = 5) -> Path:
    """A scan of so many slices of 20 x 24 pixels, in the format that the name says."""
    grey = np.random.default_rng(seed).integers(0, 4000, (slices, 20, 24)).astype(np.uint16)
    with create_volume(path, shape=grey.shape, dtype=grey.dtype, frame=Frame.from_lps(Spacing(0.2, 0.1, 0.1))) as file:
        file.write(grey)
    return path


def post(http: httpx.Client, path: Path, **query: str) -> str:
    """Posts a file, to be segmented even if it was before; gives the scan's id."""
    parameters = {"filename": path.name, "fresh": "true", **query}
    answer = http.post("/v1/scans", params=parameters, content=path.read_bytes()).raise_for_status()
    return str(answer.json()["id"])


def upload(http: httpx.Client, path: Path) -> str:
    """Uploads a file by tus, and gives the upload's id; it is no scan yet."""
    content = path.read_bytes()
    begun = http.post("/v1/uploads", headers={**_TUS, "Upload-Length": str(len(content))}).raise_for_status()
    place = begun.headers["location"]
    headers = {**_TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    http.patch(place, content=content, headers=headers).raise_for_status()
    return str(place.rpartition("/")[2])


def take_upload(http: httpx.Client, upload_id: str, filename: str) -> str | None:
    """Makes an upload a scan and gives its id; None where that is refused."""
    named = {"source": {"upload": upload_id}, "filename": filename, "fresh": True}
    try:
        answer = http.post("/v1/scans", json=named)
    except httpx.HTTPError:
        return None
    return str(answer.json()["id"]) if answer.is_success else None


def wait(http: httpx.Client, scan_id: str) -> str:
    """The state in which a scan has ended; "" where nobody says. Raises TimeoutError."""
    deadline = time.monotonic() + _ENDS_SECONDS
    while time.monotonic() < deadline:
        answer = http.get(f"/v1/scans/{scan_id}")
        if not answer.is_success:
            return ""
        state = str(answer.json()["state"])
        if state not in ("queued", "running"):
            return state
        time.sleep(0.05)
    raise TimeoutError(f"{scan_id} has not ended after {_ENDS_SECONDS:.0f} s")


def ask(http: httpx.Client, scan_id: str) -> Answers:
    """Everything about a scan."""
    return {question: _answer(http, scan_id, question) for question in _QUESTIONS}


def _answer(http: httpx.Client, scan_id: str, question: str) -> bytes | str:
    try:
        answer = http.get(f"/v1/scans/{scan_id}/{question}".rstrip("/"))
    except httpx.HTTPError as error:
        return f"{BROKEN}: {type(error).__name__}"
    if not answer.is_success:
        return f"{REFUSED}: {answer.status_code}"
    if not question:
        description = answer.json()
        return json.dumps([description[name] for name in _LASTING], sort_keys=True).encode()
    content = answer.content.replace(scan_id.encode(), b"ID")
    return unpacked(content) if question.endswith("=tif") else content


def unpacked(content: bytes) -> bytes:
    """What a TIFF says: its tags and voxels. ISA-L packs the same voxels into other bytes, once in some thousand times.

    What cannot be read stays as it is.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
            tags = [[(tag.name, str(tag.value)) for tag in page.tags if tag.name not in _PLACES] for page in pages]
            return json.dumps(tags).encode() + file.asarray().tobytes()
    except Exception:  # whatever is wrong with it
        return content
