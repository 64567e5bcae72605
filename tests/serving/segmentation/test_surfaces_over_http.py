"""Surfaces of organs from a real server, read by trimesh, and what is told where there are none."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from tests.serving.running import RunningServer

SHAPE = (40, 60, 150)
"""More than 128 along one axis, so that the pyramid has a second level."""
AFFINE = np.array([[0, 0, 0.4, 5], [-0.2, 0, 0, 6], [0, 0.3, 0, 7], [0, 0, 0, 1]], dtype=np.float64)


def grey() -> NDArray[np.int16]:
    """Background 0, a heart of 50, a box; the model's window is from the least to the greatest value."""
    values = np.zeros(SHAPE, np.int16)
    values[5:25, 10:50, 20:120] = 50
    values[39, 59, 149] = 60
    values[39, 59, 148] = 100
    return values


@pytest.fixture(scope="module")
def finished(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A heart of 20 x 40 x 100 voxels and one far away, an eye of a single voxel beside it."""
    path = tmp_path_factory.mktemp("bodies") / "fish_9.nii.gz"
    nib.save(nib.Nifti1Image(grey().T, AFFINE), path)
    answer = server.post(path, "fish_9.nii.gz")
    assert answer.status_code == 202, answer.text
    scan = str(answer.json()["id"])
    assert server.until_ended(scan)["state"] == "succeeded"
    return scan


def labels_of(server: RunningServer, scan: str) -> NDArray[np.uint8]:
    content = gzip.decompress(server.get(f"/v1/scans/{scan}/segmentation").content)
    return np.asarray(nib.Nifti1Image.from_bytes(content).dataobj).T


def read(content: bytes, kind: str) -> Any:
    return trimesh.load(io.BytesIO(content), file_type=kind)


def organs_of(server: RunningServer, scan: str) -> dict[str, dict[str, Any]]:
    return {organ["name"]: organ for organ in server.get(f"/v1/scans/{scan}/organs").json()["organs"]}


@pytest.mark.parametrize("name", ["heart", "1"])
def test_stl_holds_the_organ_in_mm(server: RunningServer, finished: str, name: str) -> None:
    """By name or class index; the volume and the centre are those of the table of organs, x and y in LPS+."""
    answer = server.get(f"/v1/scans/{finished}/surfaces/{name}.stl")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "model/stl")
    assert f'filename="fish_9_{name}.stl"' in answer.headers["content-disposition"]
    organ, mesh = organs_of(server, finished)["heart"], read(answer.content, "stl")
    assert mesh.is_watertight and mesh.volume == pytest.approx(organ["volume_mm3"], rel=0.01)
    x, y, z = organ["centroid_mm"]
    np.testing.assert_allclose(mesh.center_mass, [-x, -y, z], atol=0.05)


def test_one_glb_has_all_organs(server: RunningServer, finished: str) -> None:
    """Each by its name, in metres; the two parts of the heart and the single voxel of the eye are all there."""
    answer = server.get(f"/v1/scans/{finished}/surfaces.glb")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "model/gltf-binary")
    assert 'filename="fish_9_organs.glb"' in answer.headers["content-disposition"]
    scene, organs = read(answer.content, "glb"), organs_of(server, finished)
    assert set(scene.geometry) == {"heart", "eye"}
    for name, mesh in scene.geometry.items():
        assert mesh.volume * 1e9 == pytest.approx(organs[name]["volume_mm3"], rel=0.01)


def test_glb_of_an_organ_has_it_alone(server: RunningServer, finished: str) -> None:
    """And is the same when it is asked for again."""
    answer = server.get(f"/v1/scans/{finished}/surfaces/eye.glb")
    assert set(read(answer.content, "glb").geometry) == {"eye"}
    assert server.get(f"/v1/scans/{finished}/surfaces/eye.glb").content == answer.content


def test_neuroglancer_finds_meshes(server: RunningServer, finished: str) -> None:
    """From `info` over names and manifest to a mesh that lies on the voxels as it shows them: in nm, unturned."""
    folder = f"/v1/scans/{finished}/surfaces/precomputed"
    info = server.get(f"{folder}/info").json()
    assert info == {"@type": "neuroglancer_legacy_mesh", "segment_properties": "segment_properties"}
    properties = server.get(f"{folder}/segment_properties/info").json()
    assert properties["@type"] == "neuroglancer_segment_properties"
    assert properties["inline"]["ids"] == ["1", "2"]
    assert properties["inline"]["properties"] == [{"id": "label", "type": "label", "values": ["heart", "eye"]}]
    (name,) = server.get(f"{folder}/1:0").json()["fragments"]
    content = server.get(f"{folder}/{name}").content
    (count,) = struct.unpack("<I", content[:4])
    vertices = np.frombuffer(content, "<f4", 3 * count, 4).reshape(-1, 3)
    faces = np.frombuffer(content, "<u4", offset=4 + 12 * count).reshape(-1, 3)
    assert faces.max() == count - 1 and len(content) == 4 + vertices.nbytes + faces.nbytes
    index = np.argwhere(labels_of(server, finished) == 1)[:, ::-1]
    origin = np.array([-5, -6, 7])
    least = (origin + (index.min(axis=0) - 0.5) * [0.2, 0.3, 0.4]) * 1e6
    most = (origin + (index.max(axis=0) + 0.5) * [0.2, 0.3, 0.4]) * 1e6
    np.testing.assert_allclose(vertices.min(axis=0), least, atol=0.06e6)
    np.testing.assert_allclose(vertices.max(axis=0), most, atol=0.2e6)  # a single voxel is rounded, and as large


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("surfaces/liver.glb", "there is no organ 'liver'; this scan's model has heart, eye"),
        ("surfaces/0.stl", "there is no organ '0'"),
        ("surfaces/precomputed/3:0", "there is no organ '3'"),
    ],
)
def test_organ_that_is_none_is_not_found(server: RunningServer, finished: str, path: str, said: str) -> None:
    """404, with the names that there are."""
    answer = server.get(f"/v1/scans/{finished}/{path}")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:ricefish:problem:no-such-surface")
    assert said in answer.json()["detail"]


def test_organ_that_was_not_found_has_no_surface(server: RunningServer, tmp_path: Path) -> None:
    """404 with the reason; Neuroglancer, which asks for every segment, is given no part."""
    values = np.zeros((4, 8, 8), np.int16)
    values[2:, 4:] = 50
    values[0, 0, 0] = 100
    values[3, 7, 7] = 101
    nib.save(nib.Nifti1Image(np.minimum(values, 50).T, AFFINE), tmp_path / "half.nii.gz")
    scan = server.post(tmp_path / "half.nii.gz", "half.nii.gz").json()["id"]
    server.until_ended(scan)
    assert not organs_of(server, scan)["heart"]["voxels"]
    answer = server.get(f"/v1/scans/{scan}/surfaces/heart.glb")
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"heart was not found in scan {scan}, so that it has no surface"
    assert server.get(f"/v1/scans/{scan}/surfaces/precomputed/1:0").json() == {"fragments": []}
    assert set(read(server.get(f"/v1/scans/{scan}/surfaces.glb").content, "glb").geometry) == {"eye"}


def test_scan_without_any_organ_has_no_surfaces(server: RunningServer, tmp_path: Path) -> None:
    """404, not an empty file."""
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 4), np.int16), AFFINE), tmp_path / "empty.nii.gz")
    scan = server.post(tmp_path / "empty.nii.gz", "empty.nii.gz").json()["id"]
    server.until_ended(scan)
    answer = server.get(f"/v1/scans/{scan}/surfaces.glb")
    assert answer.status_code == 404
    assert "no organ was found" in answer.json()["detail"]
