"""Version files: whether what is stored of a version, both models with their manifests, is whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from scans.model.manifest import MANIFEST_FILE, QUALITY_FOLDER, ManifestError, ModelManifest
from training.tracking import model_files


def incomplete(uri: str, tags: Mapping[str, str], present: Mapping[str, int]) -> str | None:
    """What of a version is not there, is empty, or is no manifest; None where all is whole as far as that tells.

    `present` are the bytes of each file that its store lists; the manifests alone are fetched.
    """
    with TemporaryDirectory() as temporary:
        for model in _models(tags):
            manifest_name = _within(model, MANIFEST_FILE)
            if not present.get(manifest_name):
                return _absent(manifest_name, present)
            folder = model_files.download(f"{uri}/{manifest_name}", Path(temporary) / (model or "student")).parent
            try:
                names = [_within(model, name) for name in ModelManifest.read(folder).files]
            except ManifestError as error:
                return str(error).replace(f"{folder}/", _within(model, ""))
            if (lost := next((name for name in names if not present.get(name)), None)) is not None:
                return _absent(lost, present)
    return None


def difference(fetched: Path, tags: Mapping[str, str]) -> str | None:
    """How the files of a version, fetched into a folder, differ from their hashes; None where they do not."""
    for model, sha256 in _models(tags).items():
        try:
            manifest = ModelManifest.read(fetched / model)
            manifest.verify(fetched / model)
        except ManifestError as error:
            return str(error).replace(f"{fetched}/", "")
        if sha256 not in {"", manifest.model_sha256}:
            return f"{_within(model, MANIFEST_FILE)} is that of another model"
    return None


def _models(tags: Mapping[str, str]) -> dict[str, str]:
    """Folders within a version that hold a model and its manifest, each with the hash of the model, or none."""
    student, quality = tags.get("onnx_sha256", ""), tags.get("quality_sha256", "")
    return {"": student, **({QUALITY_FOLDER: quality} if quality else {})}


def _within(model: str, name: str) -> str:
    return f"{model}/{name}" if model else name


def _absent(name: str, present: Mapping[str, int]) -> str:
    return f"{name} is {'empty' if name in present else 'not there'}"
