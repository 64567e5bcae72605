"""Archives over HTTP: what is read of them is said, and what is not is named as people know it."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping

import numpy as np
import tifffile

from tests.serving.running import RunningServer

GREY = np.random.default_rng(9).integers(0, 999, (6, 20, 10)).astype(np.int16)
HEADER = (
    "ObjectType = Image\nNDims = 3\nDimSize = 10 20 6\nElementType = MET_SHORT\nElementSpacing = 0.1 0.1 0.3\n"
    "ElementDataFile = Größe.raw\n"
)


def zip_of(contents: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


def tiff(plane: np.ndarray) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, plane)
    return file.getvalue()


def slices() -> dict[str, bytes]:
    return {f"rec/fish_{number:03}.tif": tiff(plane) for number, plane in enumerate(GREY)}


def test_header_and_voxels_are_segmented(server: RunningServer) -> None:
    """In one zip, beside a note, which is said to be passed over."""
    body = zip_of({"Größe.raw": GREY.tobytes(), "fish.mhd": HEADER.encode(), "fish.log": b"Scanner=1"})
    answer = server.post(body, "fish.zip")
    assert answer.status_code == 202, answer.text
    scan = answer.json()
    assert (scan["shape"], scan["spacing_mm"]) == ([6, 20, 10], [0.3, 0.1, 0.1])
    assert scan["notes"] == ["passed over, as no slice: fish.log"]
    assert server.until_ended(scan["id"])["state"] == "succeeded"


def test_slices_with_their_side_files_are_segmented(server: RunningServer) -> None:
    """The notes are in the description of the scan."""
    side = dict.fromkeys(("Thumbs.db", "__MACOSX/._a", "rec/fish.ctvol", "rec/fish.vgi"), b"x")
    scan = server.post(zip_of({**slices(), **side}), "fish.zip", spacing="1,1,1").json()
    assert scan["notes"] == ["passed over, as no slice: rec/fish.ctvol, rec/fish.vgi"]
    assert server.until_ended(scan["id"])["state"] == "succeeded"


def test_a_faulty_slice_is_named_by_its_own_name(server: RunningServer) -> None:
    """Not the archive alone; no path of the server is shown."""
    faulty = {**slices(), "rec/fish_003.tif": tiff(GREY[3, :4])}
    answer = server.post(zip_of(faulty), "fish.zip", spacing="1,1,1")
    assert answer.status_code == 422
    assert answer.json()["file"] == "fish_003.tif"
    assert answer.json()["detail"].startswith("fish_003.tif: (4, 10), the first slice (20, 10) int16")


def test_a_compression_that_is_not_read_is_named(server: RunningServer) -> None:
    """With the command that makes another zip, and without a path of the server."""
    body = bytearray(zip_of(slices()))
    at = -1
    while (at := body.find(b"PK\1\2", at + 1)) >= 0:
        struct.pack_into("<H", body, at + 10, 9)
    answer = server.post(bytes(body), "fish.zip", spacing="1,1,1")
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail.startswith("fish.zip: compression Deflate64 is not supported (entry 'rec/fish_000.tif'); accepted:")
    assert "zip -r NEW.zip FOLDER" in detail
    assert str(server.store) not in answer.text
