"""Version files: what is stored of a registered version, both models with their manifests, and whether it is whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scans.model.manifest import MANIFEST_FILE, QUALITY_FOLDER, ManifestError, ModelManifest


def difference(fetched: Path, tags: Mapping[str, str]) -> str | None:
    """How the files of a version, fetched into a folder, differ from their hashes; None where they do not."""
    for model, sha256 in models_within(tags).items():
        try:
            manifest = ModelManifest.read(fetched / model)
            manifest.verify(fetched / model)
        except ManifestError as error:
            return str(error).replace(f"{fetched}/", "")
        if sha256 not in {"", manifest.model_sha256}:
            return f"{path_within(model, MANIFEST_FILE)} is that of another model"
    return None


def models_within(tags: Mapping[str, str]) -> dict[str, str]:
    """Folders within a version that hold a model and its manifest, each with the hash of the model, or none."""
    student, quality = tags.get("onnx_sha256", ""), tags.get("quality_sha256", "")
    return {"": student, **({QUALITY_FOLDER: quality} if quality else {})}


def path_within(model: str, name: str) -> str:
    """Where a file of one of them lies within the version."""
    return f"{model}/{name}" if model else name
