"""Surfaces as files: GLB and STL by trimesh, and fragments that Neuroglancer reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scans.geometry import Frame
from scans.organs import Colour, Organ
from scans.shape.surfaces import Surface, SurfaceLibraryMissing

if TYPE_CHECKING:
    import trimesh

_METRES = 1e-3
_NANOMETRES = 1e6
_GLTF_FROM_RAS = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
"""glTF's y points up: what is to the head in RAS+ is up there, and what is to the front looks away from who looks."""
_LPS_FROM_RAS = np.array([-1, -1, 1], dtype=np.float32)
_TOP, _RAS = "y is up, metres", "RAS+, metres"
"""Names of the nodes above the organs."""
_STL_HEADER_BYTES = 80
_ROUGHNESS = 0.7


def glb(organs: Sequence[tuple[Organ, Surface]]) -> bytes:
    """A binary glTF 2.0 file: a node, a mesh and a material of its colour for each organ, all by the organ's name.

    Lengths are in metres, as glTF wants them. The vertices are x, y, z in RAS+; the node above all of them turns them
    so that the head is up. `extras` of each node have the organ's class index, its area in mm2 and its volume in mm3.
    Raises SurfaceLibraryMissing where trimesh is not installed, and ValueError where there is no organ.
    """
    if not organs:
        raise ValueError("no organ to write; a GLB file holds at least one")
    _require_trimesh()
    import trimesh  # noqa: PLC0415  as in `_require_trimesh`

    scene = trimesh.Scene(base_frame=_TOP)
    scene.graph.update(frame_to=_RAS, frame_from=_TOP, matrix=_GLTF_FROM_RAS)  # type: ignore[no-untyped-call]
    for organ, surface in organs:
        about = {"class_index": organ.index, "area_mm2": surface.area_mm2, "volume_mm3": surface.volume_mm3}
        mesh = _mesh(surface.vertices_mm * np.float32(_METRES), surface.faces)
        mesh.visual = trimesh.visual.TextureVisuals(material=_material(organ))  # type: ignore[no-untyped-call]
        scene.add_geometry(mesh, node_name=organ.name, geom_name=organ.name, parent_node_name=_RAS, metadata=about)
    written: bytes = scene.export(file_type="glb", include_normals=True)  # type: ignore[no-untyped-call]
    return written


def stl(organ: Organ, surface: Surface) -> bytes:
    """A binary STL file: mm, in LPS+, which its header says (SPACE=LPS) as 3D Slicer writes and reads it.

    The format knows no unit; programs that print take mm. Raises SurfaceLibraryMissing where trimesh is not installed.
    """
    _require_trimesh()
    from trimesh.exchange.stl import export_stl  # noqa: PLC0415  as in `_require_trimesh`

    name = organ.name.encode("ascii", "replace")[:40]
    header = b"Ricefish, mm, SPACE=LPS, " + name
    written: bytes = export_stl(_mesh(surface.vertices_mm * _LPS_FROM_RAS, surface.faces))
    return header.ljust(_STL_HEADER_BYTES) + written[_STL_HEADER_BYTES:]


def neuroglancer_fragment(surface: Surface, frame: Frame) -> bytes:
    """A fragment of Neuroglancer's single-resolution meshes, all little-endian: uint32 number of vertices, float32
    x, y, z of each in nm, and three uint32 for each triangle.

    Neuroglancer turns no axes: it lays voxels along x, y, z from where the OME-Zarr says that the first one is. So the
    vertices are where they lie among voxels that are shown so, and not where the world has them.
    """
    shown = np.diag([*reversed(list(frame.spacing)), 1.0])
    shown[:3, 3] = frame.origin
    matrix = shown @ np.linalg.inv(frame.matrix)
    places = (surface.vertices_mm.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]) * _NANOMETRES
    faces = surface.faces[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else surface.faces
    count = np.array([len(places)], dtype="<u4")
    return b"".join([count.tobytes(), places.astype("<f4").tobytes(), faces.astype("<u4").tobytes()])


def _require_trimesh() -> None:
    try:
        import trimesh  # noqa: F401, PLC0415  half a second, for those alone who want a file
    except ModuleNotFoundError as error:
        raise SurfaceLibraryMissing(
            f"surfaces are written with trimesh, and {error.name} is not installed: install ricefish[serving]"
        ) from None


def _mesh(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> trimesh.Trimesh:
    import trimesh  # noqa: PLC0415  as in `_require_trimesh`

    return trimesh.Trimesh(vertices, faces, process=False)


def _material(organ: Organ) -> trimesh.visual.material.PBRMaterial:
    import trimesh  # noqa: PLC0415  as in `_require_trimesh`

    return trimesh.visual.material.PBRMaterial(  # type: ignore[no-untyped-call]
        name=organ.name,
        baseColorFactor=[*_linear(organ.colour), 1.0],
        metallicFactor=0.0,
        roughnessFactor=_ROUGHNESS,
    )


def _linear(colour: Colour) -> list[float]:
    """The colour as glTF has it, in which twice as much is twice as bright (IEC 61966-2-1, the inverse of sRGB's)."""
    shares = np.array(colour) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return [float(value) for value in linear]
