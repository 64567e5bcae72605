"""Version files: whether a version is whole, as far as its store lists its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from scans.model.manifest import MANIFEST_FILE, ManifestError, ModelManifest
from scans.registry.version_files import models_within, path_within
from training.tracking import model_files


def incomplete(uri: str, tags: Mapping[str, str], present: Mapping[str, int]) -> str | None:
    """What of a version is not there, is empty, or is no manifest; None where all is whole as far as that tells.

    `present` are the bytes of each file that its store lists; the manifests alone are fetched.
    """
    with TemporaryDirectory() as temporary:
        for model in models_within(tags):
            manifest_name = path_within(model, MANIFEST_FILE)
            if not present.get(manifest_name):
                return _absent(manifest_name, present)
            folder = model_files.download(f"{uri}/{manifest_name}", Path(temporary) / (model or "student")).parent
            try:
                names = [path_within(model, name) for name in ModelManifest.read(folder).files]
            except ManifestError as error:
                return str(error).replace(f"{folder}/", path_within(model, ""))
            if (lost := next((name for name in names if not present.get(name)), None)) is not None:
                return _absent(lost, present)
    return None


def _absent(name: str, present: Mapping[str, int]) -> str:
    return f"{name} is {'empty' if name in present else 'not there'}"
