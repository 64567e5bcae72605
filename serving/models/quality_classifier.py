"""The Quality Classifier of a served model: where it is found, how it is kept, and that it answers as at export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.intensity import Window
from scans.model.judgement import judged_pixels
from scans.model.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    QUALITY_FOLDER,
    ManifestError,
    ModelManifest,
    file_sha256,
)
from scans.verdicts import Verdicts
from serving.inference.runtime.classifier import QualitySession
from serving.inference.runtime.segmentation import window_rows
from serving.inference.runtime.session import Device
from serving.observability import logs

GOLDEN_DIFFERENCE = 0.01
"""How far a probability for the golden slice may be from the manifest's: rounding differs from device to device."""

_BATCH_SLICES = 8
_BATCH_PIXELS = 2_000_000
"""At once: each pixel takes a hundred bytes or more, for it becomes a channel per organ."""
_DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class QualityRuntime:
    """A Quality Classifier that has reproduced its golden slice."""

    manifest: ModelManifest
    session: QualitySession

    @classmethod
    def load(cls, folder: Path, *, device: Device) -> QualityRuntime | None:
        """The classifier of a kept model, `folder` being the model's; None where it has none.

        Raises ManifestError where its files are not what its manifest says, RuntimeRefused where they cannot be run,
        and ManifestError again where it does not give the golden slice its probability.
        """
        own = folder / QUALITY_FOLDER
        if not own.is_dir():
            return None
        manifest = ModelManifest.read(own)
        manifest.verify(own)
        loaded = cls(manifest, QualitySession.open(own / MODEL_FILE, device=device))
        golden = manifest.golden
        shown = (golden.slice[np.newaxis], golden.segmentation[np.newaxis])
        verdicts = loaded.verdicts(*shown, golden.window)
        found = float(verdicts.good[0])
        loaded.require_calibration(verdicts)
        if golden.good is None or not abs(found - golden.good) <= GOLDEN_DIFFERENCE:
            raise ManifestError(
                f"Quality Classifier {manifest.name} (SHA-256 {manifest.model_sha256}) gives its golden slice "
                f"{found:.4f} on {loaded.session.provider}; its manifest says {golden.good}: it is damaged"
            )
        return loaded

    def require_calibration(self, verdicts: Verdicts) -> None:
        """Raises ManifestError where the model gives no Dice, and the manifest says how to take it, or one of others'
        organs; `verdicts` are some that it gave."""
        calibration, organs, dice = self.manifest.expected_dice, len(self.manifest.organs), verdicts.dice
        if dice is not None and dice.shape[1] != organs:
            raise ManifestError(f"{self.manifest.name} gives a dice of {dice.shape[1]} organs; it judges {organs}")
        if calibration is None:
            return
        if dice is None:
            raise ManifestError(f"Quality Classifier {self.manifest.name} has expected_dice, but no output dice")
        if len(calibration.middle) != organs:
            raise ManifestError(f"expected_dice is of {len(calibration.middle)} organs; the model judges {organs}")

    @property
    def threshold(self) -> float:
        """From which probability on a slice counts as good."""
        return _DEFAULT_THRESHOLD if self.manifest.threshold is None else self.manifest.threshold

    def verdicts(self, slices: NDArray[Any], segmentation: NDArray[np.uint8], window: Window) -> Verdicts:
        """Grey values (N, Y, X) and class indices, uint8 (N, Y, X) -> what is said of each of the N.

        In batches that depend on the shape alone. Of large slices `judged_pixels` are looked at. Raises
        OutOfDeviceMemory.
        """
        rows, columns = judged_pixels(*slices.shape[1:])
        slices, segmentation = (array[:, rows, columns] for array in (slices, segmentation))
        size = max(1, min(_BATCH_SLICES, _BATCH_PIXELS // (slices.shape[1] * slices.shape[2])))
        parts = [slice(first, first + size) for first in range(0, len(slices), size)]
        said = [
            self.session.verdicts(slices[part], window_rows(window, len(slices[part])), segmentation[part])
            for part in parts
        ]
        dice = [of_part.dice for of_part in said if of_part.dice is not None]
        return Verdicts(np.concatenate([of_part.good for of_part in said]), np.concatenate(dice) if dice else None)


def classifier_of(folder: Path, manifest: ModelManifest) -> Path | None:
    """Where the classifier of the model in a folder is; None where it has none.

    Below the model, as in the registry; or beside it, as the pipeline leaves both, if its manifest says that it was
    trained on the same volumes and organs. Raises ManifestError where what lies below is none for this model, and
    where the files of the one that was found are not what its manifest says.
    """
    below, beside = folder / QUALITY_FOLDER, folder.absolute().parent / QUALITY_FOLDER
    if below.is_dir():
        found = ModelManifest.read(below)
        if reason := _not_for(manifest, found):
            raise ManifestError(f"{below / MANIFEST_FILE}: {reason}")
        found.verify(below)
        return below
    if not (beside / MANIFEST_FILE).is_file():
        return None
    try:
        found = ModelManifest.read(beside)
    except ManifestError as error:
        logs.event("classifier_ignored", folder=beside, reason=error)
        return None
    if reason := _not_for(manifest, found):
        logs.event("classifier_ignored", folder=beside, reason=reason)
        return None
    found.verify(beside)
    return beside


def files_with_classifier(folder: Path, manifest: ModelManifest) -> dict[str, Path]:
    """What of a model in a folder is kept: name in the copy to the file, the classifier's included.

    Raises ManifestError as `classifier_of`.
    """
    files = {name: folder / name for name in (*manifest.files, MANIFEST_FILE)}
    if (classifier := classifier_of(folder, manifest)) is not None:
        for name in (*ModelManifest.read(classifier).files, MANIFEST_FILE):
            files[f"{QUALITY_FOLDER}/{name}"] = classifier / name
    return files


def classifier_key(files: Mapping[str, Path]) -> str:
    """What tells a model's copy with this classifier from one with another or none; "" for none."""
    manifest = files.get(f"{QUALITY_FOLDER}/{MANIFEST_FILE}")
    return "" if manifest is None else file_sha256(manifest)


def _not_for(model: ModelManifest, classifier: ModelManifest) -> str | None:
    """Why a classifier is not that of a model; None if it is."""
    if classifier.kind != "quality":
        return f"it is a {classifier.kind} model; a Quality Classifier is of kind quality"
    if classifier.organs != model.organs:
        return f"it judges {', '.join(classifier.organs.names)}; the model segments {', '.join(model.organs.names)}"
    if classifier.data_sha256 != model.data_sha256:
        return "it was trained on other volumes than the model"
    return None
