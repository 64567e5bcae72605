"""What the viewer is told of a scan: where it lies, what is shown of it, in which colours."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from scans.geometry import Frame
from scans.intensity import Window
from scans.organs import OrganMap
from serving.models.served import ModelIdentity
from serving.queue.scan import Scan, Upload
from serving.web.viewer_state import Shown, organ_properties, viewer_address

BASE = "http://fish.example:8000"
ID = "5" * 32


@pytest.fixture
def scan() -> Scan:
    """40 x 20 x 10 voxels of 0.02 x 0.01 x 0.005 mm; the first lies at x, y, z = 1, 2, 4 mm (LPS+)."""
    affine = np.diag([-0.005, -0.01, 0.02, 1.0])
    affine[:3, 3] = (-1.0, -2.0, 4.0)
    return Scan(
        id=ID,
        created_seconds=0.0,
        upload=Upload("fish.nii.gz", "0" * 64, 1, None),
        shape=(40, 20, 10),
        dtype="uint16",
        frame=Frame.from_affine(affine),
        window=Window(100.0, 900.0),
        model=ModelIdentity(name="student", version="3", sha256="0" * 64, key="student-3"),
        organs=OrganMap.from_mapping({1: {"name": "left_eye", "colour": [255, 128, 0]}, 2: "heart"}),
        slab_slices=8,
        image_checksums={"zarr.json": "0" * 16},
    )


def state(address: str) -> dict[str, Any]:
    path, mark, fragment = address.partition("#!")
    assert (path, mark) == (f"/v/{ID}/", "#!")
    found: dict[str, Any] = json.loads(unquote(fragment))
    return found


def test_a_place_is_counted_in_voxels_from_the_origin_of_space(scan: Scan) -> None:
    """Voxel (3, 5, 7) of z, y, x lies 4 / 0.02 + 3, 2 / 0.01 + 5 and 1 / 0.005 + 7 voxels from it; the middle else."""
    told = state(viewer_address(scan, base=BASE, shown=Shown(), at=(3, 5, 7)))
    assert told["position"] == pytest.approx([203, 205, 207])
    assert told["dimensions"] == {
        "z": [pytest.approx(2e-5), "m"],
        "y": [pytest.approx(1e-5), "m"],
        "x": [pytest.approx(5e-6), "m"],
    }
    assert state(viewer_address(scan, base=BASE, shown=Shown()))["position"] == pytest.approx([220, 210, 205])


def test_organs_have_the_names_and_colours_of_the_model(scan: Scan) -> None:
    """All are shown from the start, from the scan's own store on this server."""
    (layer,) = state(viewer_address(scan, base=BASE, shown=Shown(image=False)))["layers"]
    assert layer["source"][0] == f"{BASE}/v1/scans/{ID}/segmentation.ome.zarr/|zarr3:"
    assert layer["segments"] == ["1", "2"]
    assert layer["segmentColors"]["1"] == "#ff8000"
    names = organ_properties(scan)["inline"]
    assert (names["ids"], names["properties"][0]["values"]) == (["1", "2"], ["left eye", "heart"])


def test_the_scan_is_shown_in_its_window_where_the_server_has_it(scan: Scan) -> None:
    """Beneath the organs, which let it through."""
    shown = Shown(segmentation="segmentations/2.ome.zarr", bodies=True)
    image, organs = state(viewer_address(scan, base=BASE, shown=shown))["layers"]
    assert image["source"] == f"{BASE}/v1/scans/{ID}/image.ome.zarr/|zarr3:"
    assert image["shaderControls"]["normalized"]["range"] == [100.0, 900.0]
    assert organs["selectedAlpha"] < 0.5
    assert organs["source"] == [
        f"{BASE}/v1/scans/{ID}/segmentations/2.ome.zarr/|zarr3:",
        f"{BASE}/v1/scans/{ID}/surfaces/precomputed/|neuroglancer-precomputed:",
    ]


def test_a_fragment_is_plain_ascii(scan: Scan) -> None:
    """Whatever a name holds, the address can stand in an attribute and in a mail."""
    address = viewer_address(scan, base=BASE, shown=Shown())
    assert address.isascii() and not set(address) & set("\"'<> {}")
