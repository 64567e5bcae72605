"""Viewer state: what the viewer is to show of a scan, as it reads it from behind the # of its address."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from scans.geometry import Frame
from serving.queue.scan import Scan
from serving.storage.contract import RESULT_DIR
from serving.web.wording import colour

Place = Sequence[float]
"""Voxels along z, y, x."""

_METRES: Final = 1e-3
"""In a millimetre."""
_SHADER: Final = "#uicontrol invlerp normalized\nvoid main() { emitGrayscale(normalized()); }\n"


def viewer_address(scan: Scan, *, base: str, image: str | None = None, at: Place | None = None) -> str:
    """Path and fragment of the viewer, showing the voxel `at` (the middle of the scan where none is given).

    `base` is the server's address, with no / behind it; `image` the name of the store that holds the grey values, as
    in `image.ome.zarr`, where there is one.
    """
    middle = [size / 2 for size in scan.shape]
    layers = [_organs(scan, base, alone=image is None)]
    if image is not None:
        layers.insert(0, _image(scan, base, image))
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


def _organs(scan: Scan, base: str, *, alone: bool) -> dict[str, Any]:
    organs = scan.organs.organs
    return {
        "type": "segmentation",
        "name": "organs",
        "source": [
            f"{base}/v1/scans/{scan.id}/{RESULT_DIR}/|zarr3:",
            f"{base}/scans/{scan.id}/organ-names/|neuroglancer-precomputed:",
        ],
        "segments": [str(organ.index) for organ in organs],
        "segmentColors": {str(organ.index): colour(organ.colour) for organ in organs},
        "selectedAlpha": 0.8 if alone else 0.4,
        "hideSegmentZero": True,
    }


def _image(scan: Scan, base: str, image: str) -> dict[str, Any]:
    window = [scan.window.lower, scan.window.upper]
    return {
        "type": "image",
        "name": "scan",
        "source": f"{base}/v1/scans/{scan.id}/{image}/|zarr3:",
        "shader": _SHADER,
        "shaderControls": {"normalized": {"range": window, "window": window}},
    }


def _dimensions(frame: Frame) -> dict[str, Any]:
    return {name: [step * _METRES, "m"] for name, step in zip("zyx", frame.spacing, strict=True)}


def _position(frame: Frame, at: Place) -> list[float]:
    """In steps of the voxel spacing from where the stored pyramid has its origin."""
    origin = reversed(frame.origin)
    return [round(voxel + start / step, 3) for voxel, start, step in zip(at, origin, frame.spacing, strict=True)]
