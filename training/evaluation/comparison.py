"""Scores of an exported model on the validation volumes that are prepared now, whichever data it was trained on."""

from __future__ import annotations

from pathlib import Path

from scans.measures.metrics import OrganCounts, VolumeScores
from scans.model.manifest import MODEL_FILE, ModelManifest
from training.data.prepared import Catalogue, SliceReader, VolumeRecord
from training.export.onnx_session import OnnxModel
from training.progress import track

SLAB_SLICES = 8


def score_exported(folder: Path, *, catalogue: Catalogue, prepared_dir: Path) -> dict[str, VolumeScores]:
    """Volume id -> Dice and IoU of `folder/model.onnx` on each validation volume, as a server would segment it.

    Grey values are windowed by the model's own rule. Raises ManifestError where the folder holds no sound model.
    """
    manifest = ModelManifest.read(folder)
    manifest.verify(folder)
    model = OnnxModel(folder / MODEL_FILE)
    reader = SliceReader(prepared_dir, cache_megabytes=0)
    records = catalogue.split("validation")
    return {
        record.id: _score(model, manifest, record, reader=reader)
        for record in track(records, description="Score the champion", total=len(records), unit="volume")
    }


def _score(model: OnnxModel, manifest: ModelManifest, record: VolumeRecord, *, reader: SliceReader) -> VolumeScores:
    image, labels = reader.volume(record), reader.label_volume(record)
    window = manifest.intensity.window(image)
    organs = manifest.organs
    counts = [
        OrganCounts.of(model.segment(slab, window), labels.slab(box.start[0], box.stop[0]), classes=organs.classes)
        for box, slab in image.slabs(SLAB_SLICES)
    ]
    return VolumeScores.from_counts(record.id, sum(counts[1:], start=counts[0]), organs)
