"""Scan: what is fixed about a scan when it is accepted. What changes is its job's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scans.geometry import Box, Frame, NiftiForms, Spacing, StatedUnits, Triple
from scans.intensity import Window
from scans.model.drift import Departure
from scans.model.expected_dice import DiceCalibration
from scans.organs import OrganMap
from serving.models.served import ModelIdentity

_NOT_FIELDS = frozenset({"nifti", "units", "placed", "volume", "voxels_crc32", "copy_header"})
"""Of what is stored; the last three are of an earlier version."""


@dataclass(frozen=True)
class Upload:
    """The file as it was received."""

    filename: str
    """Without any folder, as the sender named it."""
    sha256: str
    bytes: int
    spacing: Spacing | None
    """As given beside the file, in mm; None where the file's own counts."""
    dataset: str | None = None
    """Which of several volumes in the file it is, or which axis of a TIFF is its slices, as named beside it."""
    folder: str | None = None
    """That the file came from, without what leads there; None where nobody named one."""


@dataclass(frozen=True)
class Scan:
    """An accepted scan. Nothing of it ever changes, so a server that starts again goes on exactly as before."""

    id: str
    """32 hexadecimal digits; also the id of the job."""
    created_seconds: float
    """When it was accepted, seconds since 1970."""
    upload: Upload
    shape: Triple
    """Voxels along z, y, x."""
    dtype: str
    """Type of the grey values."""
    frame: Frame
    window: Window
    """Grey values that the model maps to 0..1, found while the file was verified."""
    model: ModelIdentity
    organs: OrganMap
    slab_slices: int
    """Slices of one durable step, a power of two."""
    traceparent: str | None = None
    """The span of the request that brought it, as W3C's header says it; None where nothing is traced."""
    good_threshold: float | None = None
    """From which probability on the model's Quality Classifier calls a slice good; None where it has none."""
    dice_calibration: DiceCalibration | None = None
    """How what that classifier says of an organ becomes its expected Dice; None where it says nothing of organs."""
    image_checksums: Mapping[str, str] = field(default_factory=dict)
    """Of the files of its voxels, an OME-Zarr, by name relative to it; empty for a scan of an earlier version."""
    deep_levels: bool = False
    """Coarser levels of its segmentation lie in deep shards; those of an earlier version's do not."""
    source_headers: str | None = None
    """Checksum of what was kept of the headers of a DICOM series; None where nothing was."""
    warnings: tuple[Departure, ...] = ()
    """How the file is unlike what the model has seen, found while it was verified."""
    notes: tuple[str, ...] = ()
    """What the sender should know of how the file was read, a sentence each."""

    @property
    def boxes(self) -> list[Box]:
        """The slabs, upwards; each is one durable step."""
        z, y, x = self.shape
        starts = range(0, z, self.slab_slices)
        return [Box((start, 0, 0), (min(start + self.slab_slices, z), y, x)) for start in starts]

    @property
    def slab_bytes(self) -> int:
        """Of the grey values of a slab, the last one excepted."""
        _, y, x = self.shape
        return min(self.slab_slices, self.shape[0]) * y * x * np.dtype(self.dtype).itemsize

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads back, in types that JSON can hold."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("traceparent", "good_threshold", "dice_calibration", "source_headers", "deep_levels"):
            if content[name] is None or content[name] is False:
                del content[name]
        del content["warnings"], content["notes"]
        content["image_checksums"] = dict(self.image_checksums)
        if self.notes:
            content["notes"] = list(self.notes)
        if self.warnings:
            content["warnings"] = [warning.to_dict() for warning in self.warnings]
        if self.dice_calibration is not None:
            content["dice_calibration"] = self.dice_calibration.to_dict()
        content["upload"] = {**vars(self.upload), "spacing": self.upload.spacing and list(self.upload.spacing)}
        if self.upload.folder is None:
            del content["upload"]["folder"]
        content["frame"] = self.frame.affine
        if self.frame.nifti is not None:
            content["nifti"] = dataclasses.asdict(self.frame.nifti)
        if self.frame.units:
            content["units"] = dataclasses.asdict(self.frame.units)
        if not self.frame.placed:
            content["placed"] = False
        content["window"] = dataclasses.asdict(self.window)
        content["model"] = dataclasses.asdict(self.model)
        content["organs"] = self.organs.to_mapping()
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scan:
        """From what `to_dict` gave, through JSON."""
        upload = content["upload"]
        z, y, x = content["shape"]
        calibration = content.get("dice_calibration")
        frame = Frame.from_affine(np.array(content["frame"]), units=_units(content.get("units")))
        frame = dataclasses.replace(frame, placed=content.get("placed", True))
        if "nifti" in content:
            frame = dataclasses.replace(frame, nifti=_forms(content["nifti"]))
        return cls(
            **{
                **{name: value for name, value in content.items() if name not in _NOT_FIELDS},
                "upload": Upload(**{**upload, "spacing": upload["spacing"] and Spacing(*upload["spacing"])}),
                "shape": (z, y, x),
                "frame": frame,
                "window": Window(**content["window"]),
                "model": ModelIdentity(**content["model"]),
                "organs": OrganMap.from_mapping(content["organs"]),
                "dice_calibration": None if calibration is None else DiceCalibration.from_dict(calibration),
                "notes": tuple(content.get("notes", ())),
                "warnings": tuple(Departure(**warning) for warning in content.get("warnings", ())),
            }
        )


def _forms(content: Mapping[str, Any]) -> NiftiForms:
    listed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
    return NiftiForms(**{**listed, "rows": tuple(tuple(row) for row in content["rows"])})


def _units(content: Mapping[str, Any] | None) -> StatedUnits | None:
    if content is None:
        return None
    x, y, z = content["symbols"]
    return StatedUnits((x, y, z), content["kept_in"])
