"""The model registry: versions of the exported Student, and the aliases `candidate` and `champion` that name two."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scans.model.manifest import MANIFEST_FILE, MODEL_FILE, ModelManifest, file_sha256
from scans.registry.champion import (
    CANDIDATE,
    CHAMPION,
    EVALUATION_FILE,
    EVALUATION_RUN,
    Said,
    earlier,
    evaluation_folder,
    history,
    move,
    move_back,
)
from scans.registry.gate import GateLimits
from scans.registry.version_files import difference
from training.registry.contents import assemble
from training.registry.version import Version, tags_of
from training.registry.version_files import incomplete
from training.stage_files import read_json, stage_file
from training.tracking import model_files, runs

_REMEDY = "Put them back there, or register the model anew (`dvc repro register`)"


class ModelRegistryError(RuntimeError):
    """What was asked of the registry cannot be done; the message says why."""


class Registry:
    """One registered model in the MLflow store that `tracking` uses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._client = runs.connect()

    def register(
        self, student: Path, quality: Path, *, evaluation: Path, limits: GateLimits, run_id: str, parent_id: str
    ) -> Version:
        """A version of the exported Student with its Quality Classifier, as the candidate.

        The same pair of ONNX files is registered once: another time only the candidate, the evaluation and the limits
        move. The limits are noted with the version, so that a server asks the same of it.
        `run_id` is the run that registers, `parent_id` that of the reproduction, which the model is shown with. Raises
        ModelRegistryError where the name is that of models of other data or organs, before anything is registered, and
        where what was stored is not what was exported.
        """
        manifests = ModelManifest.read(student), ModelManifest.read(quality)
        manifests[0].verify(student)
        manifests[1].verify(quality)
        tags = tags_of(*manifests)
        self._check_belongs(tags)
        self._ensure()
        version = next((v for v in self.versions() if _is_same(v, tags)), None)
        if version is None:
            version = self._create(student, quality, tags=tags, run_id=run_id, parent_id=parent_id)
        source = self._client.get_model_version(self.name, str(version.number)).source
        model_files.link(self._client, run_id=parent_id, model_id=str(source).removeprefix("models:/"))
        self._client.log_artifact(run_id, str(evaluation), evaluation_folder(version.number))
        self._tag(version, {EVALUATION_RUN: run_id, **limits.tags})
        self._client.set_registered_model_alias(self.name, CANDIDATE, str(version.number))
        return self.version(version.number)

    def _check_belongs(self, tags: Mapping[str, str]) -> None:
        """Whoever follows a name expects the organs of one kind of scan: what is of others has a name of its own."""
        for version, tag in itertools.product(self.versions(), ("data_set", "organs")):
            if tags[tag] and version.tags.get(tag, tags[tag]) not in {"", tags[tag]}:
                raise ModelRegistryError(
                    f"{version} is of the {tag.replace('_', ' ')} {version.tags[tag]}, this model of {tags[tag]}; "
                    f"register it under a name of its own, which is register.model in params.yaml, or, where the data "
                    f"are the same, give them the same name by prepare.data_set"
                )

    def _create(self, student: Path, quality: Path, *, tags: Mapping[str, str], run_id: str, parent_id: str) -> Version:
        run = self._client.get_run(parent_id)
        model = self._client.create_logged_model(
            run.info.experiment_id, name=self.name, source_run_id=parent_id, tags=dict(tags), model_type="segmentation"
        )
        with TemporaryDirectory() as temporary:
            folder = assemble(Path(temporary) / "model", student, quality)
            self._client.log_model_artifacts(model.model_id, str(folder))
            _check_stored(f"models:/{model.model_id}", folder=folder, temporary=Path(temporary) / "stored")
        for key, value in ModelManifest.read(student).metrics.items():  # each organ's: the parent has the headline
            self._client.log_metric(run_id, runs.allowed_name(key), value, model_id=model.model_id)
        self._client.finalize_logged_model(model.model_id, "READY")
        created = self._client.create_model_version(
            self.name, f"models:/{model.model_id}", run_id=parent_id, tags=dict(tags), model_id=model.model_id
        )
        return self.version(int(created.version))

    def versions(self) -> tuple[Version, ...]:
        """All versions, the newest first; empty where the model is not registered."""
        aliases = self._aliases()
        found = self._client.search_model_versions(f"name = '{self.name}'")
        versions = [Version.of(entry, aliases) for entry in found]
        return tuple(sorted(versions, key=lambda version: version.number, reverse=True))

    def existing(self) -> tuple[Version, ...]:
        """As `versions`. Raises ModelRegistryError, which says what else is registered, where there is none."""
        versions = self.versions()
        if not versions:
            others = ", ".join(model.name for model in self._client.search_registered_models())
            raise ModelRegistryError(
                f"no version of {self.name} is registered; "
                + (f"there are {others}" if others else "`dvc repro` registers one")
            )
        return versions

    def version(self, number: int) -> Version:
        """One version. Raises ModelRegistryError if there is none of that number."""
        found = next((version for version in self.versions() if version.number == number), None)
        if found is None:
            numbers = ", ".join(str(version.number) for version in self.versions())
            raise ModelRegistryError(f"{self.name} has no version {number}; there are {numbers or 'none'}")
        return found

    def at(self, alias: str) -> Version | None:
        """The version that an alias points at; None where it points at none."""
        return next((version for version in self.versions() if alias in version.aliases), None)

    def chosen(self, number: int | None) -> Version:
        """The version of that number, else the champion, else the newest. Raises ModelRegistryError where none is."""
        versions = self.existing()
        if number is not None:
            return self.version(number)
        return next((version for version in versions if CHAMPION in version.aliases), versions[0])

    def fetch(self, version: Version, folder: Path) -> Path:
        """Downloads a version's files; returns the folder that holds model.onnx and manifest.json.

        Raises ModelRegistryError where they are not where the registry says, or not what was registered.
        """
        try:
            fetched = model_files.download(version.uri, folder)
        except Exception as error:
            raise ModelRegistryError(f"{self.missing(version) or version}: {error}") from error
        if not (fetched / MANIFEST_FILE).is_file():
            raise ModelRegistryError(self.missing(version) or f"{version} has no {MANIFEST_FILE}")
        if (wrong := difference(fetched, version.tags)) is not None:
            raise ModelRegistryError(self._damaged(version, wrong))
        return fetched

    def check(self, version: Version) -> None:
        """Fetches a version and compares it with its hashes. Raises ModelRegistryError."""
        with TemporaryDirectory() as temporary:
            self.fetch(version, Path(temporary))

    def missing(self, version: Version) -> str | None:
        """Which of a version's files are not there, empty, or no manifest, and what to do; None where all are there.

        Their hashes are compared by `fetch` alone.
        """
        try:
            present = model_files.listed(version.uri)
            why = ""
        except Exception as error:  # of the store of the files, whichever that is
            present, why = {}, f" ({type(error).__name__}: {error})"
        if not {MODEL_FILE, MANIFEST_FILE} <= set(present):
            return (
                f"the files of {version} are not at {self._place(version)}, where the registry says they are{why}. "
                f"{_REMEDY}"
            )
        try:
            wrong = incomplete(version.uri, version.tags, present)
        except Exception as error:  # as above
            wrong = f"{type(error).__name__}: {error}"
        return None if wrong is None else self._damaged(version, wrong)

    def _damaged(self, version: Version, why: str) -> str:
        return f"the files of {version} at {self._place(version)} are not what was registered: {why}. {_REMEDY}"

    def _place(self, version: Version) -> str:
        found = self._client.get_model_version(self.name, str(version.number))
        if found.model_id:
            return str(self._client.get_logged_model(found.model_id).artifact_location)
        return str(self._client.get_model_version_download_uri(self.name, str(version.number)))

    def evaluation(self, version: Version, folder: Path) -> dict[str, Any]:
        """What `evaluate` measured of a version on the validation volumes. Raises ModelRegistryError if it is gone."""
        run = version.tags.get(EVALUATION_RUN, "")
        try:
            path = model_files.download(f"runs:/{run}/{evaluation_folder(version.number)}/{EVALUATION_FILE}", folder)
        except Exception as error:
            raise ModelRegistryError(f"{version} has no evaluation (run {run or 'unknown'}): {error}") from error
        with stage_file(path):
            student: dict[str, Any] = read_json(path)["student"]
            return student

    def promote(self, version: Version, *, said: Said, forced_because: str = "") -> None:
        """Moves the champion to `version`, and remembers the one before it."""
        champion = self.at(CHAMPION)
        move(
            self._client,
            self.name,
            version.number,
            before=None if champion is None else champion.number,
            history=self._history(),
            present=version.tags,
            said=said,
            forced_because=forced_because,
        )

    def rollback(self) -> tuple[Version, Version]:
        """Moves the champion back to the one before it; returns the one it was and the one it is.

        Raises ModelRegistryError where there was none before, it has been deleted, or its files are not whole.
        """
        champion = self.at(CHAMPION)
        if champion is None:
            raise ModelRegistryError(f"{self.name} has no champion to roll back from")
        existing = {version.number: version for version in self.versions()}
        before = earlier(self._history(), champion=champion.number, existing=existing)
        if not before:
            raise ModelRegistryError(f"{champion} is the first champion; there is none to go back to")
        self.check(existing[before[-1]])
        move_back(self._client, self.name, champion=champion.number, earlier=before)
        return champion, self.version(before[-1])

    def _history(self) -> list[int]:
        return history(self._client.get_registered_model(self.name).tags)

    def _tag(self, version: Version, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._client.set_model_version_tag(self.name, str(version.number), key, value)

    def _ensure(self) -> None:
        if not self._client.search_registered_models(f"name = '{self.name}'"):
            self._client.create_registered_model(self.name, description="Organ segmentation, exported by Ricefish")

    def _aliases(self) -> dict[int, tuple[str, ...]]:
        found = self._client.search_registered_models(f"name = '{self.name}'")
        if not found:
            return {}
        by_number: dict[int, tuple[str, ...]] = {}
        for alias, number in sorted(self._client.get_registered_model(self.name).aliases.items()):
            by_number[int(number)] = (*by_number.get(int(number), ()), alias)
        return by_number


def _is_same(version: Version, tags: Mapping[str, str]) -> bool:
    return all(version.tags.get(key) == tags[key] for key in ("onnx_sha256", "quality_sha256"))


def _check_stored(uri: str, *, folder: Path, temporary: Path) -> None:
    stored = model_files.download(uri, temporary)
    for path in sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file()):
        if not (stored / path).is_file() or file_sha256(stored / path) != file_sha256(folder / path):
            raise ModelRegistryError(f"{path} in the store is not what was sent to it; nothing was registered")
