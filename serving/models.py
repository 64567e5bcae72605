"""Models to serve: from a folder or from the registry, checked before use, kept in the store by what they are.

The store's copy lets a scan end on the model it began with, even when the folder has been retrained in the meantime.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scans.manifest import MANIFEST_FILE, MODEL_FILE, ManifestError, ModelManifest, Precision, file_sha256
from serving import logs
from serving.quality import QualityRuntime, classifier_key, files_with_classifier
from serving.registry import RegistryError, download_version
from serving.runtime import CPU, GOLDEN_DISAGREEMENT, Device, Runtime, RuntimeRefused, cuda_devices
from serving.tuning import Tuner, Tuning

REGISTRY_SCHEME = "models:/"

Served = Precision | Literal["float32"]
"""Precision that a model is run in."""


class ModelError(ValueError):
    """A model that cannot be served; the message names it and says what would be right."""


class ModelNotServed(LookupError):  # noqa: N818 - says what is wrong, as FileNotFoundError does
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


@dataclass(frozen=True)
class LoadedModel:
    """A model that has reproduced its golden slice."""

    identity: ModelIdentity
    manifest: ModelManifest
    runtime: Runtime
    tuning: Tuning
    precision: Served
    quality: QualityRuntime | None = None
    """Its Quality Classifier, where it has one."""


class Models:
    """Loads models and keeps them: `current` is what new scans get, older ones stay for the scans that need them."""

    def __init__(
        self,
        folder: Path,
        *,
        device: Device,
        tuner: Tuner,
        precision: Served | Literal["auto"] = "auto",
        fetch: Callable[[str], None] = lambda key: None,
    ) -> None:
        """`folder` holds copies by key; `fetch` brings one into it that another process put into the store."""
        self._folder = folder
        self._device: Device = device
        self._tuner = tuner
        self._precision: Served | Literal["auto"] = precision
        self._fetch_copy = fetch
        self._loading = threading.Lock()
        self._loaded: dict[str, LoadedModel] = {}
        self._current: LoadedModel | None = None

    @property
    def current(self) -> LoadedModel:
        """The model for new scans. Raises ModelError before `serve`."""
        if self._current is None:
            raise ModelError("no model is loaded yet")
        return self._current

    def served(self) -> tuple[LoadedModel, ...]:
        """All models that new work can be given, the default first; none before `serve`."""
        return () if self._current is None else (self._current,)

    def find(self, name: str | None = None, version: str | None = None) -> LoadedModel:
        """The served model of that name and version; None: the default, its present version. Raises ModelNotServed."""
        for model in self.served():
            if name in (None, model.identity.name) and version in (None, model.identity.shown_version):
                return model
        there = ", ".join(f"{m.identity.name} version {m.identity.shown_version}" for m in self.served())
        raise ModelNotServed(
            f"model {name or 'any'} version {version or 'any'} is not served; there is {there or 'none'}"
        )

    def serve(self, reference: str) -> LoadedModel:
        """Makes the model that `reference` names the current one.

        Raises ModelError if it is not there, if its hash is not the manifest's, if the manifest or the graph does not
        keep to the contract, or if it does not reproduce its golden slice.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="incoming-") as temporary:
            fetched, name, version = self._fetch(reference, Path(temporary))
            identity = self._keep(fetched, name=name, version=version)
        self._current = self._load(identity)
        return self._current

    def of_scan(self, identity: ModelIdentity) -> LoadedModel:
        """The very model that a scan began with. Raises ModelError if the store no longer has it."""
        with self._loading:
            if identity.key in self._loaded:
                return self._loaded[identity.key]
            self._fetch_copy(identity.key)
            if not (self._folder / identity.key).is_dir():
                raise ModelError(
                    f"the scan began with model {identity.name} (SHA-256 {identity.sha256}), which the store no longer "
                    f"holds; another model must not finish it: delete the scan and post it again"
                )
            return self._load(identity)

    def prune(self, needed: Collection[str]) -> None:
        """Deletes the store's copies that are neither current nor, by key, in `needed`."""
        for folder in self._folder.iterdir():
            if folder.name not in needed and folder.name != self.current.identity.key:
                shutil.rmtree(folder, ignore_errors=True)

    def _fetch(self, reference: str, temporary: Path) -> tuple[Path, str | None, str | None]:
        if not reference.startswith(REGISTRY_SCHEME):
            return Path(reference).expanduser(), None, None
        try:
            version = download_version(reference.removeprefix(REGISTRY_SCHEME), into=temporary)
        except RegistryError as error:
            raise ModelError(f"{reference}: {error}") from error
        return version.folder, version.name, version.version

    def _keep(self, folder: Path, *, name: str | None, version: str | None) -> ModelIdentity:
        try:
            if not folder.is_dir():
                raise ModelError(
                    f"{folder} is not a folder; a model is a folder that holds {MODEL_FILE} and its manifest"
                )
            manifest = ModelManifest.read(folder)
            if not (folder / MODEL_FILE).is_file():
                raise ModelError(f"{folder / MODEL_FILE} does not exist; the folder holds only its manifest")
            manifest.verify(folder)
            files = files_with_classifier(folder, manifest)
        except ManifestError as error:
            raise ModelError(str(error)) from error
        _check_kind(manifest, folder)
        told_apart = f"{manifest.model_sha256}{file_sha256(folder / MANIFEST_FILE)}{classifier_key(files)}"
        key = hashlib.sha256(told_apart.encode()).hexdigest()
        kept = self._folder / key
        if not kept.is_dir():
            copy = Path(tempfile.mkdtemp(dir=self._folder, prefix="incoming-"))
            for name_there, file in files.items():
                (copy / name_there).parent.mkdir(exist_ok=True, parents=True)
                shutil.copyfile(file, copy / name_there)
            copy.rename(kept)
        return ModelIdentity(name=name or manifest.name, version=version, sha256=manifest.model_sha256, key=key)

    def _load(self, identity: ModelIdentity) -> LoadedModel:
        folder = self._folder / identity.key
        try:
            manifest = ModelManifest.read(folder)
            manifest.verify(folder)
            precision = self._chosen(manifest)
            file = folder / (manifest.variants[precision].file if precision != "float32" else MODEL_FILE)

            def opened(threads: int, lanes: int) -> Runtime:
                return Runtime.open(file, device=self._device, threads=threads, lanes=lanes)

            tuning = self._tuner.tune(
                opened, manifest.golden, model_sha256=manifest.files[str(file.relative_to(folder))]
            )
            runtime = opened(tuning.threads, tuning.lanes)
            quality = QualityRuntime.load(folder, device=self._device)
        except (ManifestError, RuntimeRefused) as error:
            raise ModelError(str(error)) from error
        _check_golden(manifest, runtime, identity, precision=precision)
        if self._device == "auto" and runtime.provider == CPU:
            logs.event("model_on_cpu", level=logging.WARNING, model=identity.name, reason="no usable GPU was found")
        logs.event(
            "model_loaded",
            model=identity.name,
            version=identity.version or "-",
            sha256=identity.sha256[:12],
            provider=runtime.provider,
            precision=precision,
            classifier=quality is not None,
        )
        self._loaded[identity.key] = LoadedModel(identity, manifest, runtime, tuning, precision, quality)
        return self._loaded[identity.key]

    def _chosen(self, manifest: ModelManifest) -> Served:
        """The precision that was asked for, or the fastest for the device whose accuracy export has checked."""
        if self._precision != "auto":
            if self._precision != "float32" and self._precision not in manifest.variants:
                offered = ", ".join(("float32", *manifest.variants))
                raise ModelError(
                    f"model {manifest.name} has no {self._precision} that passed its check; it has {offered}"
                )
            return self._precision
        best: Precision = "float16" if cuda_devices(self._device) else "int8"
        return best if best in manifest.variants else "float32"


def _check_kind(manifest: ModelManifest, folder: Path) -> None:
    if manifest.kind != "segmentation":
        raise ModelError(f"{folder} holds a {manifest.kind} model; a server needs a segmentation model")
    if manifest.slice_axis != 0:
        raise ModelError(f"{folder / MANIFEST_FILE}: slice_axis is {manifest.slice_axis}; this server slices along 0")


def _check_golden(manifest: ModelManifest, runtime: Runtime, identity: ModelIdentity, *, precision: Served) -> None:
    golden = manifest.golden
    if precision != "float32":
        golden = dataclasses.replace(golden, segmentation=manifest.variants[precision].segmentation)
    disagreement = runtime.golden_disagreement(golden)
    if disagreement > GOLDEN_DISAGREEMENT:
        raise ModelError(
            f"model {identity.name} (SHA-256 {identity.sha256}) does not reproduce its golden slice on "
            f"{runtime.provider} in {precision}: {disagreement:.2%} of the pixels differ, {GOLDEN_DISAGREEMENT:.2%} "
            f"may; the file or the installation is damaged, so it is not served"
        )
