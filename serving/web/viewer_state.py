"""Viewer state: what the viewer is to show of a scan, as it reads it from behind the # of its address."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from scans.geometry import Frame
from serving.queue.scan import Scan
from serving.storage.contract import IMAGE_DIR, RESULT_DIR
from serving.web.wording import colour

Place = Sequence[float]
"""Voxels along z, y, x."""

_BODIES: Final = "v1/scans/{}/surfaces/precomputed/"
_NAMES: Final = "scans/{}/organ-names/"
"""Where the client finds names of organs, with their surfaces and without."""
_METRES: Final = 1e-3
"""In a millimetre."""
_SHADER: Final = "#uicontrol invlerp normalized\nvoid main() { emitGrayscale(normalized()); }\n"


@dataclass(frozen=True)
class Shown:
    """What the viewer shows of a scan."""

    image: bool = True
    """The grey values; scans of an earlier version have none that can be read by address."""
    segmentation: str = RESULT_DIR
    """The store of the class indices, below the scan's address."""
    bodies: bool = False
    """The surfaces of organs, which a finished scan has."""


def viewer_address(scan: Scan, *, base: str, shown: Shown, at: Place | None = None) -> str:
    """Path and fragment of the viewer, showing the voxel `at` (the middle of the scan where none is given).

    `base` is the server's address, with no / behind it.
    """
    middle = [size / 2 for size in scan.shape]
    layers = [_organs(scan, base, shown)]
    if shown.image:
        layers.insert(0, _image(scan, base))
    state = {
        "dimensions": _dimensions(scan.frame),
        "displayDimensions": ["x", "y", "z"],
        "position": _position(scan.frame, middle if at is None else at),
        "crossSectionScale": max(scan.shape) / 360,
        "projectionScale": max(scan.shape) * 1.4,
        "layers": layers,
        "layout": "4panel",
        "showSlices": True,
        "crossSectionBackgroundColor": "#000000",
        "selectedLayer": {"layer": "organs", "visible": False},
    }
    return f"/v/{scan.id}/#!{quote(json.dumps(state, separators=(',', ':')), safe='')}"


def organ_properties(scan: Scan) -> Mapping[str, Any]:
    """Names of the organs, as the viewer reads them beside a segmentation."""
    organs = scan.organs.organs
    names = {"id": "label", "type": "label", "values": [organ.name.replace("_", " ") for organ in organs]}
    return {
        "@type": "neuroglancer_segment_properties",
        "inline": {"ids": [str(organ.index) for organ in organs], "properties": [names]},
    }


def _organs(scan: Scan, base: str, shown: Shown) -> dict[str, Any]:
    organs = scan.organs.organs
    return {
        "type": "segmentation",
        "name": "organs",
        "source": [
            f"{base}/v1/scans/{scan.id}/{shown.segmentation}/|zarr3:",
            f"{base}/{_BODIES if shown.bodies else _NAMES}|neuroglancer-precomputed:".format(scan.id),
        ],
        "segments": [str(organ.index) for organ in organs],
        "segmentColors": {str(organ.index): colour(organ.colour) for organ in organs},
        "selectedAlpha": 0.4 if shown.image else 0.8,
        "hideSegmentZero": True,
    }


def _image(scan: Scan, base: str) -> dict[str, Any]:
    window = [scan.window.lower, scan.window.upper]
    return {
        "type": "image",
        "name": "scan",
        "source": f"{base}/v1/scans/{scan.id}/{IMAGE_DIR}/|zarr3:",
        "shader": _SHADER,
        "shaderControls": {"normalized": {"range": window, "window": window}},
    }


def _dimensions(frame: Frame) -> dict[str, Any]:
    return {name: [step * _METRES, "m"] for name, step in zip("zyx", frame.spacing, strict=True)}


def _position(frame: Frame, at: Place) -> list[float]:
    """In steps of the voxel spacing from where the stored pyramid has its origin."""
    origin = reversed(frame.origin)
    return [round(voxel + start / step, 3) for voxel, start, step in zip(at, origin, frame.spacing, strict=True)]
