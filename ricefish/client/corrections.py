"""Versions of a scan's segmentation: the model's answer, and what people have made of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ricefish.client.connection import Connection, Patience, RicefishError
from ricefish.client.upload_body import Report, pieces, reported, upload_name, zipped_files
from scans.organs import OrganMap


@dataclass(frozen=True)
class ServedChange:
    """What a correction did to one organ."""

    name: str
    added: int
    """Voxels that are the organ in the correction alone."""
    removed: int
    """Voxels that were the organ in the model's answer alone."""
    dice: float | None
    """Of the model's answer with the correction as the truth, 0..1; None where the organ is in neither."""


@dataclass(frozen=True)
class SegmentationVersion:
    """A version of a scan's segmentation."""

    number: int
    """0 is the model's answer, corrections count from 1."""
    created: datetime
    author: str | None
    """Whose key it was sent with; None without keys, and for the model's answer."""
    filename: str | None
    """Of the file that was sent; None for the model's answer."""
    sha256: str | None
    """Of that file."""
    labels_sha256: str | None
    """Of the class indices, the same for the same labels in another format; None for the model's answer."""
    not_labelled: int
    """Voxels that hold 255: nobody has looked there."""
    notes: tuple[str, ...]
    """What to know of how the file was read, a sentence each."""
    changes: tuple[ServedChange, ...]
    """Against the model's answer; none for that itself."""

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> SegmentationVersion:
        """From an element of `versions` in the answer of `GET /v1/scans/ID/segmentations`."""
        return cls(
            number=content["version"],
            created=datetime.fromisoformat(content["created"]),
            author=content["author"],
            filename=content["filename"],
            sha256=content["sha256"],
            labels_sha256=content["labels_sha256"],
            not_labelled=content["not_labelled"],
            notes=tuple(content["notes"]),
            changes=tuple(ServedChange(**change) for change in content["changes"]),
        )


@dataclass(frozen=True)
class Segmentations:
    """A finished scan, and all versions of its segmentation."""

    scan_id: str
    filename: str
    """Of the scan, as it was sent."""
    sha256: str
    """Of the scan's file."""
    model: str
    model_version: str | None
    """In the registry; None for a model from a folder."""
    model_sha256: str
    organs: OrganMap
    versions: tuple[SegmentationVersion, ...]
    """The model's answer first."""

    @property
    def correction(self) -> SegmentationVersion | None:
        """The latest; None where nobody has corrected anything."""
        return self.versions[-1] if len(self.versions) > 1 else None

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Segmentations:
        """From the answer of `GET /v1/scans/ID/segmentations`."""
        model = content["model"]
        organs = {one["index"]: {"name": one["name"], "colour": one["colour"]} for one in content["organs"]}
        return cls(
            scan_id=content["scan"],
            filename=content["filename"],
            sha256=content["sha256"],
            model=model["name"],
            model_version=model["version"],
            model_sha256=model["sha256"],
            organs=OrganMap.from_mapping(organs),
            versions=tuple(SegmentationVersion.from_json(version) for version in content["versions"]),
        )


def send_correction(
    connection: Connection,
    scan_id: str,
    path: Path,
    *,
    dataset: str | None,
    patience_seconds: float,
    report: Report | None,
) -> SegmentationVersion:
    """Sends a file or folder of labels as a correction; see `Client.correct`.

    The same bytes are the same version, so it is sent again where the server did not answer. Raises as that does.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    asked = {"filename": upload_name(path), **({} if dataset is None else {"dataset": dataset})}
    headers = {"Content-Type": "application/octet-stream"}
    if not zipped_files(path):
        headers["Content-Length"] = str(path.stat().st_size)
    patience = Patience(patience_seconds)
    while True:
        content = reported(pieces(path), report)
        try:
            answer = connection.request(
                "PUT", f"/v1/scans/{scan_id}/segmentation", params=asked, headers=headers, content=content
            )
            return SegmentationVersion.from_json(answer.json())
        except RicefishError as error:
            patience.pause(error)
