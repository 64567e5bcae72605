"""ModelCache: copies of models in the store, by what they are, and which references meant which of them.

The copies let a scan end on the model it began with, even when the folder has been retrained in the meantime. The
notes of what references meant let a server start while the registry is down.

    models/KEY/                     model.onnx, its variants, manifest.json, quality_classifier/
    models/references/NAME.json     what a reference means, and what it meant before
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from scans.model.manifest import MANIFEST_FILE, ManifestError, ModelManifest, file_sha256
from serving.models.loaded_model import ModelError, ModelIdentity
from serving.models.loader import checked_manifest
from serving.models.quality_classifier import classifier_key, files_with_classifier
from serving.models.references import KeptVersion, Note
from serving.models.registry import RegisteredVersion
from serving.observability import logs
from serving.observability.reasons import reason
from serving.storage import RemoteCopies, sync

REFERENCES_DIR = "references"
_INCOMING = "incoming-"
_DAY_SECONDS = 86400.0
_GRACE_SECONDS = 3600.0
"""A copy stays for so long after it was last loaded or asked for: another process may be accepting a scan for it."""
_NOTE_SECONDS = 30 * _DAY_SECONDS
"""A note that no server has confirmed for so long protects nothing any more."""
_PROTECTED = 2
"""Versions per reference that are kept whoever needs them: the present one and the one to go back to."""


class ModelCache:
    """Copies of models in a folder, and elsewhere. Safe to use from several threads and processes."""

    def __init__(self, folder: Path, *, remote: RemoteCopies) -> None:
        self._folder = folder
        self._references = folder / REFERENCES_DIR
        self._elsewhere = remote

    def incoming(self) -> tempfile.TemporaryDirectory[str]:
        """A folder on the same disk, for what is on its way in."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=self._folder, prefix=_INCOMING)

    def add(self, folder: Path, *, name: str | None = None, version: str | None = None) -> ModelIdentity:
        """Copies a model, once each of its files is found to have the hash that its manifest states.

        `name` and `version` are the registry's; None: what the manifest says. Raises ModelError if it is damaged or
        not a model that a server takes.
        """
        manifest = checked_manifest(folder)
        _check_kind(manifest, folder)
        try:
            files = files_with_classifier(folder, manifest)
        except ManifestError as error:
            raise ModelError(str(error), reason="hash") from error
        key = _key(manifest, files)
        kept = self._folder / key
        if kept.is_dir() and _damage(kept) is not None:
            logs.event("model_copy_damaged", key=key)
            shutil.rmtree(kept)
            self._elsewhere.discard_model(key)
        if not kept.is_dir():
            self._copy(files, kept)
        self._elsewhere.keep_model(key)
        return ModelIdentity(name=name or manifest.name, version=version, sha256=manifest.model_sha256, key=key)

    def copy(self, key: str) -> Path | None:
        """The folder of a copy, from elsewhere if it is not here; None if there is none."""
        self._elsewhere.fetch_model(key)
        folder = self._folder / key
        if not folder.is_dir():
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)
        return folder

    def check(self, key: str) -> None:
        """Raises ModelError where the copy here is not, to the last byte, what was copied."""
        if (damage := _damage(self._folder / key)) is not None:
            raise ModelError(f"the store's copy of the model is damaged: {damage}", reason="hash")

    def damaged(self) -> Iterator[tuple[str, str]]:
        """What is damaged, its place relative to the folder, and how: copies, and notes that cannot be read."""
        for place in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            if place.name == REFERENCES_DIR or place.name.startswith(_INCOMING):
                continue
            if (damage := _damage(place)) is not None:
                yield place.name, damage
        notes = self._notes()
        for name, note in notes.items():
            if note is None:
                yield f"{REFERENCES_DIR}/{name}", "it is not what was noted"
        named = {other for note in notes.values() if note is not None for other in note.beside}
        for name in sorted(named - set(notes)):
            yield f"{REFERENCES_DIR}/{name}", "it is gone: another note names it"

    def noted_models(self) -> set[str]:
        """Names of the models that the notes say something of."""
        return {kept.identity.name for note in self._notes().values() if note is not None for kept in note.versions}

    def note(self, reference: str) -> Note | None:
        """What a reference meant, the latest version first; None where nothing is known of it."""
        self._elsewhere.fetch_references()
        return Note.read(self._references / Note.filename(reference))

    def remember(self, reference: str, version: KeptVersion) -> None:
        """Notes durably what a reference means from now on."""
        self._references.mkdir(parents=True, exist_ok=True)
        name = Note.filename(reference)
        before = Note.read(self._references / name)
        note = Note(reference, (version,), time.time()) if before is None else before.then(version)
        beside = tuple(other for other in self._notes() if other != name)
        dataclasses.replace(note, beside=beside).write(self._references / name)
        self._elsewhere.keep_reference(name)

    def known(self, reference: str, registered: RegisteredVersion) -> ModelIdentity | None:
        """The model that a registered version is, if it is kept under that reference."""
        note = Note.read(self._references / Note.filename(reference))
        versions = () if note is None else note.versions
        found = (kept.identity for kept in versions if kept.registered == registered)
        return next((identity for identity in found if (self._folder / identity.key).is_dir()), None)

    def prune(self, needed: Collection[str], *, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Deletes copies that are not, by key, in `needed`, and that no reference means or meant right before.

        Neither goes what was put in or out of place within `grace_seconds`, nor what is just coming in.
        """
        spared = {*needed, *self._protected()}
        now = time.time()
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if folder.name in spared or folder.name == REFERENCES_DIR:
                continue
            try:
                age = now - folder.stat().st_mtime
                if age < (_DAY_SECONDS if folder.name.startswith(_INCOMING) else grace_seconds):
                    continue
                shutil.rmtree(folder)
                self._elsewhere.discard_model(folder.name)
                logs.event("model_copy_removed", key=folder.name)
            except FileNotFoundError:  # another process was at it
                continue
            except Exception as error:  # of the disk or the bucket: the next copies may go all the same
                logs.event("model_copy_kept", level=logging.ERROR, key=folder.name, error=reason(error))

    def _protected(self) -> set[str]:
        self._elsewhere.fetch_references()
        return {
            kept.identity.key
            for note in self._notes().values()
            if note is not None
            if time.time() - note.confirmed_seconds < _NOTE_SECONDS
            for kept in note.versions[:_PROTECTED]
        }

    def _notes(self) -> dict[str, Note | None]:
        """All notes by file name; None for one that cannot be understood."""
        files = sorted(self._references.glob("*.json")) if self._references.is_dir() else ()
        return {file.name: Note.read(file) for file in files}

    def _copy(self, files: Mapping[str, Path], kept: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        copy = Path(tempfile.mkdtemp(dir=self._folder, prefix=_INCOMING))
        try:
            for name, file in files.items():
                (copy / name).parent.mkdir(exist_ok=True, parents=True)
                shutil.copyfile(file, copy / name)
                sync(copy / name)
            copy.rename(kept)
            sync(self._folder)
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            if not kept.is_dir():  # else another process has put the same copy there meanwhile
                raise


def _key(manifest: ModelManifest, files: Mapping[str, Path]) -> str:
    """Of the copy that holds these files: the manifests state the hashes of all others."""
    told_apart = f"{manifest.model_sha256}{file_sha256(files[MANIFEST_FILE])}{classifier_key(files)}"
    return hashlib.sha256(told_apart.encode()).hexdigest()


def _damage(copy: Path) -> str | None:
    """How a copy is not what its name says; None where it is."""
    try:
        manifest = checked_manifest(copy)
        key = _key(manifest, files_with_classifier(copy, manifest))
    except (ManifestError, ModelError, OSError) as error:
        return str(error)
    return None if key == copy.name else f"{copy} holds other manifests than were copied"


def _check_kind(manifest: ModelManifest, folder: Path) -> None:
    if manifest.kind != "segmentation":
        raise ModelError(f"{folder} holds a {manifest.kind} model; a server needs a segmentation model")
    if manifest.slice_axis != 0:
        raise ModelError(f"{folder / MANIFEST_FILE}: slice_axis is {manifest.slice_axis}; this server slices along 0")
