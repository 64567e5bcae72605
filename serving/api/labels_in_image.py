"""The group `labels` of a scan's OME-Zarr, by which programs that open the scan find its organs along with it.

OME-Zarr 0.5 has labels below the image that they are of. Here they lie beside it, and are handed out below it too.
"""

from __future__ import annotations

import json
import re
from typing import Final

from serving.api.dependencies import Resources
from serving.queue.jobs import ENDED
from serving.segmentation.correction import MODELS_ANSWER

GROUP_FILE: Final = "labels/zarr.json"
_ANSWER: Final = "segmentation"
_CORRECTION: Final = "correction_"
_BELOW: Final = re.compile(rf"labels/(?:{_ANSWER}|{_CORRECTION}([1-9]\d{{0,8}}))/(.+)", re.ASCII)


def label_group(resources: Resources, scan_id: str) -> bytes | None:
    """The file GROUP_FILE of a scan: the model's answer, then each correction; None where there is no answer."""
    _, job = resources.jobs.get(scan_id)
    if job.state in ENDED and job.state != "succeeded":
        return None
    corrections = (f"{_CORRECTION}{correction.number}" for correction in resources.corrections.of_scan(scan_id))
    ome = {"version": "0.5", "labels": [_ANSWER, *corrections]}
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}).encode()


def label_file(name: str) -> tuple[int, str] | None:
    """A file below an image -> the version of the segmentation that it is of, and its name there; None where it is not
    of labels."""
    found = _BELOW.fullmatch(name)
    return found and (int(found[1] or MODELS_ANSWER), found[2])
