"""Surfaces as files, read back by trimesh and by hand."""

from __future__ import annotations

import io
import json
import struct
import sys
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from scans.geometry import Frame, Spacing
from scans.organs import OrganMap
from scans.shape.mesh_files import glb, neuroglancer_fragment, stl
from scans.shape.surfaces import Surface, SurfaceLibraryMissing, organ_surface

ORGANS = OrganMap.from_mapping(
    {1: {"name": "heart", "colour": [255, 0, 0]}, 2: {"name": "linke Niere", "colour": [0, 188, 255]}}
)
HEART, KIDNEY = ORGANS.organs
TURNED = Frame.from_affine(np.array([[0, 0, 2.0, 10], [-1.0, 0, 0, 20], [0, 0.5, 0, 30], [0, 0, 0, 1]]))


def labels() -> NDArray[np.uint8]:
    """A heart of 6 x 6 x 10 voxels at the lower corner, a kidney of two slices."""
    both = np.zeros((12, 14, 16), np.uint8)
    both[1:7, 2:8, 3:13] = 1
    both[9:11] = 2
    return both


def surface(index: int, frame: Frame) -> Surface:
    return organ_surface(labels(), index, frame)


def read(content: bytes, kind: str) -> Any:
    return trimesh.load(io.BytesIO(content), file_type=kind)


def document(content: bytes) -> dict[str, Any]:
    """The JSON of a GLB."""
    magic, version, length = struct.unpack("<4sII", content[:12])
    size, kind = struct.unpack("<I4s", content[12:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    found: dict[str, Any] = json.loads(content[20 : 20 + size])
    return found


def test_glb_has_each_organ_by_name_in_metres_with_the_head_up() -> None:
    """RAS+ (x, y, z) mm becomes (x, z, -y) metres; both bodies are closed and hold what they should, in m3."""
    content = glb([(HEART, surface(1, TURNED)), (KIDNEY, surface(2, TURNED))])
    scene = read(content, "glb")
    assert set(scene.geometry) == {"heart", "linke Niere"}
    for name, voxels in (("heart", 360), ("linke Niere", 448)):
        mesh = scene.geometry[name]
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(voxels * 1e-9, rel=0.01)
    placed = scene.to_geometry().split()
    hearts = [body for body in placed if body.volume < 4e-7]
    x, y, z = (np.array(TURNED.world_mm((3.5, 4.5, 7.5)))) / 1000
    np.testing.assert_allclose(hearts[0].center_mass, [x, z, -y], atol=1e-5)


def test_glb_has_names_colours_and_measures() -> None:
    """sRGB 188 is half as bright as 255, which is what glTF's linear factors say; nodes have area and volume."""
    heart = surface(1, TURNED)
    told = document(glb([(HEART, heart), (KIDNEY, surface(2, TURNED))]))
    factors = {one["name"]: one["pbrMetallicRoughness"]["baseColorFactor"] for one in told["materials"]}
    assert factors["heart"] == [1, 0, 0, 1]
    np.testing.assert_allclose(factors["linke Niere"], [0, 0.5, 1, 1], atol=0.01)
    nodes = {node["name"]: node for node in told["nodes"]}
    assert nodes["heart"]["extras"]["class_index"] == 1
    assert nodes["heart"]["extras"]["volume_mm3"] == pytest.approx(360, rel=0.01)
    assert nodes["heart"]["extras"]["area_mm2"] == pytest.approx(heart.area_mm2)
    attributes = told["meshes"][0]["primitives"][0]["attributes"]
    assert set(attributes) == {"POSITION", "NORMAL"}


def test_stl_is_in_mm_in_the_space_that_its_header_says() -> None:
    """80 bytes that a reader does not take for text, then triangles in LPS+: x and y have the other sign."""
    content = stl(KIDNEY, surface(2, TURNED))
    assert content[:80].rstrip() == b"Ricefish, mm, SPACE=LPS, linke Niere"
    mesh = read(content, "stl")
    assert mesh.is_watertight and mesh.volume == pytest.approx(448, rel=0.01)
    x, y, z = TURNED.world_mm((9.5, 6.5, 7.5))
    np.testing.assert_allclose(mesh.center_mass, [-x, -y, z], atol=0.02)


@pytest.mark.parametrize(
    "frame",
    [TURNED, Frame.from_lps(Spacing(2, 1, 0.5), origin=(10, 20, 30))],
    ids=["turned", "along LPS"],
)
def test_neuroglancer_fragment_lies_on_the_voxels_that_are_shown_unturned(frame: Frame) -> None:
    """Voxel z, y, x is shown at origin + spacing x index, x first, whatever the directions; in nm, normals outwards."""
    content = neuroglancer_fragment(surface(1, frame), frame)
    (count,) = struct.unpack("<I", content[:4])
    vertices = np.frombuffer(content, "<f4", 3 * count, 4).reshape(-1, 3)
    faces = np.frombuffer(content, "<u4", offset=4 + 12 * count).reshape(-1, 3)
    mesh = trimesh.Trimesh(vertices.astype(float), faces, process=False)
    assert mesh.is_watertight and mesh.volume == pytest.approx(360 * 1e18, rel=0.01)
    z, y, x = frame.spacing
    expected = (np.array(frame.origin) + np.array([7.5 * x, 4.5 * y, 3.5 * z])) * 1e6
    np.testing.assert_allclose(mesh.center_mass, expected, atol=0.02e6)


def test_no_organ_makes_no_file() -> None:
    """A GLB of nothing is an error, not an empty scene that viewers choke on."""
    with pytest.raises(ValueError, match="no organ to write"):
        glb([])


def test_without_trimesh_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not installed it is told what to install."""
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(SurfaceLibraryMissing, match=r"install ricefish\[serving\]"):
        stl(HEART, surface(1, TURNED))
