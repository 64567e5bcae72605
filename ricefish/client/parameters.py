"""SubmissionOptions: what is said of a scan beside its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:  # the command names priorities before it has loaded any array library
    from pathlib import Path

    from scans.geometry import Spacing

Priority = Literal["interactive", "normal", "backlog"]
"""Which scans go first: those that somebody waits for, most, and those that may wait until there is nothing else."""

_HOLDS_BOTH = "ome-zarr"
"""The format in which the scan can be fetched with its segmentation."""


@dataclass(frozen=True)
class SubmissionOptions:
    """What is said of a scan beside its bytes. Raises ValueError for a priority that there is not."""

    filename: str
    spacing: Spacing | None = None
    """In mm, for files that state none."""
    priority: Priority = "normal"
    fresh: bool = False
    """Segment it even if the same file was segmented with this model before."""
    model: str | None = None
    """Name of the model; None: the server's default one."""
    version: str | None = None
    """Version of that model; None: the present one."""
    dataset: str | None = None
    """Name of the data set in an HDF5 file, or of the array in a Zarr, that holds several; frames or channels, of TIFF
    whose slices were saved as such."""
    sha256: str | None = None
    """Of what is sent; the server refuses it if it arrives as another."""
    idempotency_key: str | None = None
    """Posted again with it, it is the same scan; None: one for this post alone."""

    def __post_init__(self) -> None:
        if self.priority not in get_args(Priority):
            raise ValueError(f"priority is {self.priority!r}; it is one of {', '.join(get_args(Priority))}")

    @property
    def content(self) -> dict[str, Any]:
        """As the server's JSON and query have it; what is not said is left out."""
        content: dict[str, Any] = {"filename": self.filename}
        if self.spacing is not None:
            content["spacing"] = ",".join(f"{value!r}" for value in self.spacing)
        if self.priority != "normal":
            content["priority"] = self.priority
        if self.fresh:
            content["fresh"] = True
        if self.model is not None:
            content["model"] = self.model
        if self.version is not None:
            content["version"] = self.version
        if self.dataset is not None:
            content["dataset"] = self.dataset
        if self.sha256 is not None:
            content["sha256"] = self.sha256
        return content

    def key(self, upload_id: str) -> str:
        """The Idempotency-Key of an upload that is asked for as this: asked for differently, it is another scan."""
        if self.idempotency_key is not None:
            return self.idempotency_key
        said = self.content
        key = f"upload {upload_id} spacing={said.get('spacing', '')} fresh={self.fresh}"
        if self.dataset is not None:
            key += f" dataset={hashlib.sha256(self.dataset.encode()).hexdigest()[:32]}"
        if self.model is None and self.version is None:
            return key
        return f"{key} model={self.model or ''} version={self.version or ''}"


def download_parameters(path: Path, *, with_scan: bool = False, version: int | None = None) -> dict[str, str]:
    """What a server is asked for when a segmentation is to be written to `path`, with the scan in it or without.

    `version` is its number; None: the latest.

    Raises ValueError for a suffix that names no format, or none that holds both.
    """
    from scans.formats import download_format  # noqa: PLC0415

    sent = download_format(path)
    asked = {"format": sent.name, **({} if version is None else {"version": str(version)})}
    if not with_scan:
        return asked
    if sent.name != _HOLDS_BOTH:
        raise ValueError(f"{path}: the scan and its segmentation are fetched as one of .ome.zarr, .ome.zarr.zip")
    return {**asked, "scan": "true"}
