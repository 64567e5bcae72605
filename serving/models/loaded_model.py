"""LoadedModel: a model that can be given work, which one it is, and what is raised where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scans.model.manifest import ModelManifest
from serving.inference.runtime.segmentation_runtime import SegmentationRuntime, Served
from serving.inference.tuning import Tuning
from serving.models.quality_classifier import QualityRuntime

Reason = Literal["hash", "golden", "contract", "device", "registry", "store"]
"""Why a model is not served: its files are damaged, it answers otherwise than at export, it is not what a server
takes, it does not fit the device, the registry does not give it, or the store does not take it."""

REASONS: tuple[Reason, ...] = ("hash", "golden", "contract", "device", "registry", "store")


class ModelError(ValueError):
    """A model that cannot be served; the message names it and says what would be right."""

    def __init__(self, message: str, *, reason: Reason = "contract", passing: bool = False) -> None:
        """`passing`: it may well be served later, although nothing about it changes."""
        super().__init__(message)
        self.reason: Reason = reason
        self.passing = passing


class ModelNotServed(LookupError):
    """No model of that name and version is served; the message names those that are."""


@dataclass(frozen=True)
class ModelIdentity:
    """Which model a scan is segmented with; written into the scan, so that no other finishes it."""

    name: str
    version: str | None
    """The registry's version; None for a model from a folder."""
    sha256: str
    """Hash of model.onnx."""
    key: str
    """Hash of model.onnx, manifest.json and the classifier's manifest together: the name of the store's copy."""

    @property
    def shown_version(self) -> str:
        """The version as clients name it; "1" for a model from a folder."""
        return self.version or "1"

    def __str__(self) -> str:
        return f"{self.name} version {self.version}" if self.version else f"{self.name} (SHA-256 {self.sha256[:12]})"


@dataclass(frozen=True)
class LoadedModel:
    """A model that has reproduced its golden slice. Its memory is given back when nobody holds it any more."""

    identity: ModelIdentity
    manifest: ModelManifest
    runtime: SegmentationRuntime
    tuning: Tuning
    precision: Served
    alone: SegmentationRuntime | None = None
    """The same on all processors, for single slices that nothing runs beside; None where `runtime` itself is."""
    quality: QualityRuntime | None = None
    """Its Quality Classifier, where it has one."""
